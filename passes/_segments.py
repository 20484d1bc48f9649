"""The part of the main loop in which operators make parts of rows: column segments, staging buffers, kept rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import tirx

from tvm_tiny import planner
from tvm_tiny.passes._buffers import Buffers
from tvm_tiny.planner.schedule import Affine, Run, Staged

NEVER = 2**31 - 1


class SegmentedGroup:
    """Statements of one group's firings; what is called ``row`` or ``column`` is one of the image, not of a buffer.

    Parameters
    ----------
    graph : the plan's
    call : gives the statement that runs an operator: (operator, input pointers, output pointer, numbers behind them)
    """

    def __init__(
        self,
        graph: planner.Graph,
        buffers: Buffers,
        stage: planner.PlannedStage,
        group: planner.PlannedGroup,
        call: Callable[[int, list[Any], Any, list[Any]], tirx.Stmt],
    ) -> None:
        self._graph = graph
        self._buffers = buffers
        self._stage = stage
        self._group = group
        self._call = call
        self._runs = {run.op: run for run in group.schedule.runs}
        self._staged = {s.tensor: s for s in group.schedule.staged}

    def firing(self, y: Any) -> tirx.Stmt:
        """Firing ``y``: all segments, and in each of them all operators, then what is kept for later."""
        schedule = self._group.schedule
        if schedule.first_segment == schedule.last_segment:
            return self._segment(y, schedule.first_segment)
        q = tirx.Var("q", "int32")
        count = schedule.last_segment - schedule.first_segment + 1
        body = self._segment(y, q + schedule.first_segment)
        return tirx.For(q, 0, count, tirx.ForKind.SERIAL, body)

    def _segment(self, y: Any, q: Any) -> tirx.Stmt:
        operators = [self._operator(run, y, q) for run in self._group.schedule.runs]
        moves = [move for staged in self._group.schedule.staged for move in self._keep_and_shift(staged, y, q)]
        return tirx.stmt_seq(*operators, *moves)

    def _operator(self, run: Run, y: Any, q: Any) -> tirx.Stmt:
        x0, x1 = _clip(run.columns, q)
        index = tirx.Var("r", "int32")
        first, behind = _clip(run.rows, y)
        r = first + index
        op = self._graph.ops[run.op]
        inputs = [self._input(t, y, q) for t in op.inputs]
        numbers = [r, x0, x1, *(number for _, address in inputs for number in address)]
        output = self._output(op.outputs[0], r, y, q)
        call = self._call(run.op, [pointer for pointer, _ in inputs], output, numbers)
        loop = tirx.For(index, 0, behind - first, tirx.ForKind.SERIAL, call)
        return tirx.IfThenElse(_int(x0) < x1, loop, None)

    def _input(self, tensor: int, y: Any, q: Any) -> tuple[Any, list[Any]]:
        """Pointer and ``ROW_ADDRESS`` of an input."""
        x = self._graph.tensors[tensor]
        if tensor not in self._staged:
            pointer = self._buffers.address(self._stage, tensor)
            whole = self._stage.places.get(tensor)
            layout = (1, 0, x.row_bytes)
            if whole is not None:
                layout = (whole.layout.modulus, whole.layout.outer, whole.layout.inner)
            return pointer, [0, *layout, 0, 0, NEVER]
        place = self._group.staged[tensor]
        kept = place.kept
        base = place.staging if kept is None else kept.offset
        new_row, _ = _clip(self._producer(tensor).rows, y)
        column_0 = place.staging - base - self._first_column(tensor, q) * x.pixel_bytes
        ring = (1, 0, 0) if kept is None else (kept.layout.modulus, kept.layout.outer, 0)
        return self._buffers.at(x.dtype, base), [0, *ring, column_0, place.line_bytes, new_row]

    def _output(self, tensor: int, r: Any, y: Any, q: Any) -> Any:
        """Pointer to column 0 of row ``r``, where that column exists or would be."""
        if tensor not in self._staged:
            return self._buffers.row(self._stage, tensor, r)
        x, place = self._graph.tensors[tensor], self._group.staged[tensor]
        size = np.dtype(x.dtype).itemsize
        first, _ = _clip(self._producer(tensor).rows, y)
        line = (r - first) * (place.line_bytes // size)
        return self._buffers.at(x.dtype, place.staging, line - self._first_column(tensor, q) * (x.pixel_bytes // size))

    def _keep_and_shift(self, staged: Staged, y: Any, q: Any) -> list[tirx.Stmt]:
        """Columns that are through go to the ring of older rows, the others to the front of the staging buffer."""
        x, place = self._graph.tensors[staged.tensor], self._group.staged[staged.tensor]
        producer, last_segment = self._producer(staged.tensor), self._group.schedule.last_segment
        first, behind = _clip(producer.rows, y)
        here, there = self._first_column(staged.tensor, q), self._first_column(staged.tensor, q + 1)
        _, made = _clip(producer.columns, q)
        is_last = _int(q) == last_segment
        through = tirx.Select(is_last, _int(made), _int(there)) - here
        pixel, moves = x.pixel_bytes, []

        def line(r: Any) -> Any:
            return (r - first) * place.line_bytes

        if place.kept is not None:
            kept = place.kept.layout.modulus
            start = tirx.max(first, behind - kept)
            index = tirx.Var("r", "int32")
            r = start + index
            slot = tirx.truncmod(r, kept) * place.kept.layout.outer + here * pixel
            copy = self._move("memcpy", (place.kept.offset, slot), (place.staging, line(r)), through * pixel)
            moves.append(tirx.For(index, 0, behind - start, tirx.ForKind.SERIAL, copy))
        index = tirx.Var("r", "int32")
        front = line(first + index)
        target, source = (place.staging, front), (place.staging, front + through * pixel)
        shift = self._move("memmove", target, source, (made - there) * pixel)
        loop = tirx.For(index, 0, behind - first, tirx.ForKind.SERIAL, shift)
        return [*moves, tirx.IfThenElse(tirx.all(tirx.Not(is_last), _int(made) > there), loop, None)]

    def _move(self, function: str, target: tuple[int, Any], source: tuple[int, Any], count: Any) -> tirx.Stmt:
        """``target`` and ``source`` are (block, bytes behind its start)."""
        pointers = (self._buffers.at("uint8", *place) for place in (target, source))
        return tirx.Evaluate(tirx.call_extern("int32", function, *pointers, count))

    def _first_column(self, tensor: int, q: Any) -> Any:
        """First column the staging buffer holds in segment ``q``: where the reader's first window begins."""
        staged = self._staged[tensor]
        window = self._graph.ops[staged.consumer].columns[staged.position]
        _, read = _clip(self._runs[staged.consumer].columns, q - 1)
        _, made = _clip(self._producer(tensor).columns, q - 1)
        return tirx.min(tirx.max(0, read * window.stride - window.before), _int(made))

    def _producer(self, tensor: int) -> Run:
        return self._runs[self._graph.producer[tensor]]


def _clip(affine: Affine, i: Any) -> tuple[Any, Any]:
    """First and one past the last position of iteration ``i``."""
    if isinstance(i, int):
        return affine.range(i)
    lo, hi = (tirx.min(tirx.max(i * affine.step + offset, 0), affine.limit) for offset in (affine.begin, affine.end))
    return lo, hi


def _int(value: Any) -> Any:
    return tirx.const(value, "int32") if isinstance(value, int) else value
