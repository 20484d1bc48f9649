"""Calls of every integer operator with shapes and parameters that reach every branch of the schedules."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tests.kernel_library import KernelCall, RowsOf, normalized_call
from tvm_tiny.ops import make_call
from tvm_tiny.quant import params as qp
from tvm_tiny.quant import reference, scales
from tvm_tiny.quant.resize import bilinear_sources, nearest_sources
from tvm_tiny.schedules import select
from tvm_tiny.targets import CPUS

Array = NDArray[Any]
Strings = Sequence[str]


@dataclass(frozen=True)
class KernelCase:
    """One call.

    activations : how many of ``arrays``, from the front or the positions given, are activations; the rest constants
    """

    name: str
    op: str
    params: Any
    arrays: tuple[Array, ...]
    activations: tuple[int, ...] = (0,)
    rows_of: RowsOf | None = None

    @cached_property
    def call(self) -> relax.Call:
        variables: list[relax.Var] = []
        args: list[Any] = []
        for i, array in enumerate(self.arrays):
            if i in self.activations:
                variables.append(relax.Var(f"x{i}", relax.TensorType(list(array.shape), array.dtype.name)))
                args.append(variables[-1])
            else:
                args.append(relax.const(array))
        return normalized_call(make_call(self.op, args, self.params), variables)

    @cached_property
    def expected(self) -> Array:
        return reference.run(self.op, self.params, *self.arrays)

    def kernel_call(self, cpu: str = "cortex-m4") -> KernelCall:
        inputs = tuple(self.arrays[i] for i in self.activations)
        output = (self.expected.shape, self.expected.dtype.name)
        return KernelCall(select(self.call, CPUS[cpu]), inputs, (output,), self.rows_of)


def all_cases() -> list[KernelCase]:
    """Every case, the operators with a rounding in both modes."""
    cases: list[KernelCase] = []
    for rounding in qp.ROUNDINGS:
        for make in (_convolutions, _depthwise, _dense, _elementwise, _means):
            cases += [replace(case, name=f"{case.name}-{rounding}") for case in make(rounding)]
    for make_once in (_pools, _resizes, _softmaxes, _lookups, _edges):
        cases += make_once()
    return cases


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _int8(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    """Any value, the extremes more often."""
    values = rng.integers(-128, 128, shape)
    return np.where(rng.random(shape) < 0.05, rng.choice([-128, 127], shape), values).astype(np.int8)


def _weights(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def _layer(
    rng: np.random.Generator, kind: str, shape: Sequence[int], weight: Array, outputs_first: Array, zero_point: int
) -> tuple[Array, ...]:
    """Data, weight, bias, multiplier and shift, such that outputs spread over their range.

    Parameters
    ----------
    kind : "usual"; "left" has shifts from -1 to 3; "same" one multiplier for all; "huge" a bias beyond 2**30; "dead" a
        multiplier of 0
    outputs_first : a view of ``weight`` with the output channels in front
    """
    taps = outputs_first.reshape(len(outputs_first), -1)
    data = _int8(rng, shape)
    factors = 60.0 / (73.0 * 73.0 * np.sqrt(taps.shape[1])) * rng.uniform(0.2, 3.0, len(taps))
    # On average an activation is -1/2, which is that much less its zero point.
    bias = np.round(taps.sum(axis=1, dtype=np.int64) * (zero_point + 0.5)) + rng.integers(-9000, 9000, len(taps))
    if kind == "left":
        np.clip(weight, -1, 1, out=weight)
        data = np.clip(zero_point + rng.integers(-4, 5, shape), -128, 127).astype(np.int8)
        factors, bias = rng.choice([0.6, 1.1, 2.5, 6.0], len(taps)), rng.integers(-5, 5, len(taps))
    if kind == "same":
        factors[:] = factors[0]
    multipliers, shifts = scales.quantize_multipliers(factors)
    if kind == "huge":
        bias[0] = 2**30 + 12345
    if kind == "dead":
        multipliers[0], shifts[0] = 0, 0
    return data, weight, bias.astype(np.int32), multipliers, shifts


def _window_rows(p: qp.Conv2DParams | qp.PoolParams, kernel_h: int, height: int) -> RowsOf:
    dilation = p.dilation[0] if isinstance(p, qp.Conv2DParams) else 1

    def rows(_: int, y: int) -> tuple[int, int]:
        top = y * p.strides[0] - p.padding[0]
        inside = [row for row in range(top, top + kernel_h * dilation, dilation) if 0 <= row < height]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    return rows


# name, input shape, outputs, kernel, strides, padding (top, left, bottom, right), dilation, groups, kind of scales
_CONVOLUTIONS: tuple[tuple[Any, ...], ...] = (
    ("pointwise", (1, 5, 5, 8), 6, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("pointwise-odd", (2, 3, 4, 3), 5, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("pointwise-stride", (1, 5, 5, 8), 3, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1, "left"),
    ("pointwise-padded", (1, 3, 3, 5), 2, (1, 1), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-same", (1, 7, 6, 4), 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-same-batch", (2, 4, 5, 8), 3, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "same"),
    ("3x3-stride", (1, 8, 8, 4), 4, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 1, "usual"),
    ("3x3-odd-channels", (1, 6, 7, 5), 3, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-odd-channels-valid", (1, 6, 7, 5), 2, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1, "huge"),
    ("first-image", (1, 9, 9, 3), 8, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 1, "usual"),
    ("first-audio", (1, 13, 10, 1), 6, (10, 4), (2, 2), (4, 1, 5, 1), (1, 1), 1, "usual"),
    ("1x5", (1, 4, 9, 4), 2, (1, 5), (1, 2), (0, 2, 0, 2), (1, 1), 1, "dead"),
    ("5x1", (1, 9, 4, 6), 3, (5, 1), (2, 1), (2, 0, 2, 0), (1, 1), 1, "usual"),
    ("larger-than-image", (1, 2, 2, 4), 3, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1, "usual"),
    ("larger-than-image-odd", (1, 2, 3, 1), 3, (5, 7), (1, 1), (2, 3, 2, 3), (1, 1), 1, "usual"),
    ("padding-beyond-kernel", (1, 3, 3, 2), 2, (2, 2), (1, 1), (3, 3, 4, 4), (1, 1), 1, "usual"),
    ("padding-beyond-kernel-words", (1, 3, 3, 4), 2, (2, 2), (2, 2), (3, 4, 3, 4), (1, 1), 1, "usual"),
    ("dilated", (1, 9, 8, 4), 4, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1, "usual"),
    ("dilated-rows", (1, 9, 6, 4), 4, (3, 3), (1, 1), (3, 1, 3, 1), (3, 1), 1, "usual"),
    ("dilated-stride", (1, 9, 9, 3), 2, (3, 2), (2, 2), (1, 1, 2, 2), (2, 3), 1, "usual"),
    ("groups", (1, 5, 5, 8), 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2, "usual"),
    ("groups-odd", (1, 4, 5, 6), 9, (2, 3), (2, 1), (0, 1, 1, 1), (1, 1), 3, "left"),
    ("one-pixel", (1, 1, 1, 16), 5, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("one-column", (1, 6, 1, 4), 4, (3, 1), (1, 1), (1, 0, 1, 0), (1, 1), 1, "usual"),
    ("whole-image", (1, 4, 4, 4), 3, (4, 4), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
)


def _convolutions(rounding: str) -> Iterator[KernelCase]:
    for name, shape, outputs, kernel, strides, padding, dilation, groups, kind in _CONVOLUTIONS:
        rng = _rng(name + rounding)
        weight = _weights(rng, (outputs, *kernel, shape[3] // groups))
        zero_points = (int(rng.integers(-128, 128)), int(rng.integers(-20, 20)))
        clamp = (-128, 127) if rng.random() < 0.5 else (zero_points[1], 90)
        p = qp.Conv2DParams(strides, padding, dilation, groups, *zero_points, *clamp, rounding)
        arrays = _layer(rng, kind, shape, weight, weight, zero_points[0])
        yield KernelCase(f"qconv2d-{name}", "qconv2d", p, arrays, rows_of=_window_rows(p, kernel[0], shape[1]))


# name, input shape, multiplier, kernel, strides, padding, dilation, kind of scales
_DEPTHWISE: tuple[tuple[Any, ...], ...] = (
    ("3x3-same", (1, 6, 6, 8), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("3x3-odd", (2, 5, 4, 7), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("3x3-stride", (1, 8, 8, 4), 1, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), "left"),
    ("3x3-valid", (1, 5, 6, 5), 1, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), "same"),
    ("7x7", (1, 6, 5, 4), 1, (7, 7), (1, 1), (3, 3, 3, 3), (1, 1), "usual"),
    ("5x5-stride", (1, 9, 9, 6), 1, (5, 5), (2, 2), (1, 1, 2, 2), (1, 1), "dead"),
    ("1x9", (1, 3, 12, 4), 1, (1, 9), (1, 1), (0, 4, 0, 4), (1, 1), "usual"),
    ("dilated", (1, 8, 8, 4), 1, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), "huge"),
    ("one-channel", (1, 6, 6, 1), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("multiplier-of-one-channel", (1, 7, 6, 1), 8, (4, 3), (2, 2), (1, 0, 2, 1), (1, 1), "usual"),
    ("multiplier", (1, 5, 5, 3), 2, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("multiplier-odd", (1, 5, 5, 4), 3, (3, 3), (2, 2), (1, 1, 1, 1), (2, 2), "usual"),
)


def _depthwise(rounding: str) -> Iterator[KernelCase]:
    for name, shape, repeats, kernel, strides, padding, dilation, kind in _DEPTHWISE:
        rng = _rng(name + rounding)
        outputs = shape[3] * repeats
        weight = _weights(rng, (*kernel, outputs))
        zero_points = (int(rng.integers(-128, 128)), int(rng.integers(-20, 20)))
        p = qp.Conv2DParams(strides, padding, dilation, 1, *zero_points, -128, 100, rounding)
        arrays = _layer(rng, kind, shape, weight, weight.transpose(2, 0, 1), zero_points[0])
        rows = _window_rows(p, kernel[0], shape[1])
        yield KernelCase(f"qdepthwise_conv2d-{name}", "qdepthwise_conv2d", p, arrays, rows_of=rows)


def _dense(rounding: str) -> Iterator[KernelCase]:
    for name, rows, length, outputs, kind in (
        ("words", 1, 64, 12, "usual"),
        ("odd", 3, 13, 7, "same"),
        ("one", 2, 5, 1, "left"),
        ("three", 1, 640, 3, "huge"),
    ):
        rng = _rng(name + rounding)
        weight = _weights(rng, (outputs, length))
        p = qp.DenseParams(int(rng.integers(-128, 128)), 3, -128, 127, rounding)
        arrays = _layer(rng, kind, (rows, length), weight, weight, p.input_zero_point)
        yield KernelCase(f"qdense-{name}", "qdense", p, arrays)


# name, shapes, positions of the activations
_PAIRS: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
    ("rows", (2, 3, 4, 5), (2, 3, 4, 5), (0, 1)),
    ("vectors", (1, 17), (1, 17), (0, 1)),
    ("broadcast-channels", (2, 3, 4, 5), (5,), (0, 1)),
    ("broadcast-both", (3, 1, 5), (4, 1), (0, 1)),
    ("constant", (1, 3, 4, 5), (1, 1, 1, 5), (0,)),
    ("constant-rows", (2, 3, 4, 5), (1, 3, 1, 1), (0,)),
    ("constant-batch", (2, 3, 2, 5), (2, 3, 2, 5), (0,)),
    ("constant-first", (), (1, 2, 3, 3), (1,)),
)


def _elementwise(rounding: str) -> Iterator[KernelCase]:
    factories: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("qadd", scales.add_params),
        ("qsub", scales.sub_params),
        ("qmul", scales.mul_params),
    )
    for op, factory in factories:
        for name, a, b, activations in _PAIRS:
            rng = _rng(op + name + rounding)
            a_scale, b_scale = (float(s) for s in np.float32(rng.uniform(0.01, 0.2, 2)))
            out_scale = a_scale * b_scale * 90 if op == "qmul" else max(a_scale, b_scale) * float(rng.uniform(0.9, 3))
            zero_points = [int(z) for z in rng.integers(-40, 40, 2)]
            activation = "relu6" if name == "rows" else "none"
            p = factory(a_scale, zero_points[0], b_scale, zero_points[1], out_scale, -5, activation, rounding)
            arrays = (_int8(rng, a), _int8(rng, b))
            yield KernelCase(f"{op}-{name}", op, p, arrays, activations, rows_of=lambda _, y: (y, y + 1))


def _means(rounding: str) -> Iterator[KernelCase]:
    for shape, axes, keepdims in (
        ((1, 5, 7, 6), (1, 2), False),
        ((2, 3, 4, 5), (1, 2), True),
        ((2, 3, 4, 5), (3,), False),
        ((2, 3, 4, 5), (0, 2), True),
        ((3, 9), (1,), False),
        ((2, 3, 4), (0, 1, 2), True),
        ((1, 1, 1, 8), (1, 2), False),
    ):
        rng = _rng(f"{shape}{axes}")
        p = scales.mean_params(shape, axes, keepdims, 0.1, int(rng.integers(-9, 9)), 0.03, 7, rounding)
        yield KernelCase(f"qmean-{shape}-{axes}", "qmean", p, (_int8(rng, shape),))


def _pools() -> Iterator[KernelCase]:
    for shape, size, strides, padding in (
        ((1, 6, 6, 8), (2, 2), (2, 2), (0, 0, 0, 0)),
        ((2, 5, 7, 3), (3, 3), (2, 2), (1, 1, 1, 1)),
        ((1, 5, 5, 5), (3, 2), (1, 1), (1, 0, 1, 1)),
        ((1, 9, 5, 6), (9, 5), (1, 1), (0, 0, 0, 0)),
        ((1, 2, 2, 4), (5, 5), (1, 1), (2, 2, 2, 2)),
    ):
        for op in ("qavg_pool2d", "qmax_pool2d"):
            rng = _rng(f"{op}{shape}")
            p = qp.PoolParams(size, strides, padding, -100, 110)
            arrays = (_int8(rng, shape),)
            yield KernelCase(f"{op}-{shape}-{size}", op, p, arrays, rows_of=_window_rows(p, size[0], shape[1]))


def _resizes() -> Iterator[KernelCase]:
    for shape, size in (
        ((1, 4, 5, 3), (8, 10)),
        ((2, 7, 6, 1), (3, 9)),
        ((1, 1, 3, 2), (4, 1)),
        ((1, 5, 5, 4), (5, 7)),
    ):
        for method in ("nearest", "bilinear"):
            for flags in ((False, False), (True, False), (False, True)):
                name = f"qresize2d-{method}-{shape}-{size}-{flags}"
                p = qp.ResizeParams(size, method, *flags)
                if method == "nearest":
                    source = nearest_sources(shape[1], size[0], *flags)
                    spans = [(int(s), int(s) + 1) for s in source]
                else:
                    lower, upper, _ = bilinear_sources(shape[1], size[0], *flags)
                    spans = [(int(low), int(high) + 1) for low, high in zip(lower, upper, strict=True)]
                rows: RowsOf = lambda _, y, spans=spans: spans[y]  # type: ignore[misc]  # noqa: E731
                yield KernelCase(name, "qresize2d", p, (_int8(_rng(name), shape),), rows_of=rows)


def _softmaxes() -> Iterator[KernelCase]:
    for shape, scale, beta in (
        ((1, 10), 0.05, 1.0),
        ((3, 1001), 0.15, 1.0),
        ((2, 3, 4), 0.002, 1.0),
        ((2, 6), 1.7, 2.0),
    ):
        arrays = (_int8(_rng(f"softmax{shape}"), shape),)
        yield KernelCase(f"qsoftmax-{shape}", "qsoftmax", scales.softmax_params(scale, beta), arrays)
    equal = np.full((1, 300), 5, np.int8)
    yield KernelCase("qsoftmax-equal", "qsoftmax", scales.softmax_params(0.1), (equal,))


def _lookups() -> Iterator[KernelCase]:
    for shape, in_dtype, out_dtype in (
        ((2, 3, 4, 5), "int8", "int8"),
        ((3, 7), "uint8", "int8"),
        ((1, 2, 3, 4), "int8", "uint8"),
        ((300,), "uint8", "uint8"),
    ):
        rng = _rng(f"lookup{shape}")
        data, table = (
            rng.integers(np.iinfo(d).min, np.iinfo(d).max + 1, s).astype(d)
            for d, s in ((in_dtype, shape), (out_dtype, 256))
        )
        p = qp.LookupParams("test", out_dtype)
        yield KernelCase(f"lookup-{shape}", "lookup", p, (data, table), rows_of=lambda _, y: (y, y + 1))


def _edges() -> Iterator[KernelCase]:
    for shape, scale, zero_point, dtype in (
        ((2, 3, 4, 5), 0.1, -3, "int8"),
        ((1, 4000), 0.0078431377, 128, "uint8"),
        ((1, 4, 4, 1), 0.5, 127, "int8"),
    ):
        rng = _rng(f"edge{shape}")
        scale32 = float(np.float32(scale))
        halves = (rng.integers(-300, 300, shape) + 0.5) * scale
        wide = np.where(rng.random(shape) < 0.5, halves, rng.normal(0, 40 * scale, shape)).astype(np.float32)
        special = [np.inf, -np.inf, np.nan, 3e38, -3e38, 0.49999997 * scale, -0.0, 1e-45]
        wide.reshape(-1)[: len(special)] = special
        p = qp.QuantizeParams(scale32, zero_point, dtype)
        rows: RowsOf = lambda _, y: (y, y + 1)  # noqa: E731
        yield KernelCase(f"quantize-{dtype}-{shape}", "quantize", p, (wide,), rows_of=rows)
        data = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
        p = qp.QuantizeParams(scale32, zero_point, "float32")
        yield KernelCase(f"dequantize-{dtype}-{shape}", "dequantize", p, (data,), rows_of=rows)
