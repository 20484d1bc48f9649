"""NumPy reference of the operators with weights: convolution, depthwise convolution, dense.

Sums are exact integers; int32 overflow wraps as on the target. Fast enough for whole models.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .fixed_point import Int8Array, Int32Array, Int64Array, clamp_to_int8, requantize, wrap_int32
from .params import AccumulateParams, Conv2DParams, DenseParams, RequantizeParams


def conv2d(
    params: Conv2DParams,
    data: Int8Array,
    weight: Int8Array,
    bias: Int32Array,
    multiplier: Int32Array,
    shift: Int32Array,
) -> Int8Array:
    """CONV_2D, data [N, H, W, C], weight [O, KH, KW, C / groups], the rest [O]; output [N, OH, OW, O]."""
    out_channels, kernel_h, kernel_w, group_in = weight.shape
    group_out = out_channels // params.groups
    acc: NDArray[np.float64] | None = None
    for i, j, window in taps(params, data, (kernel_h, kernel_w)):
        products = np.concatenate(
            [
                # A float64 matrix product is exact here (sums stay far below 2**53) and much faster than int64.
                window[..., g * group_in : (g + 1) * group_in]
                @ weight[g * group_out : (g + 1) * group_out, i, j].astype(np.float64).T
                for g in range(params.groups)
            ],
            axis=-1,
        )
        acc = products if acc is None else acc + products
    assert acc is not None, "a kernel has at least one tap"
    return _finish(params, acc.astype(np.int64), bias, multiplier, shift)


def depthwise_conv2d(
    params: Conv2DParams,
    data: Int8Array,
    weight: Int8Array,
    bias: Int32Array,
    multiplier: Int32Array,
    shift: Int32Array,
) -> Int8Array:
    """DEPTHWISE_CONV_2D, data [N, H, W, C], weight [KH, KW, C * M]; output channel o reads input channel o // M."""
    kernel_h, kernel_w, out_channels = weight.shape
    repeats = out_channels // data.shape[-1]
    acc: NDArray[np.float64] | None = None
    for i, j, window in taps(params, data, (kernel_h, kernel_w)):
        products = np.repeat(window, repeats, axis=-1) * weight[i, j].astype(np.float64)
        acc = products if acc is None else acc + products
    assert acc is not None, "a kernel has at least one tap"
    return _finish(params, acc.astype(np.int64), bias, multiplier, shift)


def conv2d_accumulate(_: AccumulateParams, data: Int8Array, weight: Int8Array, sums: Int32Array) -> Int32Array:
    """Part of a 1x1 CONV_2D, data [N, H, W, C], weight [O, C], added to sums [N, H, W, O] or [O]; wraps at int32."""
    products = data.astype(np.float64) @ weight.astype(np.float64).T
    return wrap_int32(products.astype(np.int64) + sums).astype(np.int32)


def requantize_sums(params: RequantizeParams, sums: Int32Array, multiplier: Int32Array, shift: Int32Array) -> Int8Array:
    """What a convolution does to its accumulators [N, H, W, O]; multiplier and shift are [O]."""
    scaled = requantize(sums.astype(np.int64), multiplier, shift, params.rounding)
    return clamp_to_int8(scaled, params.output_zero_point, params.clamp_min, params.clamp_max)


def dense(
    params: DenseParams,
    data: Int8Array,
    weight: Int8Array,
    bias: Int32Array,
    multiplier: Int32Array,
    shift: Int32Array,
) -> Int8Array:
    """FULLY_CONNECTED, data [M, K], weight [O, K], the rest [O]; output [M, O]."""
    centred = data.astype(np.float64) - params.input_zero_point
    return _finish(params, (centred @ weight.astype(np.float64).T).astype(np.int64), bias, multiplier, shift)


def taps(
    params: Conv2DParams, data: Int8Array, kernel: tuple[int, int]
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """For each kernel position (i, j) what it reads for all outputs: data less its zero point, 0 in the padding."""
    top, left, bottom, right = params.padding
    centred = data.astype(np.float64) - params.input_zero_point
    padded = np.pad(centred, ((0, 0), (top, bottom), (left, right), (0, 0)))
    (step_h, step_w), (dil_h, dil_w) = params.strides, params.dilation
    out_h = (padded.shape[1] - (kernel[0] - 1) * dil_h - 1) // step_h + 1
    out_w = (padded.shape[2] - (kernel[1] - 1) * dil_w - 1) // step_w + 1
    for i in range(kernel[0]):
        rows = slice(i * dil_h, i * dil_h + (out_h - 1) * step_h + 1, step_h)
        for j in range(kernel[1]):
            columns = slice(j * dil_w, j * dil_w + (out_w - 1) * step_w + 1, step_w)
            yield i, j, padded[:, rows, columns, :]


def _finish(
    params: Conv2DParams | DenseParams, acc: Int64Array, bias: Int32Array, multiplier: Int32Array, shift: Int32Array
) -> Int8Array:
    scaled = requantize(wrap_int32(acc + bias), multiplier, shift, params.rounding)
    return clamp_to_int8(scaled, params.output_zero_point, params.clamp_min, params.clamp_max)
