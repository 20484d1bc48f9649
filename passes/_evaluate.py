"""Evaluates Relax on NumPy arrays: our operators by ``quant.reference``, data movement by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.ops.movement import slices_of, split_points
from tvm_tiny.passes._dataflow import array_of, bindings_of, is_atom, is_const, permutation_of
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


def evaluate_function(func: relax.Function, inputs: Sequence[Array]) -> tuple[dict[Any, Any], list[Array]]:
    """The value of every variable of an integer function, and its outputs, in order.

    Parameters
    ----------
    func : straight-line code of operators that are known here
    inputs : in the order of its parameters

    Raises
    ------
    UnsupportedOperatorError : an operator without reference, such as one in float32
    """
    values: dict[Any, Any] = {}
    for param, array in zip(func.params, inputs, strict=True):
        assert _type_of(array) == _type_of(param.ty), param.name
        values[param] = array

    def value(expr: relax.Expr) -> Any:
        if is_const(expr):
            return array_of(expr)
        if isinstance(expr, relax.Tuple):
            return [value(f) for f in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            return value(expr.tuple_value)[expr.index]
        return values[expr]

    for var, call in bindings_of(func):
        if not isinstance(call, relax.Call):
            values[var] = value(call)
            continue
        result = evaluate_call(call, [value(a) for a in tensor_args(call)])
        if result is None:
            raise UnsupportedOperatorError(f"operator {op_name(call)} ('{var.name}') has no reference to compare with")
        if isinstance(var.ty, relax.TensorType):
            assert _type_of(result) == _type_of(var.ty), var.name
        values[var] = result
    outputs = value(func.body.body)
    return values, [np.asarray(o) for o in (outputs if isinstance(outputs, list) else [outputs])]


def _type_of(x: Any) -> tuple[tuple[int, ...], str]:
    shape = x.shape.values if isinstance(x, relax.TensorType) else x.shape
    return tuple(int(d) for d in shape), str(x.dtype)


def tensor_args(call: relax.Call) -> list[relax.Expr]:
    """Arguments of ``call`` that are tensors or tuples of tensors; not shapes, bounds and the like."""
    return [a for a in call.args if is_atom(a)]


def _reshape(call: relax.Call, x: Any) -> Array:
    return np.reshape(x, [int(d) for d in call.ty.shape.values])


def _permute_dims(call: relax.Call, x: Any) -> Array:
    return np.transpose(x, permutation_of(call))


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
