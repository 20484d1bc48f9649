"""Gives TIR functions the C signature of plain pointers instead of TVM's packed calling convention."""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.ir import PointerType


@tvm.transform.module_pass(opt_level=0, name="UsePlainPointers")
class UsePlainPointers:
    """``f(x: Buffer) { body }`` -> ``f(x: dtype*) { x_buffer = decl_buffer(data=x); body }``.

    TVM's own pipeline ends in ``MakePackedAPI``, whose functions need TVM's runtime; C that stands alone does not.
    Functions whose parameters are pointers already are left alone.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        functions = {gv: _plain(f) if isinstance(f, tirx.PrimFunc) else f for gv, f in mod.functions.items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def _plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    params = []
    declarations = []
    for param in func.params:
        if isinstance(param.ty, tirx.BufferType):
            pointer = tirx.Var(param.name, PointerType(param.ty.dtype, "global"))
            declarations.append(tirx.DeclBuffer(param, data=pointer))
            params.append(pointer)
        else:
            params.append(param)
    if not declarations:
        return func
    plain = tirx.PrimFunc(params, tirx.stmt_seq(*declarations, func.body), func.ret_type, attrs=func.attrs)
    return plain.without_attr("tirx.is_entry_func")
