"""``FoldConstants``: integer operators on constants are evaluated now."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.passes._dataflow import DataflowWriter, array_of, is_const, map_functions, rewrite_bindings
from tvm_tiny.passes._evaluate import evaluate_call, tensor_args
from tvm_tiny.passes._relax_pass import relax_pass


@relax_pass
class FoldConstants:
    """Evaluate integer operators and data movement whose arguments are all constant, by ``quant.reference``.

    Before: ``qadd(x, lookup(const, table))``
    After: ``qadd(x, const2)``

    Unlike TVM's ``FoldConstant`` it needs no LLVM and knows ``relax.tinyml.*``.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: rewrite_bindings(func, _fold))


def _fold(_writer: DataflowWriter, _var: relax.Var, call: relax.Call) -> relax.Expr:
    args = tensor_args(call)
    if not args or not all(_is_constant(a) for a in args):
        return call
    # Data movement reads the shapes of its arguments off the call.
    value = evaluate_call(call, [_value(a) for a in args])
    if value is None:
        return call
    if isinstance(value, tuple):
        return relax.Tuple([_const(v) for v in value])
    return _const(value)


def _is_constant(expr: relax.Expr) -> bool:
    return all(map(is_const, expr.fields)) if isinstance(expr, relax.Tuple) else is_const(expr)


def _value(expr: relax.Expr) -> Any:
    return [array_of(f) for f in expr.fields] if isinstance(expr, relax.Tuple) else array_of(expr)


def _const(value: Any) -> relax.Expr:
    return relax.const(np.ascontiguousarray(value), str(value.dtype))
