"""Index arithmetic of sliding windows, slices and resizing, on plain integers."""

from __future__ import annotations

from math import ceil, floor

import numpy as np


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding (before, after) of TensorFlow's SAME along one axis; the odd element goes after.

    References
    ----------
    TFLite, ``ComputePaddingWithOffset`` in tensorflow/lite/kernels/padding.h
    """
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def window_outputs(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Number of positions of a window along one axis; not positive where it does not fit."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def ceil_mode_padding(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Padding after, such that floor arithmetic counts the outputs of ONNX's ``ceil_mode``.

    A window that would start in the padding behind the image is not counted (ONNX operators, AveragePool).
    """
    outputs = ceil((size + before + after - kernel) / stride) + 1
    if (outputs - 1) * stride >= size + before:
        outputs -= 1
    return max(after, (outputs - 1) * stride + kernel - size - before)


def normalize_slice(size: int, begin: int | None, end: int | None, stride: int) -> tuple[int, int, int]:
    """Begin, end, stride of Python's slice within bounds; a negative stride that runs to 0 gets end ``-size - 1``.

    That is how Relax writes "up to and including the first element".
    """
    start, stop, step = slice(begin, end, stride).indices(size)
    if len(range(start, stop, step)) == 0:
        return 0, 0, 1
    return start, (-size - 1 if stop < 0 else stop), step


def onnx_nearest_indices(
    in_size: int, out_size: int, scale: float, coordinate_mode: str, nearest_mode: str
) -> list[int]:
    """Source index of each output of ONNX's Resize(mode="nearest") along one axis.

    References
    ----------
    ONNX operators, Resize: ``coordinate_transformation_mode`` and ``nearest_mode``
    """
    indices = []
    for i in range(out_size):
        if coordinate_mode == "asymmetric":
            x = i / scale
        elif coordinate_mode == "align_corners":
            x = i * (in_size - 1) / (out_size - 1) if out_size > 1 else 0.0
        elif coordinate_mode == "pytorch_half_pixel" and out_size == 1:
            x = 0.0
        else:
            x = (i + 0.5) / scale - 0.5
        rounded = {
            "floor": floor(x),
            "ceil": ceil(x),
            "round_prefer_floor": ceil(x - 0.5),
            "round_prefer_ceil": floor(x + 0.5),
        }[nearest_mode]
        indices.append(min(max(rounded, 0), in_size - 1))
    return indices


def tflite_nearest_indices(in_size: int, out_size: int, coordinate_mode: str) -> list[int]:
    """Source index of each output of TFLite's RESIZE_NEAREST_NEIGHBOR along one axis, in float32 as there.

    References
    ----------
    TFLite, ``GetNearestNeighbor`` in kernels/internal/reference/resize_nearest_neighbor.h
    """
    align = coordinate_mode == "align_corners"
    offset = np.float32(0.5 if coordinate_mode == "half_pixel" else 0.0)
    if align and out_size > 1:
        scale = np.float32(in_size - 1) / np.float32(out_size - 1)
    else:
        scale = np.float32(in_size) / np.float32(out_size)
    indices = []
    for i in range(out_size):
        x = float((np.float32(i) + offset) * scale)
        indices.append(min(floor(x + 0.5) if align else floor(x), in_size - 1))
    return indices
