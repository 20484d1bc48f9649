"""Constraints of the TFLite operators that compute."""

from __future__ import annotations

from math import prod

import numpy as np
import tflite

from .constraints import FULL_INTEGER_HINT, MAX_WINDOW, broadcast_shapes, shape_text
from .geometry import same_padding, window_outputs
from .graph import Operator
from .tflite_support import (
    BINARY,
    CONVS,
    POOLS,
    RESIZES,
    TFLITE,
    UNARY,
    WEIGHTED,
    window_steps,
)

_rule = TFLITE.rule


@_rule(*CONVS, *POOLS, *BINARY, "FULLY_CONNECTED", "CONCATENATION")
def fused_activation(op: Operator) -> str | None:
    """Fused activations are NONE, RELU, RELU6 and RELU_N1_TO_1 (CONCATENATION: NONE)."""
    names = {v: k for k, v in vars(tflite.ActivationFunctionType).items() if isinstance(v, int)}
    name = names.get(op.attributes["fused_activation_function"], "unknown")
    allowed = ("NONE",) if op.kind == "CONCATENATION" else ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
    return None if name in allowed else f"activation {name}"


@_rule(*WEIGHTED, hint=FULL_INTEGER_HINT)
def weight_type(op: Operator) -> str | None:
    """Weights are constants of the data type of the activations."""
    weight, data = op.require(1), op.require(0)
    if weight.data is None:
        return f"the weights '{weight.name}' are computed"
    if weight.dtype != data.dtype:
        return f"the weights '{weight.name}' are {weight.dtype}, the input is {data.dtype}"
    return None


@_rule(*WEIGHTED)
def weight_quantization(op: Operator) -> str | None:
    """int8 weights are symmetric (zero points 0), with one scale or one per output channel."""
    weight = op.require(1)
    q = weight.quantization
    if weight.dtype != "int8":
        return None
    if q is None:
        return f"the weights '{weight.name}' have no scale"
    if np.any(q.zero_points != 0):
        return f"the weights '{weight.name}' have zero point {int(q.zero_points[q.zero_points != 0][0])}"
    channel_axis = len(weight.shape) - 1 if op.kind == "DEPTHWISE_CONV_2D" else 0
    if not q.per_tensor and q.axis != channel_axis:
        return f"the weights '{weight.name}' have scales along axis {q.axis}, not {channel_axis}"
    return None


@_rule(*WEIGHTED, limit=30)
def multiplier_range(op: Operator) -> str | None:
    """input scale x weight scale / output scale is below 2^{limit}."""
    x, w, y = op.require(0).quantization, op.require(1).quantization, op.outputs[0].quantization
    if op.require(0).dtype != "int8" or x is None or w is None or y is None:
        return None
    multiplier = x.scale * float(w.scales.max()) / y.scale
    return None if multiplier < 2.0**30 else f"it is {multiplier:g}"


@_rule(*WEIGHTED)
def bias(op: Operator) -> str | None:
    """The bias, if any, is a constant with one int32 (float32 in float models) per output channel, zero point 0."""
    b, weight = op.input(2), op.require(1)
    if b is None:
        return None
    channels = weight.shape[-1:] if op.kind == "DEPTHWISE_CONV_2D" else weight.shape[:1]
    wanted = "int32" if weight.dtype == "int8" else "float32"
    if b.data is None or b.dtype != wanted or b.shape != channels:
        return f"the bias '{b.name}' is {'computed' if b.data is None else b.dtype} of shape {list(b.shape)}"
    if b.quantization is not None and np.any(b.quantization.zero_points != 0):
        return f"the bias '{b.name}' has a zero point"
    return None


@_rule(*CONVS, *POOLS, *RESIZES)
def images(op: Operator) -> str | None:
    """Input and output are 4-D (NHWC)."""
    ranks = [len(t.shape) for t in (op.require(0), op.outputs[0])]
    return None if ranks == [4, 4] else f"they have {ranks[0]} and {ranks[1]} dimensions"


@_rule(*CONVS)
def filter_shape(op: Operator) -> str | None:
    """Filters are 4-D; channels divide evenly into groups (DEPTHWISE_CONV_2D: output by input channels)."""
    weight, channels = op.require(1).shape, op.require(0).shape[3]
    if len(weight) != 4 or 0 in weight:
        return f"filter shape {list(weight)}"
    if op.kind == "DEPTHWISE_CONV_2D":
        fits = weight[0] == 1 and weight[3] % channels == 0
    else:
        fits = channels % weight[3] == 0 and weight[0] % (channels // weight[3]) == 0
    return None if fits else f"filter shape {list(weight)} on {channels} channels"


@_rule(*CONVS, *POOLS)
def positive_windows(op: Operator) -> str | None:
    """Kernels, strides and dilations are at least 1."""
    sizes = [v for k, v in op.attributes.items() if k.startswith(("stride_", "dilation_", "filter_"))]
    return None if min(sizes) >= 1 else f"they are {sizes}"


@_rule(*POOLS, limit=MAX_WINDOW)
def short_windows(op: Operator) -> str | None:
    """No side of the window is longer than {limit:,}."""
    sides = op.attributes["filter_height"], op.attributes["filter_width"]
    return None if max(sides) <= MAX_WINDOW else f"it is {shape_text(sides)}"


@_rule(*CONVS, *POOLS)
def window_shape(op: Operator) -> str | None:
    """The output's size follows from input, kernel, stride, dilation and padding (SAME or VALID)."""
    a, x, y = op.attributes, op.require(0).shape, op.outputs[0].shape
    if a["padding"] not in (tflite.Padding.SAME, tflite.Padding.VALID):
        return f"padding number {a['padding']}"
    weight = None if op.kind in POOLS else op.require(1).shape
    kernel = weight[1:3] if weight else (a["filter_height"], a["filter_width"])
    expected = [x[0]]
    for axis, k, stride, dilation in zip((1, 2), kernel, *window_steps(op), strict=True):
        pad = same_padding(x[axis], k, stride, dilation) if a["padding"] == tflite.Padding.SAME else (0, 0)
        expected.append(window_outputs(x[axis], k, stride, dilation, *pad))
    expected.append(x[3] if weight is None else weight[3] if op.kind == "DEPTHWISE_CONV_2D" else weight[0])
    return None if tuple(expected) == y else f"output {shape_text(y)} instead of {shape_text(expected)}"


@_rule("FULLY_CONNECTED")
def dense_shape(op: Operator) -> str | None:
    """Weights are 2-D [outputs, inputs] in the default format; the input is flattened to rows of that length."""
    x, weight, y = op.require(0), op.require(1), op.outputs[0]
    if op.attributes["weights_format"] != 0:
        return "shuffled weights"
    if len(weight.shape) != 2 or 0 in weight.shape or x.size % weight.shape[1]:
        return f"weights {list(weight.shape)} on input {list(x.shape)}"
    rows = x.size // weight.shape[1]
    fits = y.size == rows * weight.shape[0] and y.shape[-1:] == weight.shape[:1]
    return None if fits else f"output {list(y.shape)} of weights {list(weight.shape)} on input {list(x.shape)}"


@_rule(*BINARY)
def broadcast(op: Operator) -> str | None:
    """The shapes broadcast as in NumPy."""
    a, b, y = op.require(0).shape, op.require(1).shape, op.outputs[0].shape
    return None if broadcast_shapes(a, b) == y else f"{list(a)} and {list(b)} give {list(y)}"


@_rule("SOFTMAX", "LOGISTIC", scale="1/256", zero_point=-128)
def probability_output(op: Operator) -> str | None:
    """int8 output has scale {scale} and zero point {zero_point}."""
    return _wrong_output(op, 1 / 256, -128)


@_rule("TANH", scale="1/128", zero_point=0)
def tanh_output(op: Operator) -> str | None:
    """int8 output has scale {scale} and zero point {zero_point}."""
    return _wrong_output(op, 1 / 128, 0)


def _wrong_output(op: Operator, scale: float, zero_point: int) -> str | None:
    q = op.outputs[0].quantization
    if op.outputs[0].dtype != "int8" or q is None:
        return None
    return None if (q.scale, q.zero_point) == (scale, zero_point) else f"it has {q.scale:g} and {q.zero_point}"


@_rule("SOFTMAX")
def softmax_beta(op: Operator) -> str | None:
    """beta is larger than 0."""
    return None if op.attributes["beta"] > 0 else f"it is {op.attributes['beta']}"


@_rule("SOFTMAX", *UNARY)
def same_shape(op: Operator) -> str | None:
    """Input and output have the same shape."""
    x, y = op.require(0).shape, op.outputs[0].shape
    return None if x == y and len(x) > 0 else f"they have {list(x)} and {list(y)}"


@_rule("MEAN")
def mean_axes(op: Operator) -> str | None:
    """The axes exist and the output's size follows from them."""
    x, axes = op.require(0), op.require(1).integers()
    rank = len(x.shape)
    if not all(-rank <= a < rank for a in axes) or not axes:
        return f"axes {axes} of {rank} dimensions"
    kept = [d for i, d in enumerate(x.shape) if i not in {a % rank for a in axes}]
    return None if prod(kept) == op.outputs[0].size else f"output {list(op.outputs[0].shape)} for axes {axes}"


@_rule("QUANTIZE")
def quantize_types(op: Operator) -> str | None:
    """QUANTIZE makes int8 or uint8."""
    return None if op.outputs[0].dtype != "float32" else "it makes float32"


@_rule("DEQUANTIZE")
def dequantize_types(op: Operator) -> str | None:
    """DEQUANTIZE makes float32 of int8 or uint8."""
    types = (op.require(0).dtype, op.outputs[0].dtype)
    return None if types[0] != "float32" and types[1] == "float32" else f"it makes {types[1]} of {types[0]}"


@_rule("QUANTIZE", "DEQUANTIZE")
def quantize_shapes(op: Operator) -> str | None:
    """Input and output have the same shape."""
    x, y = op.require(0).shape, op.outputs[0].shape
    return None if x == y else f"they have {list(x)} and {list(y)}"
