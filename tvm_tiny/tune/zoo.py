"""Layers of well-known small networks by their shapes: what records that ship with the package are made for.

Shapes are those of the papers: DS-CNN (arXiv:1711.07128), MobileNetV1 (1704.04861), MobileNetV2 (1801.04381), the
ResNet of MLPerf Tiny (2106.07597), and blocks with kernels of 3, 5 and 7 as in MCUNet (2007.10319). Weights are random:
what a kernel takes depends on its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.quant.params import Conv2DParams, DenseParams, Params
from tvm_tiny.schedules.task import task_of
from tvm_tiny.targets import Cpu
from tvm_tiny.tune.tasks import TuningTask, make_task

LARGEST_MACS = 1_500_000
"""Of a layer: larger ones take long to run, and their neighbours' records serve them."""


@dataclass(frozen=True)
class Shape:
    """A layer; ``outputs`` is 0 for depthwise, ``size`` (1, 1) with ``kernel`` (0, 0) for fully connected ones."""

    size: tuple[int, int]
    channels: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    relu: bool = True

    @property
    def macs(self) -> int:
        height, width = (-(-n // s) for n, s in zip(self.size, self.strides, strict=True))
        kernel = max(1, self.kernel[0] * self.kernel[1])
        return height * width * kernel * self.channels * (self.outputs or 1)


def layers() -> list[Shape]:
    """Every distinct layer of the zoo that is not too large."""
    every = (*_ds_cnn(), *_resnet8(), *_mobilenet_v1(96, 0.25), *_mobilenet_v2(96, 0.35))
    every += (*_mobilenet_v2(224, 1.0), *_blocks(), *_dense())
    return [shape for shape in dict.fromkeys(every) if shape.macs <= LARGEST_MACS]


def zoo_tasks(cpu: Cpu) -> list[TuningTask]:
    """The zoo's layers as tuning tasks; those that leave nothing to choose are left out."""
    tasks: dict[str, TuningTask] = {}
    for number, shape in enumerate(layers()):
        call = _call(shape, np.random.default_rng(number))
        task = task_of(call)
        if task is not None and task.key not in tasks:
            tasks[task.key] = make_task(task, call, 1, cpu)
    return [t for t in tasks.values() if t.size > 1]


def _ds_cnn() -> Iterator[Shape]:
    yield Shape((49, 10), 1, 64, (10, 4), (2, 2))
    yield Shape((25, 5), 64, 0, (3, 3))
    yield Shape((25, 5), 64, 64)


def _resnet8() -> Iterator[Shape]:
    yield Shape((32, 32), 3, 16, (3, 3))
    for size, channels in ((32, 16), (16, 32), (8, 64)):
        yield Shape((size, size), channels, channels, (3, 3))
        yield Shape((size, size), channels, channels, (3, 3), relu=False)
        yield Shape((size, size), channels, 2 * channels, (3, 3), (2, 2))
        yield Shape((size, size), channels, 2 * channels, (1, 1), (2, 2), relu=False)


def _mobilenet_v1(side: int, width: float) -> Iterator[Shape]:
    channels, size = _round(32 * width), side // 2
    yield Shape((side, side), 3, channels, (3, 3), (2, 2))
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (1024, 2), (1024, 1)):
        yield Shape((size, size), channels, 0, (3, 3), (stride, stride))
        size = -(-size // stride)
        yield Shape((size, size), channels, _round(outputs * width))
        channels = _round(outputs * width)


def _mobilenet_v2(side: int, width: float) -> Iterator[Shape]:
    channels, size = _round(32 * width), side // 2
    yield Shape((side, side), 3, channels, (3, 3), (2, 2))
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for factor, outputs, repeat, first_stride in settings:
        for index in range(repeat):
            stride = first_stride if index == 0 else 1
            expanded = channels * factor
            if factor > 1:
                yield Shape((size, size), channels, expanded)
            yield Shape((size, size), expanded, 0, (3, 3), (stride, stride))
            size = -(-size // stride)
            channels = _round(outputs * width)
            yield Shape((size, size), expanded, channels, relu=False)


def _blocks() -> Iterator[Shape]:
    for size, channels, factor in ((40, 8, 3), (20, 16, 4), (10, 24, 5), (10, 40, 6), (5, 48, 5), (5, 96, 4)):
        yield Shape((size, size), channels, channels * factor)
        for kernel in (3, 5, 7):
            for stride in (1, 2):
                yield Shape((size, size), channels * factor, 0, (kernel, kernel), (stride, stride))
        yield Shape((size, size), channels * factor, channels, relu=False)


def _dense() -> Iterator[Shape]:
    for channels, outputs in ((64, 10), (64, 12), (256, 2), (640, 128), (128, 128), (128, 8), (1280, 1000)):
        yield Shape((1, 1), channels, outputs, (0, 0), relu=outputs == 128)


def _round(channels: float) -> int:
    """To a multiple of 8, and by no more than a tenth down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _call(shape: Shape, rng: np.random.Generator) -> relax.Call:
    """A layer of this shape with random weights, requantized so that outputs spread over int8."""
    depthwise, dense = shape.outputs == 0, shape.kernel == (0, 0)
    outputs = shape.outputs or shape.channels
    taps = max(1, shape.kernel[0] * shape.kernel[1]) * (1 if depthwise else shape.channels)
    zero = -128 if shape.relu else 3
    multiplier = rng.integers(2**30, 2**31, outputs).astype(np.int32)
    # Sums of ``taps`` products have a spread of about 74 * 74 * sqrt(taps).
    shift = np.full(outputs, -int(np.log2(5400.0 * np.sqrt(taps) / 60.0)), np.int32)
    bias = rng.integers(-2000, 2000, outputs).astype(np.int32)
    ends: dict[str, Any] = {"input_zero_point": -5, "output_zero_point": zero, "clamp_min": -128, "clamp_max": 127}
    ends["rounding"] = "tflm"
    if dense:
        weight = rng.integers(-127, 128, (outputs, shape.channels)).astype(np.int8)
        data = relax.Var("x", relax.TensorType([1, shape.channels], "int8"))
        return _normalized("qdense", data, (weight, bias, multiplier, shift), DenseParams(**ends))
    pads = []
    for size, kernel, stride in zip(shape.size, shape.kernel, shape.strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        pads.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = pads
    params = Conv2DParams(strides=shape.strides, padding=(top, left, bottom, right), dilation=(1, 1), groups=1, **ends)
    data = relax.Var("x", relax.TensorType([1, *shape.size, shape.channels], "int8"))
    weights = (*shape.kernel, outputs) if depthwise else (outputs, *shape.kernel, shape.channels)
    weight = rng.integers(-127, 128, weights).astype(np.int8)
    name = "qdepthwise_conv2d" if depthwise else "qconv2d"
    return _normalized(name, data, (weight, bias, multiplier, shift), params)


def _normalized(name: str, data: relax.Var, constants: tuple[np.ndarray, ...], params: Params) -> relax.Call:
    builder = relax.BlockBuilder()
    with builder.function("main", [data]):
        with builder.dataflow():
            out = builder.emit_output(make_call(name, [data, *map(relax.const, constants)], params))
        builder.emit_func_output(out)
    return builder.finalize()["main"].body.blocks[0].bindings[0].value
