"""Average and maximum pooling, one output row per call."""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import relax, tirx

from tvm_tiny.ops import Kernel, op_name, params_of
from tvm_tiny.ops.registry import window_output
from tvm_tiny.quant.params import PoolParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, blocks, value, widen, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import stride_suffix
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.schedules.cortex_m.sum_rows import sum_rows, worthwhile
from tvm_tiny.schedules.cortex_m.window import Axis, Rows, each_pixel
from tvm_tiny.targets import Cpu

CHANNELS = (4, 1)
"""Channels per block: accumulators that stay in registers."""


class Pool2D(CortexMScheduleRule):
    """Taps outside the image do not count, in the divisor neither."""

    operators = ("qavg_pool2d", "qmax_pool2d")

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: PoolParams = params_of(call)
        name = op_name(call)
        average = name == "qavg_pool2d"
        shape = shape_of(call.args[0])
        _, height, width, _ = shape
        vertical, horizontal = (
            Axis(size, window_output(size, k, s, 1, before, after), k, s, 1, before)
            for size, k, s, before, after in zip(
                (height, width), p.pool_size, p.strides, p.padding[:2], p.padding[2:], strict=True
            )
        )
        everything = tuple(p.pool_size) == (height, width) and not any(p.padding)
        if average and everything and worthwhile(shape):

            def finish(total: Any) -> Any:
                return value("tinyml_clamp", value("tinyml_average", total, height * width), p.clamp_min, p.clamp_max)

            return sum_rows(f"{name}_rows", shape, 0, finish, cpu)
        return with_segment(partial(_write, name, p, shape, (vertical, horizontal)))


def _write(name: str, p: PoolParams, shape: tuple[int, ...], axes: tuple[Axis, Axis], b: KernelBuilder) -> Kernel:
    (vertical, horizontal), (_, height, width, channels) = axes, shape
    average = name == "qavg_pool2d"
    data = b.input("data", height * width * channels, "int8")
    out = b.output(horizontal.outputs * channels, "int8")
    rows = Rows(b, vertical, width * channels)

    def compute(pixel: Any, first: Any, count: Any) -> None:
        taps = b.bind("taps", rows.count * count) if average else 0
        for start, repeat, lanes in blocks(channels, CHANNELS):
            with b.loop(repeat, "block") as block:
                channel = start + block * lanes
                acc = b.local("acc", lanes)
                for j in range(lanes):
                    b.store(acc, j, 0 if average else -128)
                with b.loop(rows.count, "tap", start=rows.first) as tap, b.loop(count, "kx", start=first) as kx:
                    at = rows.offset(tap) + (horizontal.origin(pixel) + kx) * channels + channel
                    for j in range(lanes):
                        x = widen(data, at + j)
                        b.store(acc, j, acc[j] + x if average else tirx.max(acc[j], x))
                for j in range(lanes):
                    result = value("tinyml_average", acc[j], taps) if average else acc[j]
                    result = value("tinyml_clamp", result, p.clamp_min, p.clamp_max)
                    b.store(out, pixel * channels + channel + j, result)

    each_pixel(b, horizontal, compute)
    return b.finish(f"{name}_{p.pool_size[0]}x{p.pool_size[1]}" + stride_suffix(p.strides))
