"""``RemoveIdentities``: operators that change nothing, and pairs that are one."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_tiny.ops import is_tinyml_call
from tvm_tiny.ops.movement import slices_of
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    array_of,
    dtype_of,
    is_call,
    is_const,
    is_identity,
    keeps_order,
    map_functions,
    permutation_of,
    rewrite_bindings,
    shape_of,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.quant.lut import table_inputs

_RESHAPES = ("reshape", "flatten", "squeeze", "expand_dims")


@relax_pass
class RemoveIdentities:
    """Drop operators that give their input back; make one operator of two in a row.

    Before: ``reshape(reshape(lookup(x, identity), s), t)``
    After: ``reshape(x, t)``

    Also: permutations in a row, permutations that only move axes of size 1 (a reshape), concat of one tensor, slices of
    everything, padding by nothing.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: rewrite_bindings(func, _simplify))


def _simplify(writer: DataflowWriter, _var: relax.Var, call: relax.Call) -> relax.Expr:
    if is_tinyml_call(call, "lookup"):
        return call.args[0] if _is_identity_table(call) else call
    if is_call(call, "concat"):
        tensors = call.args[0]
        return tensors.fields[0] if isinstance(tensors, relax.Tuple) and len(tensors.fields) == 1 else call
    if is_call(call, *_RESHAPES):
        return _reshape(writer, call, shape_of(call))
    if is_call(call, "permute_dims"):
        return _permute(writer, call)
    if is_call(call, "strided_slice") and _keeps_everything(call):
        return call.args[0]
    if is_call(call, "nn.pad") and not any(int(w) for w in call.attrs.pad_width):
        return call.args[0]
    return call


def _reshape(writer: DataflowWriter, call: relax.Call, shape: tuple[int, ...]) -> relax.Expr:
    data = call.args[0]
    source = writer.value_of(data)
    if is_call(source, *_RESHAPES):
        data = source.args[0]
    if shape_of(data) == shape:
        return data
    return call if data is call.args[0] else relax.op.reshape(data, shape)


def _permute(writer: DataflowWriter, call: relax.Call) -> relax.Expr:
    data, axes = call.args[0], permutation_of(call)
    source = writer.value_of(data)
    if is_call(source, "permute_dims"):
        data, inner = source.args[0], permutation_of(source)
        axes = tuple(inner[a] for a in axes)
    if is_identity(axes):
        return data
    shape = shape_of(data)
    if keeps_order(shape, axes):
        moved = tuple(shape[a] for a in axes)
        return _reshape(writer, relax.op.reshape(data, moved), moved)
    return call if data is call.args[0] else relax.op.permute_dims(data, list(axes))


def _is_identity_table(call: relax.Call) -> bool:
    data, table = call.args
    if not is_const(table) or dtype_of(data) != dtype_of(table):
        return False
    return bool((array_of(table) == table_inputs(dtype_of(data))).all())


def _keeps_everything(call: relax.Call) -> bool:
    shape = shape_of(call.args[0])
    return all((begin, end, stride) == (0, shape[axis], 1) for axis, begin, end, stride in slices_of(call))
