"""Runs an integer Relax function on NumPy arrays: what the passes make of a model, without kernels or a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.passes._dataflow import array_of, bindings_of, is_const
from tvm_tiny.passes._evaluate import evaluate_call, tensor_args

Array = NDArray[Any]


def evaluate(mod: tvm.IRModule, *inputs: Array) -> list[Array]:
    """Outputs of ``main``, in order; ``inputs`` in the order of its parameters."""
    func = mod["main"]
    values: dict[Any, Any] = {}
    for param, array in zip(func.params, inputs, strict=True):
        assert array.shape == tuple(int(d) for d in param.ty.shape.values), param.name
        assert str(array.dtype) == str(param.ty.dtype), param.name
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
        args = [value(a) for a in tensor_args(call)]
        result = evaluate_call(call, args)
        assert result is not None, f"{call.op.name} is not known here"
        if isinstance(var.ty, relax.TensorType):
            assert result.shape == tuple(int(d) for d in var.ty.shape.values), var.name
            assert str(result.dtype) == str(var.ty.dtype), var.name
        values[var] = result
    outputs = value(func.body.body)
    return [np.asarray(o) for o in (outputs if isinstance(outputs, list) else [outputs])]
