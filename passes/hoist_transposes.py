"""``HoistTransposes``: what permutes an input's axes goes in front of what quantizes its elements."""

from __future__ import annotations

from collections import Counter

import tvm
from tvm import relax

from tvm_tiny.ops import is_tinyml_call
from tvm_tiny.passes._dataflow import DataflowWriter, is_call, map_functions, rewrite_bindings, users_of, with_args
from tvm_tiny.passes._relax_pass import relax_pass

_ELEMENT_BY_ELEMENT = ("quantize", "lookup", "dequantize")


@relax_pass
class HoistTransposes:
    """Move ``permute_dims`` up to the function's parameter, past operators that go element by element.

    Before: ``permute_dims(quantize(x))``
    After: ``quantize(permute_dims(x))``

    So an NCHW input is read a row at a time where it lies, and what follows goes through rows of pixels.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, _hoist)


def _hoist(func: relax.Function) -> relax.Function:
    # By name, which variables keep; those that share one count together, and stay where they are.
    uses: Counter[str] = Counter()
    for var, count in users_of(func).items():
        uses[str(var.name)] += count
    parameters = set(func.params)

    def visit(writer: DataflowWriter, var: relax.Var, call: relax.Call) -> relax.Expr:
        if not is_call(call, "permute_dims"):
            return call
        chain: list[tuple[relax.Var, relax.Call]] = []
        source = call.args[0]
        while source not in parameters:
            value = writer.value_of(source)
            unary = value is not None and any(is_tinyml_call(value, name) for name in _ELEMENT_BY_ELEMENT)
            if not unary or uses[str(source.name)] != 1:
                return call
            chain.append((source, value))
            source = value.args[0]
        if not chain:
            return call
        result: relax.Expr = writer.emit(with_args(call, [source]), var.name)
        for i, (old, value) in enumerate(reversed(chain)):
            moved = with_args(value, [result, *value.args[1:]])
            if i == len(chain) - 1:
                return moved
            result = writer.emit(moved, old.name)
        return result

    return rewrite_bindings(func, visit)
