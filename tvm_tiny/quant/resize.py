"""Where RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR read from, per output row or column.

One axis at a time: height and width follow the same rule. A kernel stores these few numbers as constants.

References
----------
TFLite, kernels/internal/reference/resize_nearest_neighbor.h and resize_bilinear.h (ResizeBilinearInteger).
"""

from __future__ import annotations

import numpy as np

from .fixed_point import Int32Array

WEIGHT_BITS = 10
"""Bilinear weights are fractions of 1024."""


def nearest_sources(input_size: int, output_size: int, align_corners: bool, half_pixel_centers: bool) -> Int32Array:
    """The input index of each output index, int32 [output_size]; computed in float32, as the C code does."""
    if align_corners and output_size > 1:
        scale = np.float32(input_size - 1) / np.float32(output_size - 1)
    else:
        scale = np.float32(input_size) / np.float32(output_size)
    offset = np.float32(0.5 if half_pixel_centers else 0.0)
    position = (np.arange(output_size, dtype=np.float32) + offset) * scale
    # Positions are not negative and far below 2**23, so adding a half in float64 rounds half away from zero.
    rounded = np.floor(position.astype(np.float64) + (0.5 if align_corners else 0.0))
    return np.minimum(rounded, input_size - 1).astype(np.int32)


def bilinear_sources(
    input_size: int, output_size: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """The two input indices of each output index and the weight of the second.

    Returns
    -------
    lower, upper : int32 [output_size], both inside the input
    weight : int32 [output_size], of ``upper``, in [0, 1024); ``lower`` weighs 1024 minus that. 0 where the two are one.

    Notes
    -----
    Where rounding of the step leads past the last row, TFLite Micro reads outside its input; this takes the last row.
    """
    one = 1 << WEIGHT_BITS
    numerator, denominator = input_size, output_size
    if align_corners and output_size > 1:
        numerator, denominator = input_size - 1, output_size - 1
    step = (one * numerator + denominator // 2) // denominator
    position = np.arange(output_size, dtype=np.int64) * step
    if half_pixel_centers:
        position += step // 2 - one // 2
    lower = np.clip(position >> WEIGHT_BITS, 0, input_size - 1)
    upper = np.clip((position + one - 1) >> WEIGHT_BITS, 0, input_size - 1)
    weight = np.where(lower == upper, 0, position - lower * one)
    return lower.astype(np.int32), upper.astype(np.int32), weight.astype(np.int32)
