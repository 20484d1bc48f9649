"""Evaluates single Relax calls on NumPy arrays: our operators by ``quant.reference``, data movement by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.ops.movement import slices_of, split_points
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
