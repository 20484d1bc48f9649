"""NumPy reference of every operator ``relax.tinyml.*``: the definition of what kernels must compute.

``run(op_name, params, *arrays)`` dispatches by operator name; arrays come in the order of ``ops/registry.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fixed_point import Int8Array, Int64Array, clamp_to_int8, requantize, wrap_int32
from .params import AddParams, LookupParams, MeanParams, MulParams, Params, PoolParams, QuantizeParams, ResizeParams
from .reference_conv import conv2d, conv2d_accumulate, dense, depthwise_conv2d, requantize_sums
from .resize import WEIGHT_BITS, bilinear_sources, nearest_sources
from .scales import DTYPE_RANGES
from .softmax import softmax

Array = NDArray[Any]


def add(params: AddParams, a: Int8Array, b: Int8Array) -> Int8Array:
    """ADD with NumPy broadcasting."""
    return _sum(params, a, b, 1)


def sub(params: AddParams, a: Int8Array, b: Int8Array) -> Int8Array:
    """SUB with NumPy broadcasting."""
    return _sum(params, a, b, -1)


def mul(params: MulParams, a: Int8Array, b: Int8Array) -> Int8Array:
    """MUL with NumPy broadcasting."""
    product = (a.astype(np.int64) - params.a_zero_point) * (b.astype(np.int64) - params.b_zero_point)
    scaled = requantize(product, params.multiplier, params.shift, params.rounding)
    return clamp_to_int8(scaled, params.output_zero_point, params.clamp_min, params.clamp_max)


def avg_pool2d(params: PoolParams, data: Int8Array) -> Int8Array:
    """AVERAGE_POOL_2D: the sum of the taps inside the image over their number, rounded half away from zero."""
    total = _pool(params, data.astype(np.int64), 0, np.add)
    count = _pool(params, np.ones((1, *data.shape[1:3], 1), dtype=np.int64), 0, np.add)
    average = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return clamp_to_int8(average, 0, params.clamp_min, params.clamp_max)


def max_pool2d(params: PoolParams, data: Int8Array) -> Int8Array:
    """MAX_POOL_2D over the taps inside the image."""
    largest = _pool(params, data.astype(np.int64), -128, np.maximum)
    return clamp_to_int8(largest, 0, params.clamp_min, params.clamp_max)


def mean(params: MeanParams, data: Int8Array) -> Int8Array:
    """MEAN: one requantization of the sum less its zero points."""
    count = int(np.prod([data.shape[axis] for axis in params.axes], dtype=np.int64))
    total = data.sum(axis=params.axes, keepdims=params.keepdims, dtype=np.int64)
    centred = wrap_int32(total - params.input_zero_point * count)
    scaled = requantize(centred, params.multiplier, params.shift, params.rounding)
    return clamp_to_int8(scaled, params.output_zero_point, -128, 127)


def resize2d(params: ResizeParams, data: Int8Array) -> Int8Array:
    """RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR, data [N, H, W, C]; bilinear rounds half away from zero."""
    flags = (params.align_corners, params.half_pixel_centers)
    if params.method == "nearest":
        rows = nearest_sources(data.shape[1], params.size[0], *flags)
        columns = nearest_sources(data.shape[2], params.size[1], *flags)
        return data[:, rows][:, :, columns]
    values = data.astype(np.int64)
    one = 1 << WEIGHT_BITS
    lower, upper, weight = bilinear_sources(data.shape[1], params.size[0], *flags)
    weight_h = weight.astype(np.int64)[:, None, None]
    values = values[:, lower] * (one - weight_h) + values[:, upper] * weight_h
    lower, upper, weight = bilinear_sources(data.shape[2], params.size[1], *flags)
    weight_w = weight.astype(np.int64)[:, None]
    values = values[:, :, lower] * (one - weight_w) + values[:, :, upper] * weight_w
    half, bits = 1 << (2 * WEIGHT_BITS - 1), 2 * WEIGHT_BITS
    return clamp_to_int8(np.sign(values) * ((np.abs(values) + half) >> bits), 0, -128, 127)


def lookup(params: LookupParams, data: Array, table: Array) -> Array:
    """Table of 256: entry of value v at v + 128 for int8 data, at v for uint8."""
    low, _ = DTYPE_RANGES[str(data.dtype)]
    found: Array = table[data.astype(np.int64) - low].astype(params.out_dtype)
    return found


def quantize(params: QuantizeParams, data: NDArray[np.float32]) -> Array:
    """QUANTIZE: float32 quotient, rounded half away from zero; saturates; NaN gives the zero point.

    TFLite Micro leaves what does not fit int32, infinities and NaN undefined.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        quotient = data.astype(np.float32) / np.float32(params.scale)
    wide = np.nan_to_num(quotient.astype(np.float64), nan=0.0, posinf=2.0**31, neginf=-(2.0**31))
    rounded = np.copysign(np.floor(np.abs(wide) + 0.5), wide)
    low, high = DTYPE_RANGES[params.dtype]
    quantized: Array = np.clip(rounded + params.zero_point, low, high).astype(params.dtype)
    return quantized


def dequantize(params: QuantizeParams, data: Array) -> NDArray[np.float32]:
    """DEQUANTIZE: (value - zero point) * scale, one rounding to float32."""
    return ((data.astype(np.float64) - params.zero_point) * params.scale).astype(np.float32)


OPERATORS: dict[str, Callable[..., Array]] = {
    "qconv2d": conv2d,
    "qdepthwise_conv2d": depthwise_conv2d,
    "qconv2d_accumulate": conv2d_accumulate,
    "requantize": requantize_sums,
    "qdense": dense,
    "qadd": add,
    "qsub": sub,
    "qmul": mul,
    "qavg_pool2d": avg_pool2d,
    "qmax_pool2d": max_pool2d,
    "qmean": mean,
    "qsoftmax": softmax,
    "qresize2d": resize2d,
    "lookup": lookup,
    "quantize": quantize,
    "dequantize": dequantize,
}


def run(op_name: str, params: Params, *arrays: Array) -> Array:
    """Run the operator ``op_name`` of ``ops/registry.py``."""
    return OPERATORS[op_name](params, *arrays)


def _sum(params: AddParams, a: Int8Array, b: Int8Array, sign: int) -> Int8Array:
    scaled_a = _common_scale(params, a, params.a_zero_point, params.a_multiplier, params.a_shift)
    scaled_b = _common_scale(params, b, params.b_zero_point, params.b_multiplier, params.b_shift)
    total = wrap_int32(scaled_a + sign * scaled_b)
    scaled = requantize(total, params.output_multiplier, params.output_shift, params.rounding)
    return clamp_to_int8(scaled, params.output_zero_point, params.clamp_min, params.clamp_max)


def _common_scale(params: AddParams, data: Int8Array, zero_point: int, multiplier: int, shift: int) -> Int64Array:
    shifted = (data.astype(np.int64) - zero_point) << params.left_shift
    return requantize(shifted, multiplier, shift, params.rounding).astype(np.int64)


def _pool(params: PoolParams, data: Int64Array, fill: int, combine: np.ufunc) -> Int64Array:
    """Combine the window of each output; padding holds ``fill``."""
    top, left, bottom, right = params.padding
    padded = np.pad(data, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    (size_h, size_w), (step_h, step_w) = params.pool_size, params.strides
    out_h = (padded.shape[1] - size_h) // step_h + 1
    out_w = (padded.shape[2] - size_w) // step_w + 1
    result = np.full((padded.shape[0], out_h, out_w, padded.shape[3]), fill, dtype=np.int64)
    for i in range(size_h):
        rows = slice(i, i + (out_h - 1) * step_h + 1, step_h)
        for j in range(size_w):
            columns = slice(j, j + (out_w - 1) * step_w + 1, step_w)
            combine(result, padded[:, rows, columns, :], out=result)
    return result
