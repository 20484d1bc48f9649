"""Evaluates single Relax calls on NumPy arrays: our operators by ``quant.reference``, data movement by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.passes._dataflow import is_atom, permutation_of
from tvm_tiny.quant import reference

Array = NDArray[Any]


def evaluate_call(call: relax.Call, args: Sequence[Any]) -> Array | tuple[Array, ...] | None:
    """The value of ``call`` on ``args``; None where the operator is not known here.

    Parameters
    ----------
    args : one for each of ``tensor_args(call)``; a sequence for a tuple of tensors
    """
    if is_tinyml_call(call):
        return np.asarray(reference.run(op_name(call), params_of(call), *args))
    movement = _MOVEMENT.get(op_name(call))
    return None if movement is None else movement(call, args[0])


def tensor_args(call: relax.Call) -> list[relax.Expr]:
    """Arguments of ``call`` that are tensors or tuples of tensors; not shapes, bounds and the like."""
    return [a for a in call.args if is_atom(a)]


def _reshape(call: relax.Call, x: Any) -> Array:
    return np.reshape(x, [int(d) for d in call.ty.shape.values])


def _permute_dims(call: relax.Call, x: Any) -> Array:
    return np.ascontiguousarray(np.transpose(x, permutation_of(call)))


def _concat(call: relax.Call, xs: Any) -> Array:
    return np.concatenate(list(xs), axis=int(call.attrs.axis))


def _split(call: relax.Call, x: Any) -> tuple[Array, ...]:
    return tuple(np.split(x, split_points(call), axis=int(call.attrs.axis)))


def _strided_slice(call: relax.Call, x: Any) -> Array:
    index: list[slice] = [slice(None)] * np.ndim(x)
    for axis, begin, end, stride in slices_of(call):
        index[axis] = slice(begin, end, stride)
    return np.ascontiguousarray(x[tuple(index)])


def _pad(call: relax.Call, x: Any) -> Array:
    width = [int(w) for w in call.attrs.pad_width]
    pairs = list(zip(width[::2], width[1::2], strict=True))
    return np.pad(x, pairs, constant_values=x.dtype.type(call.attrs.pad_value))


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


_MOVEMENT: dict[str, Callable[[relax.Call, Any], Array | tuple[Array, ...]]] = {
    "reshape": _reshape,
    "flatten": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "permute_dims": _permute_dims,
    "concat": _concat,
    "split": _split,
    "strided_slice": _strided_slice,
    "nn.pad": _pad,
}
