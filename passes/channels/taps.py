"""Which taps of a convolution lie inside the image, at its borders too, and what a constant input channel adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, params_of
from tvm_tiny.passes._dataflow import array_of, shape_of

Int64 = NDArray[np.int64]


def weight_taps(call: relax.Call) -> NDArray[np.int8]:
    """Weights as [O, T, C] (convolution), [O, 1, C] (dense) or [T, O] (depthwise), T taps in row-major order."""
    weight = array_of(call.args[1])
    if is_tinyml_call(call, "qdepthwise_conv2d"):
        return weight.reshape(-1, weight.shape[-1])
    return weight.reshape(weight.shape[0], -1, weight.shape[-1])


def tap_patterns(call: relax.Call) -> Int64:
    """[P, T]: for each kind of output position, 1 for the taps that lie inside the image.

    In the middle of the image all do; every border and corner adds a kind. Taps in the padding contribute nothing.
    """
    if is_tinyml_call(call, "qdense"):
        return np.ones((1, 1), np.int64)
    params = params_of(call)
    weight = shape_of(call.args[1])
    kernel = weight[:2] if is_tinyml_call(call, "qdepthwise_conv2d") else weight[1:3]
    rows, columns = (
        inside_axis(call, a, kernel[a], params.strides[a], params.dilation[a], params.padding[a]) for a in range(2)
    )
    both = rows[:, None, :, None] & columns[None, :, None, :]
    return both.reshape(len(rows) * len(columns), -1).astype(np.int64)


def inside_axis(call: relax.Call, axis: int, kernel: int, stride: int, dilation: int, before: int) -> NDArray[np.bool_]:
    """[kinds of positions, kernel]: which taps along height (axis 0) or width (1) lie inside the image."""
    size, outputs = shape_of(call.args[0])[1 + axis], shape_of(call)[1 + axis]
    at = stride * np.arange(outputs)[:, None] - before + dilation * np.arange(kernel)
    inside: NDArray[np.bool_] = np.unique((at >= 0) & (at < size), axis=0)
    return inside


def contributions(call: relax.Call, channels: NDArray[np.intp]) -> Int64:
    """[P, O, K]: sum of the weights inside the image per kind of position, for input channels ``channels`` [K]."""
    weight = weight_taps(call)[..., channels]
    sums: Int64 = np.einsum("pt,otk->pok", tap_patterns(call), weight)
    return sums
