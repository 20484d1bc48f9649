"""``FuseLookup``: tables join the operator in front of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, make_call, op_name, params_of
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    array_of,
    bindings_of,
    dtype_of,
    is_const,
    map_functions,
    rewrite_bindings,
    users_of,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.quant.params import LookupParams


@relax_pass
class FuseLookup:
    """Fold a lookup that only clamps into the operator in front of it; compose two lookups in a row.

    Before: ``lookup(qconv2d(x, ..., clamp_min=-128), relu_table)``
    After: ``qconv2d(x, ..., clamp_min=zero_point)``

    Only where the operator in front has no other user. The result keeps the lookup's name.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, _fuse)


def _fuse(func: relax.Function) -> relax.Function:
    users = users_of(func)
    values = dict(bindings_of(func))

    def visit(writer: DataflowWriter, var: relax.Var, call: relax.Call) -> relax.Expr:
        if not is_tinyml_call(call, "lookup") or users[values[var].args[0]] != 1 or not is_const(call.args[1]):
            return call
        source = writer.value_of(call.args[0])
        if is_tinyml_call(source, "lookup"):
            return _composed(source, call) if is_const(source.args[1]) else call
        if (
            not is_tinyml_call(source)
            or not hasattr(params_of(source), "clamp_min")
            or dtype_of(call.args[1]) != "int8"
        ):
            return call
        params = params_of(source)
        clamp = _clamp_of(array_of(call.args[1]), params.clamp_min, params.clamp_max)
        if clamp is None:
            return call
        return make_call(op_name(source), list(source.args), replace(params, clamp_min=clamp[0], clamp_max=clamp[1]))

    return rewrite_bindings(func, visit)


def _composed(first: relax.Call, second: relax.Call) -> relax.Call:
    inner, outer = array_of(first.args[1]), array_of(second.args[1])
    offset = 128 if inner.dtype == np.int8 else 0
    table = outer[inner.astype(np.int64) + offset]
    function = f"{params_of(first).function}+{params_of(second).function}"
    return make_call("lookup", [first.args[0], relax.const(table)], LookupParams(function, str(table.dtype)))


def _clamp_of(table: NDArray[np.int8], low: int, high: int) -> tuple[int, int] | None:
    """The closed interval that ``table`` clamps [low, high] to; None if it does anything else."""
    domain = np.arange(low, high + 1)
    result = table[domain + 128].astype(np.int64)
    bounds = int(result[0]), int(result[-1])
    return bounds if np.array_equal(result, np.clip(domain, *bounds)) else None
