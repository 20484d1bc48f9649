"""Turns a program and its memory plan into TIR: one function per distinct kernel, and the main loop that calls them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx

from tvm_tiny import planner
from tvm_tiny.ops import CFunction, Function, Kernel, Program, TirProgram
from tvm_tiny.passes._buffers import Buffers, pointer
from tvm_tiny.passes._observe import observe_columns, observe_row, observe_tensor
from tvm_tiny.passes._pushed_row import PushedRow
from tvm_tiny.passes._segments import SegmentedGroup


def build_main(program: Program, plan: planner.Plan, prefix: str) -> TirProgram:
    """Assemble the TIR of ``program``.

    Main's parameters: one pointer per input and output that the caller owns, the workspace, one per constant. Layers of
    equal kernels share one function; equal constants are stored once. A stage of one operator is a loop over its rows,
    or one call; a stage of several is a loop over ticks in which each operator makes a row when its turn comes.

    Where the input comes row by row, main is called once for each row, in order, with the row's number as its last
    parameter; that row is in its place already. A call does what the row makes possible, the last one all the rest.

    Parameters
    ----------
    plan : of ``program.graph``
    prefix : begins every C name, like ``tvmgen_default``
    """
    kernels = _Kernels(prefix)
    constants = _Constants(prefix)
    main = _Main(program, plan, kernels, constants)
    if program.stream is None:
        body = [*(main.stage(stage) for stage in plan.stages), _mark(-1)]
        row_number = []
    else:
        pushed = PushedRow(plan)
        first, *rest = plan.stages
        body = [main.stage(first, pushed), pushed.after_last(*(main.stage(s) for s in rest)), _mark(-1)]
        row_number = [pushed.number]
    main_name = f"{prefix}___tvm_main__"
    function = tirx.PrimFunc(
        [*main.buffers.parameters(), *constants.variables, *row_number],
        tirx.stmt_seq(*main.buffers.declarations(), *body),
    ).with_attr("global_symbol", main_name)
    functions = {**kernels.functions, main_name: function}
    read_only = frozenset(str(v.name) for v in (*main.buffers.inputs(), *constants.variables))
    return TirProgram(
        tvm.IRModule(functions),
        (*(Function(n, r) for n, r in kernels.read_only.items()), Function(main_name, read_only)),
        constants.arrays,
        tuple(main.steps),
        tuple(kernels.c_functions.values()),
    )


class _Main:
    """Statements of the main function.

    Attributes
    ----------
    steps : as in ``TirProgram``
    """

    def __init__(self, program: Program, plan: planner.Plan, kernels: _Kernels, constants: _Constants) -> None:
        self.buffers = Buffers(program, plan)
        self.steps: list[tuple[int, str]] = []
        self._program = program
        self._plan = plan
        self._kernels = kernels
        self._constants = constants
        # The plan's graph is the program's without its views.
        self._index = [i for i, op in enumerate(program.graph.ops) if op.kind is not planner.Kind.VIEW]

    def stage(self, stage: planner.PlannedStage, pushed: PushedRow | None = None) -> tirx.Stmt:
        """All of a stage, or the part that a pushed row makes possible; stages are asked for in order of execution."""
        (group, *others) = stage.groups
        if not others and pushed is None and not stage.in_segments(group, self._plan.graph):
            return tirx.stmt_seq(_mark(len(self.steps)), self._layer(stage, group))
        t = tirx.Var("t", "int32")
        groups = stage.groups if pushed is None else stage.groups[1:]
        if not groups:
            return tirx.Evaluate(0)  # rows are only collected
        begin, ticks = (0, stage.end - stage.begin + 1) if pushed is None else pushed.ticks()
        # Counted from 0: CanonicalizeLoop forgets the bounds of loops inside one that begins elsewhere.
        firings = tirx.stmt_seq(*(self._firing(stage, group, begin + t) for group in groups))
        return tirx.For(t, 0, ticks, tirx.ForKind.SERIAL, firings)

    def _firing(self, stage: planner.PlannedStage, group: planner.PlannedGroup, t: Any) -> tirx.Stmt:
        """Firing ``y`` of a group at tick ``start + period * y``, ticks counted from 0; early ones have y < 0."""
        schedule = group.schedule
        assert not stage.bottom_up
        start = schedule.delay - stage.begin
        first, last = (start + schedule.period * y for y in (schedule.first, schedule.last))
        conditions = []
        if first > 0:
            conditions.append(t >= first)
        if last < stage.end - stage.begin:
            conditions.append(t <= last)
        if schedule.period > 1:
            conditions.append(tirx.truncmod(t - start, schedule.period) == 0)
        y = tirx.truncdiv(t - start, schedule.period) if schedule.period > 1 else t - start
        if stage.in_segments(group, self._plan.graph):
            body = self._segments(stage, group, y)
        else:
            mark = _mark(len(self.steps))
            body = tirx.stmt_seq(mark, self._row(stage, group, self._add_step(group), y))
        return tirx.IfThenElse(tirx.all(*conditions), body, None) if conditions else body

    def _segments(self, stage: planner.PlannedStage, group: planner.PlannedGroup, y: Any) -> tirx.Stmt:
        """Firing ``y`` of a group whose operators make parts of rows."""
        graph, scratch = self._program.graph, group.scratch
        memory = [] if scratch is None else [self.buffers.scratch(scratch)]

        def call(op: int, inputs: list[Any], output: Any, numbers: list[Any]) -> tirx.Stmt:
            index = self._index[op]
            kernel = self._program.layers[index].kernel
            kernel = kernel and kernel.segment
            assert kernel is not None
            mark = _mark(len(self.steps))
            name = self._kernels.add(kernel, len(graph.ops[index].inputs))
            self.steps.append((index, name))
            constants = [self._constants.add(a) for a in kernel.constants]
            arguments = [*inputs, output, *constants, *(memory if kernel.scratch_bytes else ()), *numbers]
            written = observe_columns(self._step, graph.tensors[graph.ops[index].outputs[0]], output, *numbers[:3])
            return tirx.stmt_seq(mark, _call(name, *arguments), written)

        return SegmentedGroup(self._plan.graph, self.buffers, stage, group, call).firing(y)

    def _layer(self, stage: planner.PlannedStage, group: planner.PlannedGroup) -> tirx.Stmt:
        """A whole operator."""
        index, graph, buffers = self._op(group), self._program.graph, self.buffers
        op, kernel = graph.ops[index], self._program.layers[index].kernel
        name = self._add_step(group)
        tensors = (*op.inputs, *op.outputs)
        outputs = [(graph.tensors[t], buffers.address(stage, t)) for t in op.outputs]
        written = [observe_tensor(self._step, i, *output) for i, output in enumerate(outputs)]
        if kernel is None:
            source, target = (buffers.address(stage, t) for t in tensors)
            return tirx.stmt_seq(_call(name, target, source, graph.tensors[op.inputs[0]].size_bytes), *written)
        if kernel.granularity == "tensor":
            addresses = (buffers.address(stage, t) for t in tensors)
            return tirx.stmt_seq(_call(name, *addresses, *self._working_memory(stage, group, kernel)), *written)
        y = tirx.Var("y", "int32")
        if kernel.granularity == "sum":
            rows = graph.tensors[op.inputs[0]].shape[1]
            return tirx.For(y, 0, rows, tirx.ForKind.SERIAL, self._row(stage, group, name, y))
        out = graph.tensors[op.outputs[0]]
        if op.kind is planner.Kind.ROWS:
            rows = out.rows
            return tirx.For(y, 0, rows, tirx.ForKind.SERIAL, self._row(stage, group, name, y))
        batch, rows = out.shape[:2]
        n = tirx.Var("n", "int32")
        row = math.prod(out.shape[2:])
        images = [buffers.address(stage, t, n * math.prod(graph.tensors[t].shape[1:])) for t in op.inputs]
        target = buffers.address(stage, op.outputs[0], (n * rows + y) * row)
        heights = [graph.tensors[t].shape[1] for t in op.inputs]
        call = _call(name, *images, target, *self._working_memory(stage, group, kernel), y, *heights)
        call = tirx.stmt_seq(call, observe_row(self._step, out, target, n * rows + y))
        loop = tirx.For(y, 0, rows, tirx.ForKind.SERIAL, call)
        return tirx.For(n, 0, batch, tirx.ForKind.SERIAL, loop)

    def _row(self, stage: planner.PlannedStage, group: planner.PlannedGroup, name: str, y: Any) -> tirx.Stmt:
        """Row ``y`` of an operator on images of one batch: of its output, or of its input if it adds up."""
        index, graph, buffers = self._op(group), self._program.graph, self.buffers
        op, kernel = graph.ops[index], self._program.layers[index].kernel
        assert kernel is not None
        images = [buffers.address(stage, t) for t in op.inputs]
        # Of an operator on wholes the kernel knows the rows that it was made for, the graph those of another reader.
        wholes = op.kind is planner.Kind.WHOLE
        heights = [graph.tensors[t].shape[1] if wholes else graph.tensors[t].rows for t in op.inputs]
        rows = [buffers.ring_rows(stage, t) or height for t, height in zip(op.inputs, heights, strict=True)]
        (target,) = op.outputs
        adds_up, result = kernel.granularity == "sum", graph.tensors[target]
        out = buffers.address(stage, target) if adds_up else buffers.row(stage, target, y)
        last = heights[0] - 1
        written = (
            observe_tensor(self._step, 0, result, out, y == last)
            if adds_up
            else observe_row(self._step, result, out, y)
        )
        return tirx.stmt_seq(_call(name, *images, out, *self._working_memory(stage, group, kernel), y, *rows), written)

    @property
    def _step(self) -> int:
        """Number of the step that was added last."""
        return len(self.steps) - 1

    def _op(self, group: planner.PlannedGroup) -> int:
        return self._index[group.schedule.runs[0].op]

    def _add_step(self, group: planner.PlannedGroup) -> str:
        """C name of the kernel of the next step."""
        index = self._op(group)
        kernel = self._program.layers[index].kernel
        name = "memcpy" if kernel is None else self._kernels.add(kernel, len(self._program.graph.ops[index].inputs))
        self.steps.append((index, name))
        return name

    def _working_memory(
        self, stage: planner.PlannedStage, group: planner.PlannedGroup, kernel: Kernel
    ) -> Sequence[tirx.Expr]:
        """Constants and scratch, or sums."""
        constants = [self._constants.add(a) for a in kernel.constants]
        sums = stage.sums.get(group.schedule.runs[0].op)
        return [*constants, *(self.buffers.scratch(o) for o in (group.scratch, sums) if o is not None)]


def _mark(layer: int) -> tirx.Stmt:
    return _call("TINYML_MARK", layer)


def _call(function: str, *args: object) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_extern("int32", function, *args))


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
            self._by_content[key] = pointer(name, array.dtype.name)
            self.arrays[name] = array
            self.variables.append(self._by_content[key])
        return self._by_content[key]
