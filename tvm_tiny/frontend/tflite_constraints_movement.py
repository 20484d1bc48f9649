"""Constraints of the TFLite operators that move, resize or cut data."""

from __future__ import annotations

from math import prod

from .graph import Operator
from .tflite_support import (
    MOVES,
    POOLS,
    RESIZES,
    SAME_SIZE_MOVES,
    TFLITE,
    data_of,
    slice_ranges,
)

_rule = TFLITE.rule


@_rule(*POOLS, *MOVES, *RESIZES)
def same_quantization(op: Operator) -> str | None:
    """Input and output have the same scale and zero point."""
    first = op.outputs[0].quantization
    for t in (*data_of(op), *op.outputs):
        if t.dtype == "int8" and first and t.quantization and not first.same_as(t.quantization):
            return f"'{t.name}' differs"
    return None


@_rule("PAD", "PADV2")
def pad_widths(op: Operator) -> str | None:
    """There are two widths of at least 0 per dimension; PADV2's value is one constant."""
    x, widths, y = op.require(0), op.require(1).integers(), op.outputs[0]
    value = op.input(2)
    if len(widths) != 2 * len(x.shape) or min(widths, default=0) < 0:
        return f"widths {widths} on {list(x.shape)}"
    if value is not None and (value.data is None or value.size != 1):
        return f"value '{value.name}'"
    padded = tuple(d + a + b for d, a, b in zip(x.shape, widths[::2], widths[1::2], strict=True))
    return None if padded == y.shape else f"output {list(y.shape)} instead of {list(padded)}"


@_rule(*SAME_SIZE_MOVES)
def same_size(op: Operator) -> str | None:
    """Input and output have equally many elements."""
    x, y = op.require(0), op.outputs[0]
    return None if x.size == y.size else f"{list(x.shape)} to {list(y.shape)}"


@_rule("TRANSPOSE")
def permutation(op: Operator) -> str | None:
    """The permutation names every dimension once."""
    x, axes, y = op.require(0), op.require(1).integers(), op.outputs[0]
    if sorted(axes) != list(range(len(x.shape))):
        return f"permutation {axes} of {len(x.shape)} dimensions"
    return None if tuple(x.shape[a] for a in axes) == y.shape else f"output {list(y.shape)}"


@_rule("CONCATENATION")
def concat_shapes(op: Operator) -> str | None:
    """The shapes agree in all dimensions but one."""
    shapes, axis, y = [t.shape for t in data_of(op)], op.attributes["axis"], op.outputs[0].shape
    rank = len(shapes[0])
    if not -rank <= axis < rank or any(len(s) != rank for s in (*shapes, y)):
        return f"axis {axis}, shapes {[list(s) for s in shapes]}"
    others = {s[: axis % rank] + s[axis % rank + 1 :] for s in (*shapes, y)}
    fits = len(others) == 1 and sum(s[axis] for s in shapes) == y[axis]
    return None if fits else f"shapes {[list(s) for s in shapes]} to {list(y)} along axis {axis}"


@_rule(*RESIZES)
def resize_options(op: Operator) -> str | None:
    """The output has the wanted size; align_corners and half_pixel_centers are not both set."""
    x, size, y = op.require(0).shape, op.require(1).integers(), op.outputs[0].shape
    if op.attributes["align_corners"] and op.attributes["half_pixel_centers"]:
        return "both are set"
    return None if y == (x[0], *size, x[3]) else f"size {size}, {list(x)} to {list(y)}"


@_rule("STRIDED_SLICE")
def slice_masks(op: Operator) -> str | None:
    """The ellipsis and new-axis masks are 0."""
    masks = [op.attributes["ellipsis_mask"], op.attributes["new_axis_mask"]]
    return None if masks == [0, 0] else f"they are {masks}"


@_rule("STRIDED_SLICE")
def slice_shape(op: Operator) -> str | None:
    """Begin, end and strides have one entry per leading dimension, strides are not 0, the result is as declared."""
    x, y = op.require(0), op.outputs[0]
    lengths = {op.require(i).size for i in (1, 2, 3)}
    if len(lengths) != 1 or max(lengths) > len(x.shape) or 0 in op.require(3).integers():
        return f"lengths {sorted(lengths)}, strides {op.require(3).integers()} of {len(x.shape)} dimensions"
    sizes = [len(range(begin, end if end >= 0 else -1, step)) for begin, end, step in slice_ranges(op)]
    return None if prod(sizes) == y.size else f"{list(x.shape)} to {list(y.shape)} instead of {sizes}"


@_rule("SPLIT", "SPLIT_V")
def split_shapes(op: Operator) -> str | None:
    """The parts are as long as declared and make up the whole."""
    x, parts = data_of(op)[0].shape, [t.shape for t in op.outputs]
    axes = op.require(0 if op.kind == "SPLIT" else 2).integers()
    if len(axes) != 1 or not -len(x) <= axes[0] < len(x) or any(len(s) != len(x) for s in parts):
        return f"axis {axes} of {list(x)} to {[list(s) for s in parts]}"
    axis = axes[0] % len(x)
    fits = sum(s[axis] for s in parts) == x[axis] and {s[:axis] + s[axis + 1 :] for s in parts} == {
        x[:axis] + x[axis + 1 :]
    }
    return None if fits else f"{list(x)} to {[list(s) for s in parts]} along axis {axis}"
