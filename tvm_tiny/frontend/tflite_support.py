"""The TFLite operators that can be compiled, and the constraints common to all of them."""

from __future__ import annotations

import numpy as np

from .constraints import FULL_INTEGER_HINT, MAX_PARTS, MAX_SIDE, ConstraintSet, Signature, long_side
from .geometry import normalize_slice
from .graph import Operator, Tensor

CONVS = ("CONV_2D", "DEPTHWISE_CONV_2D")
POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
WEIGHTED = (*CONVS, "FULLY_CONNECTED")
BINARY = ("ADD", "SUB", "MUL")
RESIZES = ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")
SAME_SIZE_MOVES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
MOVES = (*SAME_SIZE_MOVES, "TRANSPOSE", "CONCATENATION", "PAD", "PADV2", "STRIDED_SLICE", "SPLIT", "SPLIT_V")
UNARY = ("LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH")

TFLITE = ConstraintSet(
    "TensorFlow Lite",
    {
        **dict.fromkeys(WEIGHTED, Signature((2, 3))),
        **dict.fromkeys(BINARY, Signature((2, 2), data=(0, 1))),
        **dict.fromkeys(POOLS, Signature((1, 1))),
        "MEAN": Signature((2, 2), parameters=(1,)),
        "PAD": Signature((2, 2), parameters=(1,)),
        "PADV2": Signature((3, 3), data=(0, 2), parameters=(1,)),
        "RESHAPE": Signature((1, 2)),
        "SQUEEZE": Signature((1, 1)),
        "EXPAND_DIMS": Signature((2, 2), parameters=(1,)),
        "TRANSPOSE": Signature((2, 2), parameters=(1,)),
        "CONCATENATION": Signature((1, MAX_PARTS), data=None),
        "SOFTMAX": Signature((1, 1)),
        **dict.fromkeys(UNARY, Signature((1, 1))),
        **dict.fromkeys(RESIZES, Signature((2, 2), parameters=(1,))),
        "STRIDED_SLICE": Signature((4, 4), parameters=(1, 2, 3)),
        "SPLIT": Signature((2, 2), data=(1,), parameters=(0,), outputs=(1, MAX_PARTS)),
        "SPLIT_V": Signature((3, 3), parameters=(1, 2), outputs=(1, MAX_PARTS)),
        "QUANTIZE": Signature((1, 1)),
        "DEQUANTIZE": Signature((1, 1)),
    },
)
_rule = TFLITE.rule


def data_of(op: Operator) -> list[Tensor]:
    return TFLITE.signatures[op.kind].data_of(op)


@_rule(hint=FULL_INTEGER_HINT)
def data_types(op: Operator) -> str | None:
    """Activations are int8 or float32; QUANTIZE and DEQUANTIZE also take uint8, for models with uint8 edges."""
    allowed = ("int8", "float32", "uint8") if op.kind in ("QUANTIZE", "DEQUANTIZE") else ("int8", "float32")
    for t in (*data_of(op), *op.outputs):
        if t.dtype not in allowed:
            return f"'{t.name}' is {t.dtype}"
    return None


@_rule(hint=FULL_INTEGER_HINT)
def one_data_type(op: Operator) -> str | None:
    """The activations of one operator are all int8 or all float32, except of QUANTIZE and DEQUANTIZE."""
    types = sorted({t.dtype for t in (*data_of(op), *op.outputs)})
    return f"they are {' and '.join(types)}" if len(types) > 1 and op.kind not in ("QUANTIZE", "DEQUANTIZE") else None


@_rule(
    hint=FULL_INTEGER_HINT,
)
def quantized_activations(op: Operator) -> str | None:
    """Integer activations have one scale, larger than 0, and one zero point within their range."""
    for t in (*data_of(op), *op.outputs):
        q = t.quantization
        if t.dtype == "float32":
            continue
        if q is None:
            return f"'{t.name}' is {t.dtype} without quantization"
        if not q.per_tensor:
            return f"'{t.name}' is quantized per channel"
        limits = np.iinfo(t.dtype)
        if q.scale <= 0 or not limits.min <= q.zero_point <= limits.max:
            return f"'{t.name}' has scale {q.scale:g} and zero point {q.zero_point}"
    return None


@_rule()
def non_empty(op: Operator) -> str | None:
    """No activation is empty."""
    return next((f"'{t.name}' has shape {list(t.shape)}" for t in (*data_of(op), *op.outputs) if t.size == 0), None)


@_rule(limit=MAX_SIDE)
def short_sides(op: Operator) -> str | None:
    """No side of an activation is longer than {limit:,}."""
    return long_side((*data_of(op), *op.outputs))


@_rule()
def has_activation(op: Operator) -> str | None:
    """At least one input is computed, not constant."""
    return "all inputs are constants" if all(t.data is not None for t in data_of(op)) else None


@_rule()
def constant_parameters(op: Operator) -> str | None:
    """Axes, sizes, paddings and permutations are integer constants."""
    for i in TFLITE.signatures[op.kind].parameters:
        t = op.require(i)
        if t.data is None or t.dtype not in ("int32", "int64"):
            return f"'{t.name}' is {'computed' if t.data is None else t.dtype}"
    return None


def window_steps(op: Operator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Strides and dilations, each (height, width)."""
    a = op.attributes
    return (a["stride_h"], a["stride_w"]), (a.get("dilation_h_factor", 1), a.get("dilation_w_factor", 1))


def slice_ranges(op: Operator) -> list[tuple[int, int, int]]:
    """(begin, end, stride) of every dimension, within bounds; masks applied."""
    begin, end, stride = (op.require(i).integers() for i in (1, 2, 3))
    a = op.attributes
    ranges = []
    for i, size in enumerate(op.require(0).shape):
        if i >= len(begin):
            ranges.append((0, size, 1))
            continue
        first = begin[i]
        last = first + end[i] if a["offset"] else end[i]
        if a["shrink_axis_mask"] >> i & 1:
            first = first + size if first < 0 else first
            ranges.append(normalize_slice(size, first, first + 1, 1))
            continue
        ranges.append(
            normalize_slice(
                size,
                None if a["begin_mask"] >> i & 1 else first,
                None if a["end_mask"] >> i & 1 else last,
                stride[i],
            )
        )
    return ranges
