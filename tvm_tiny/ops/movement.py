"""Attributes of Relax operators that move data, and which of them work row by row on images."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from tvm_tiny.ops.registry import op_name
from tvm_tiny.planner import Window

Windows = tuple[Window, Window]
"""Along rows and along columns."""


def split_points(call: relax.Call) -> list[int]:
    """Where a ``split`` call cuts its axis."""
    sections = call.attrs.indices_or_sections
    if not hasattr(sections, "__len__"):
        size = int(call.args[0].ty.shape.values[int(call.attrs.axis)])
        part = -(-size // int(sections))
        return list(range(part, size, part))
    return [int(i) for i in sections]


def slices_of(call: relax.Call) -> list[tuple[int, int, int | None, int]]:
    """(axis, begin, end, stride) of each sliced axis of a ``strided_slice`` call; end None runs past the first element.

    Bounds are normalized: non-negative and within the axis.
    """
    shape = [int(d) for d in call.args[0].ty.shape.values]
    lists = [[int(v) for v in a.fields] for a in call.args[1:]]
    axes, begins, ends = lists[:3]
    strides = lists[3] if len(lists) > 3 else [1] * len(axes)
    result: list[tuple[int, int, int | None, int]] = []
    for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        size = shape[axis]
        begin = begin + size if begin < 0 else begin
        end = end + size if end < 0 else end
        if stride > 0:
            result.append((axis % len(shape), min(max(begin, 0), size), min(max(end, 0), size), stride))
        else:
            result.append((axis % len(shape), min(max(begin, 0), size - 1), None if end < 0 else end, stride))
    return result


def shown_bytes(call: relax.Call) -> tuple[int, ...]:
    """Of a ``concat`` or ``strided_slice`` whose bytes follow each other in memory: ``planner.Op.shows``.

    Bytes from the start of the output to where each argument begins. Empty where bytes of an argument are scattered,
    for other operators, and where an argument is a constant or empty.
    """
    name = op_name(call)
    if name not in ("concat", "strided_slice"):
        return ()
    fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else call.args[:1]
    shapes = [[int(d) for d in a.ty.shape.values] for a in (call, *fields)]
    if not all(isinstance(a, relax.Var) for a in fields) or any(0 in shape for shape in shapes):
        return ()
    out, *parts = shapes
    item = np.dtype(str(call.ty.dtype)).itemsize
    if name == "strided_slice":
        begins, steps = [0] * len(out), [1] * len(out)
        for axis, begin, _, stride in slices_of(call):
            begins[axis], steps[axis] = begin, stride
        # Behind the first axis with several elements left all others are complete.
        first = next((axis for axis, n in enumerate(out) if n > 1), len(out))
        follow = out[first + 1 :] == parts[0][first + 1 :] and all(
            step == 1 for n, step in zip(out, steps, strict=True) if n > 1
        )
        return (-int(np.ravel_multi_index(begins, parts[0])) * item,) if follow else ()
    axis = int(call.attrs.axis) % len(out)
    if math.prod(out[:axis]) > 1:
        return ()
    sizes = [math.prod(shape) * item for shape in parts]
    return tuple(sum(sizes[:i]) for i in range(len(sizes)))


def row_windows(call: relax.Call) -> list[Windows] | None:
    """Which input rows and columns an output row and column of a ``concat``, ``strided_slice`` or ``nn.pad`` needs.

    One entry for each tensor argument. Positions outside an input belong to another input of a concat, or to the
    padding. None for other operators, for what is no image of one batch, and for what runs backwards.
    """
    rule = {"concat": _concat, "strided_slice": _strided_slice, "nn.pad": _pad}.get(op_name(call))
    return rule(call) if rule is not None and _is_image(call) else None


def _concat(call: relax.Call) -> list[Windows] | None:
    parts = call.args[0]
    if not isinstance(parts, relax.Tuple) or not all(isinstance(p, relax.Var) for p in parts.fields):
        return None
    axis = int(call.attrs.axis) % 4
    windows: list[Windows] = []
    start = 0
    for part in parts.fields:
        at = Window(before=start)
        windows.append((at if axis == 1 else Window(), at if axis == 2 else Window()))
        start += int(part.ty.shape.values[axis])
    return windows if axis else None


def _strided_slice(call: relax.Call) -> list[Windows] | None:
    at = [Window()] * 4
    for axis, begin, end, stride in slices_of(call):
        if end is None or stride < 0:
            return None
        at[axis] = Window(1, stride, -begin)
    return [(at[1], at[2])] if _is_image(call.args[0]) else None


def _pad(call: relax.Call) -> list[Windows] | None:
    width = [int(w) for w in call.attrs.pad_width]
    if str(call.attrs.pad_mode) != "constant" or min(width) < 0 or any(width[:2]):
        return None
    return [(Window(before=width[2]), Window(before=width[4]))]


def _is_image(expr: relax.Expr) -> bool:
    """One batch, and nothing of it empty."""
    if not isinstance(expr.ty, relax.TensorType):
        return False
    shape = [int(d) for d in expr.ty.shape.values]
    return len(shape) == 4 and shape[0] == 1 and 0 not in shape
