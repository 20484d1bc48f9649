"""Calls of integer operators with unremarkable parameters, for tests of passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.quant import scales
from tvm_tiny.quant.params import Conv2DParams, DenseParams, LookupParams, PoolParams

CONV = Conv2DParams(
    strides=(1, 1),
    padding=(0, 0, 0, 0),
    dilation=(1, 1),
    groups=1,
    input_zero_point=3,
    output_zero_point=-5,
    clamp_min=-128,
    clamp_max=127,
    rounding="tflm",
)
RNG = np.random.default_rng(42)
WEIGHT = RNG.integers(-128, 128, (4, 3, 3, 2), dtype=np.int8)
"""OHWI, for two channels in and four out."""


def per_channel(channels: int) -> list[relax.Expr]:
    """Bias, multiplier and shift."""
    multiplier, shift = scales.conv_multipliers(0.05, 0.01, 0.1, channels)
    bias = np.arange(-1, channels - 1, dtype=np.int32) * 100
    return [relax.const(a) for a in (bias, multiplier, shift)]


def conv(x: relax.Expr, weight: Any = WEIGHT, **changes: Any) -> relax.Call:
    return make_call("qconv2d", [x, relax.const(weight), *per_channel(len(weight))], replace(CONV, **changes))


def depthwise(x: relax.Expr, **changes: Any) -> relax.Call:
    weight = WEIGHT[0]
    return make_call("qdepthwise_conv2d", [x, relax.const(weight), *per_channel(2)], replace(CONV, **changes))


def dense(x: relax.Expr, weight: Any) -> relax.Call:
    return make_call(
        "qdense", [x, relax.const(weight), *per_channel(len(weight))], DenseParams(3, -5, -128, 127, "tflm")
    )


def max_pool(x: relax.Expr, padding: tuple[int, int, int, int] = (0, 0, 0, 0), size: int = 3) -> relax.Call:
    return make_call("qmax_pool2d", [x], PoolParams((size, size), (2, 2), padding, -128, 127))


def add(a: relax.Expr, b: relax.Expr) -> relax.Call:
    return make_call("qadd", [a, b], scales.add_params(0.1, 3, 0.2, -4, 0.25, 5))


def mean(x: relax.Expr, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> relax.Call:
    return make_call("qmean", [x], scales.mean_params(shape, axes, keepdims, 0.1, 3, 0.05, -4))


def lookup(x: relax.Expr, table: Any, function: str = "f") -> relax.Call:
    table = np.asarray(table)
    dtype = "int8" if table.dtype == np.int64 else str(table.dtype)
    return make_call("lookup", [x, relax.const(table.astype(dtype))], LookupParams(function, dtype))


def clamp_table(low: int, high: int) -> Any:
    return np.clip(np.arange(-128, 128), low, high)


REVERSED = np.arange(-128, 128)[::-1]
"""A table that is no clamp."""
IDENTITY = np.arange(-128, 128)
