"""Turns a program and its memory plan into TIR: one function per distinct kernel, and the main loop that calls them."""

from __future__ import annotations

import math

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx
from tvm.ir import PointerType, PrimType

from tvm_tiny import planner
from tvm_tiny.ops import CFunction, Function, Kernel, Program, TirProgram


def build_main(program: Program, plan: planner.Plan, prefix: str) -> TirProgram:
    """Assemble the TIR of ``program``.

    Main's parameters: one pointer per input, one per output, the workspace, one per constant. Layers of equal kernels
    share one function; equal constants are stored once.

    Parameters
    ----------
    prefix : begins every C name, like ``tvmgen_default``
    """
    kernels = _Kernels(prefix)
    constants = _Constants(prefix)
    buffers = _Buffers(program, plan)
    body: list[tirx.Stmt] = []
    steps: list[tuple[int, str]] = []
    for index in plan.order:
        layer, op = program.layers[index], program.graph.ops[index]
        if op.view:
            continue
        body.append(_mark(len(steps)))
        if layer.kernel is None:
            name = "memcpy"
            size = program.graph.tensors[op.inputs[0]].size_bytes
            body.append(_call(name, buffers.address(op.outputs[0]), buffers.address(op.inputs[0]), size))
        else:
            name = kernels.add(layer.kernel, len(op.inputs))
            weights = [constants.add(a) for a in layer.kernel.constants]
            body.append(_layer(name, program, index, buffers, weights))
        steps.append((index, name))
    body.append(_mark(-1))
    main_name = f"{prefix}___tvm_main__"
    main = tirx.PrimFunc(
        [*buffers.parameters(), *constants.variables], tirx.stmt_seq(*buffers.declarations(), *body)
    ).with_attr("global_symbol", main_name)
    functions = {**kernels.functions, main_name: main}
    inputs = frozenset(buffers.name_of(t) for t in program.inputs) | frozenset(v.name for v in constants.variables)
    return TirProgram(
        tvm.IRModule(functions),
        (*(Function(n, r) for n, r in kernels.read_only.items()), Function(main_name, inputs)),
        constants.arrays,
        tuple(steps),
        tuple(kernels.c_functions.values()),
    )


def _mark(layer: int) -> tirx.Stmt:
    return _call("TINYML_MARK", layer)


def _call(function: str, *args: object) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_extern("int32", function, *args))


def _layer(name: str, program: Program, index: int, buffers: _Buffers, weights: list[tirx.Var]) -> tirx.Stmt:
    kernel, op, graph = program.layers[index].kernel, program.graph.ops[index], program.graph
    assert kernel is not None
    scratch = [buffers.scratch(index)] if kernel.scratch_bytes else []
    if kernel.granularity == "tensor":
        tensors = [buffers.address(t) for t in (*op.inputs, *op.outputs)]
        return _call(name, *tensors, *weights, *scratch)
    batch, rows = graph.tensors[op.outputs[0]].shape[:2]
    n, y = tirx.Var("n", "int32"), tirx.Var("y", "int32")
    images = [buffers.address(t, n * math.prod(graph.tensors[t].shape[1:])) for t in op.inputs]
    row_elements = math.prod(graph.tensors[op.outputs[0]].shape[2:])
    out = buffers.address(op.outputs[0], (n * rows + y) * row_elements)
    heights = [graph.tensors[t].shape[1] for t in op.inputs]
    call = _call(name, *images, out, *weights, *scratch, y, *heights)
    loop = tirx.For(y, 0, rows, tirx.ForKind.SERIAL, call)
    return tirx.For(n, 0, batch, tirx.ForKind.SERIAL, loop)


class _Kernels:
    """Kernel functions by C name, each structure once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.functions: dict[str, tirx.PrimFunc] = {}
        self.read_only: dict[str, frozenset[str]] = {}
        self.c_functions: dict[str, CFunction] = {}
        self._same_name: dict[str, list[tuple[str, tirx.PrimFunc]]] = {}

    def add(self, kernel: Kernel, n_inputs: int) -> str:
        same_name = self._same_name.setdefault(kernel.name, [])
        for name, known in same_name:
            if tvm_ffi.structural_equal(known, kernel.func):
                return name
        name = f"{self._prefix}_{kernel.name}" + (f"_{len(same_name)}" if same_name else "")
        assert name not in self.functions, f"kernel name {kernel.name} is ambiguous"
        same_name.append((name, kernel.func))
        self.functions[name] = kernel.func.with_attr("global_symbol", name)
        for function in kernel.c_functions:
            assert self.c_functions.setdefault(function.name, function) == function, f"{function.name} is ambiguous"
        params = [str(p.name) for p in kernel.func.params]
        pointers = sum(isinstance(p.ty, tirx.BufferType) for p in kernel.func.params)
        end = pointers - (1 if kernel.scratch_bytes else 0)
        self.read_only[name] = frozenset(params[:n_inputs] + params[end - len(kernel.constants) : end])
        return name


class _Constants:
    """Constant arrays by C name, each content once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._by_content: dict[tuple[str, bytes], tirx.Var] = {}
        self.arrays: dict[str, NDArray[np.generic]] = {}
        self.variables: list[tirx.Var] = []

    def add(self, array: NDArray[np.generic]) -> tirx.Var:
        key = (array.dtype.name, array.tobytes())
        if key not in self._by_content:
            name = f"{self._prefix}_const_{len(self.arrays)}"
            self._by_content[key] = tirx.Var(name, PointerType(PrimType(array.dtype.name), "global"))
            self.arrays[name] = array
            self.variables.append(self._by_content[key])
        return self._by_content[key]


class _Buffers:
    """Addresses of tensors and scratch: the caller's pointers, or offsets in the workspace."""

    def __init__(self, program: Program, plan: planner.Plan) -> None:
        self._program = program
        self._plan = plan
        self._workspace = _pointer("workspace", "uint8")
        self._roots = program.graph.view_roots()
        self._views: dict[tuple[str, str], tirx.Var] = {}  # (pointer name, dtype) -> buffer over it
        tensors = program.graph.tensors
        self._external = {
            t: _pointer(f"{kind}_{i}", tensors[t].dtype)
            for kind, ids in (("input", program.inputs), ("output", program.outputs))
            for i, t in enumerate(ids)
        }
        self._owner = {self._roots[t]: pointer for t, pointer in self._external.items()}

    def parameters(self) -> list[tirx.Var]:
        ids = (*self._program.inputs, *self._program.outputs)
        return [*(self._external[t] for t in ids), self._workspace]

    def name_of(self, tensor: int) -> str:
        return str(self._external[tensor].name)

    def declarations(self) -> list[tirx.Stmt]:
        pointers = {p.name: p for p in self.parameters()}
        return [tirx.DeclBuffer(b, data=pointers[name]) for (name, _), b in self._views.items()]

    def address(self, tensor: int, element: tirx.Expr | int = 0) -> tirx.Expr:
        """Typed pointer to an element of a tensor."""
        info = self._program.graph.tensors[tensor]
        pointer = self._owner.get(self._roots[tensor])
        if pointer is not None:
            return tirx.address_of(self._view(pointer, info.dtype)[element])
        offset = self._plan.tensor_offset(tensor) or 0  # None: a tensor without bytes
        start = offset // np.dtype(info.dtype).itemsize
        return tirx.address_of(self._view(self._workspace, info.dtype)[start + element])

    def scratch(self, op: int) -> tirx.Expr:
        offset = self._plan.scratch_offset(op)
        assert offset is not None
        return tirx.address_of(self._view(self._workspace, "uint8")[offset])

    def _view(self, pointer: tirx.Var, dtype: str) -> tirx.Var:
        key = (str(pointer.name), dtype)
        if key not in self._views:
            size = max(1, self._plan.arena_bytes) if pointer.name == "workspace" else 1 << 30
            self._views[key] = tirx.decl_buffer((size,), dtype, name=f"{pointer.name}_{dtype}", data=pointer)
        return self._views[key]


def _pointer(name: str, dtype: str) -> tirx.Var:
    return tirx.Var(name, PointerType(PrimType(dtype), "global"))
