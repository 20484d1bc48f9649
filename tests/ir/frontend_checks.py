"""What the front-end tests share: expected modules in few lines, and running a module in floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import get_io

Array = NDArray[Any]
Build = Callable[[relax.BlockBuilder, list[Any]], list[Any]]


def module_of(parameters: list[tuple[str, tuple[int, ...], str]], build: Build) -> tvm.IRModule:
    """``main`` with the given parameters; ``build`` emits its body and returns the outputs."""
    builder = relax.BlockBuilder()
    variables = [relax.Var(name, relax.TensorType(shape, dtype)) for name, shape, dtype in parameters]
    with builder.function("main", variables):
        with builder.dataflow():
            outputs = [builder.emit_output(value) for value in build(builder, variables)]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
    return builder.get()


def assert_same(actual: tvm.IRModule, expected: tvm.IRModule) -> None:
    """Structural equality, the record of inputs and outputs aside."""
    left, right = (mod["main"].without_attr("tinyml.io").without_attr("tinyml.floats") for mod in (actual, expected))
    tvm.ir.assert_structural_equal(left, right, map_free_vars=True)


def dequantized(expr: Any, scale: float | Array, zero_point: int = 0) -> Any:
    """``expr`` as the front ends dequantize it."""
    return relax.op.dequantize(expr, relax.const(scale, "float32"), relax.const(zero_point, "int32"), axis=0)


def quantized(expr: Any, scale: float, zero_point: int) -> Any:
    """``expr`` as the front ends quantize it."""
    return relax.op.quantize(expr, relax.const(scale, "float32"), relax.const(zero_point, "int32"), axis=0)


def variable_names(mod: tvm.IRModule) -> list[str]:
    """Names of all variables of ``main``, in order."""
    return [binding.var.name for block in mod["main"].body.blocks for binding in block.bindings]


def run_in_floats(mod: tvm.IRModule, inputs: dict[str, Array]) -> dict[str, Array]:
    """Outputs by name of a QDQ module, executed as it stands: floats between dequantize and quantize."""
    machine = relax.VirtualMachine(relax.build(mod, tvm.target.Target("llvm")), tvm.cpu())
    io = get_io(mod["main"])
    result = machine["main"](*[tvm.runtime.tensor(np.ascontiguousarray(inputs[t.name])) for t in io.inputs])
    results = [result] if len(io.outputs) == 1 else list(result)
    return {t.name: r.numpy() for t, r in zip(io.outputs, results, strict=True)}
