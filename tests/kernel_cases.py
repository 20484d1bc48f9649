"""Calls of every integer operator with shapes and parameters that reach every branch of the schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tests.kernel_case import KernelCase, random_int8, rng_of, window_rows
from tests.kernel_cases_weights import accumulations, convolutions, dense, depthwise, requantized_sums
from tests.kernel_library import RowsOf
from tvm_tiny.quant import params as qp
from tvm_tiny.quant import scales
from tvm_tiny.quant.resize import bilinear_sources, nearest_sources


def all_cases() -> list[KernelCase]:
    """Every case, the operators with a rounding in both modes."""
    cases: list[KernelCase] = []
    for rounding in qp.ROUNDINGS:
        for make in (convolutions, depthwise, requantized_sums, dense, _elementwise, _means):
            cases += [replace(case, name=f"{case.name}-{rounding}") for case in make(rounding)]
    for make_once in (accumulations, _pools, _resizes, _softmaxes, _lookups, _edges):
        cases += make_once()
    return cases


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
            rng = rng_of(op + name + rounding)
            a_scale, b_scale = (float(s) for s in np.float32(rng.uniform(0.01, 0.2, 2)))
            out_scale = a_scale * b_scale * 90 if op == "qmul" else max(a_scale, b_scale) * float(rng.uniform(0.9, 3))
            zero_points = [int(z) for z in rng.integers(-40, 40, 2)]
            activation = "relu6" if name == "rows" else "none"
            p = factory(a_scale, zero_points[0], b_scale, zero_points[1], out_scale, -5, activation, rounding)
            arrays = (random_int8(rng, a), random_int8(rng, b))
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
        rng = rng_of(f"{shape}{axes}")
        p = scales.mean_params(shape, axes, keepdims, 0.1, int(rng.integers(-9, 9)), 0.03, 7, rounding)
        yield KernelCase(f"qmean-{shape}-{axes}", "qmean", p, (random_int8(rng, shape),))


def _pools() -> Iterator[KernelCase]:
    for shape, size, strides, padding in (
        ((1, 6, 6, 8), (2, 2), (2, 2), (0, 0, 0, 0)),
        ((2, 5, 7, 3), (3, 3), (2, 2), (1, 1, 1, 1)),
        ((1, 5, 5, 5), (3, 2), (1, 1), (1, 0, 1, 1)),
        ((1, 9, 5, 6), (9, 5), (1, 1), (0, 0, 0, 0)),
        ((1, 2, 2, 4), (5, 5), (1, 1), (2, 2, 2, 2)),
    ):
        for op in ("qavg_pool2d", "qmax_pool2d"):
            rng = rng_of(f"{op}{shape}")
            p = qp.PoolParams(size, strides, padding, -100, 110)
            arrays = (random_int8(rng, shape),)
            yield KernelCase(f"{op}-{shape}-{size}", op, p, arrays, rows_of=window_rows(p, size[0], shape[1]))


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
                yield KernelCase(name, "qresize2d", p, (random_int8(rng_of(name), shape),), rows_of=rows)


def _softmaxes() -> Iterator[KernelCase]:
    for shape, scale, beta in (
        ((1, 10), 0.05, 1.0),
        ((3, 1001), 0.15, 1.0),
        ((2, 3, 4), 0.002, 1.0),
        ((2, 6), 1.7, 2.0),
    ):
        arrays = (random_int8(rng_of(f"softmax{shape}"), shape),)
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
        rng = rng_of(f"lookup{shape}")
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
        rng = rng_of(f"edge{shape}")
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
