"""When each row of each operator of a stage is made, in closed form.

A stage is a loop over ticks ``t``. Group g fires at ``t = delay + period * y`` for ``y`` from ``first`` to ``last``,
and in firing ``y`` operator v makes its rows ``[lo, hi)``, ``lo = clip(step*y + begin)``, ``hi = clip(step*y + end)``
with ``clip(x) = min(max(x, 0), rows)``. Within a firing, segment ``q`` makes columns of the same form. Both ``y`` and
``q`` start below zero where operators have to run ahead of the last one of their group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd, lcm

from tvm_tiny.planner.graph import Graph, Kind, Window
from tvm_tiny.planner.program import Group, Stage


class NotSchedulableError(ValueError):
    """These operators cannot run as one stage; the search takes another cut."""


@dataclass(frozen=True)
class Affine:
    """``clip(step * i + begin) .. clip(step * i + end)``, clipped to ``[0, limit]``."""

    step: int
    begin: int
    end: int
    limit: int

    def range(self, i: int) -> tuple[int, int]:
        """First and one past the last position of iteration ``i``."""
        lo = min(max(self.step * i + self.begin, 0), self.limit)
        return lo, min(max(self.step * i + self.end, 0), self.limit)


@dataclass(frozen=True)
class Run:
    """One operator inside its group: rows per firing, columns per segment.

    ``again`` marks an operator whose rows overlap from firing to firing, because its output is not kept.
    """

    op: int
    rows: Affine
    columns: Affine
    again: bool = False


@dataclass(frozen=True)
class Staged:
    """A tensor handed on inside a group.

    Parameters
    ----------
    kept_rows : rows made in earlier firings that are kept, row ``r`` at slot ``r % kept_rows``
    new_rows, columns : size of the staging buffer for the rows made in this firing
    consumer : the operator that reads it, at this position of its inputs
    """

    tensor: int
    consumer: int
    position: int
    kept_rows: int
    new_rows: int
    columns: int


@dataclass(frozen=True)
class GroupSchedule:
    """See the module's text; segments go from ``first_segment`` to ``last_segment``, both 0 for whole rows."""

    runs: tuple[Run, ...]
    staged: tuple[Staged, ...]
    first_segment: int
    last_segment: int
    first: int
    last: int
    period: int = 1
    delay: int = 0


@dataclass(frozen=True)
class StageSchedule:
    """All groups; ticks run from ``begin`` to ``end``, both included."""

    groups: tuple[GroupSchedule, ...]
    begin: int
    end: int


def window(graph: Graph, op: int, position: int, bottom_up: bool = False) -> Window:
    """Row window of an operator; upside down, the rows before the image are those after it."""
    w = graph.ops[op].rows[position]
    if not bottom_up:
        return w
    rows_in = graph.tensors[graph.ops[op].inputs[position]].rows
    return Window(w.kernel, w.stride, (graph.op_rows(op) - 1) * w.stride + w.extent - w.before - rows_in, w.dilation)


def schedule_stage(graph: Graph, stage: Stage) -> StageSchedule:
    """Timing of a stage.

    Raises
    ------
    NotSchedulableError : rates differ between branches, or an operator only works on whole tensors
    """
    kinds = [graph.ops[op].kind for op in stage.ops]
    if Kind.WHOLE in kinds and len(kinds) > 1:
        raise NotSchedulableError("an operator on whole tensors is a stage of its own")
    reduced = {t for op in stage.ops if graph.ops[op].kind is Kind.REDUCE for t in graph.ops[op].outputs}
    if any(t in reduced for op in stage.ops for t in graph.ops[op].inputs):
        raise NotSchedulableError("what a reduction delivers is complete only after the stage")
    groups = [_schedule_group(graph, group, stage.bottom_up) for group in stage.groups]
    periods = _periods(graph, stage, groups)
    late = stage.late or (0,) * len(groups)
    place = {op: (g, run) for g, group in enumerate(groups) for run in group.runs for op in [run.op]}
    delays: list[int] = []
    # Rows that come from outside come first, even if others (of padding) could be made without any.
    pushed = bool(stage.groups[0].ops) and not graph.ops[stage.groups[0].ops[0]].inputs
    for g, group in enumerate(groups):
        delay = delays[0] + max(0, -periods[g] * group.first) if pushed and g else 0
        for run in group.runs:
            for position, t in enumerate(graph.ops[run.op].inputs):
                source = place.get(graph.producer.get(t, -1))
                if source is not None and source[0] != g:
                    w = window(graph, run.op, position, stage.bottom_up)
                    ready = _ready(source[1].rows, periods[source[0]], run.rows, periods[g], w)
                    delay = max(delay, delays[source[0]] + ready)
        delays.append(delay + late[g])
    timed = tuple(
        replace(x, period=period, delay=delay) for x, period, delay in zip(groups, periods, delays, strict=True)
    )
    begin = min(x.delay + x.period * x.first for x in timed)
    return StageSchedule(timed, begin, max(x.delay + x.period * x.last for x in timed))


def _ready(source: Affine, source_period: int, target: Affine, period: int, w: Window) -> int:
    """Ticks by which the target's group must follow the source's so that every firing finds its rows."""
    repeat = source.step // gcd(source.step, target.step * w.stride)
    return max(
        source_period
        * -((source.end - (w.stride * (target.step * y + target.end - 1) - w.before + w.extent)) // source.step)
        - period * y
        for y in range(repeat)
    )


@lru_cache(maxsize=1 << 14)
def _schedule_group(graph: Graph, group: Group, bottom_up: bool) -> GroupSchedule:
    if len(group.ops) > 1 and any(graph.ops[op].whole_rows_only for op in group.ops):
        raise NotSchedulableError("an operator that makes whole rows only is a group of its own")
    sink = group.ops[-1]
    inside = set(group.ops)
    patch = min(group.rows, graph.op_rows(sink)) if group.segment else 1
    rows: dict[int, Affine] = {sink: Affine(patch, 0, patch, graph.op_rows(sink))}
    last = -(-graph.op_rows(sink) // patch) - 1
    width = graph.op_columns(sink)
    segment = min(group.segment or width, width)
    columns: dict[int, Affine] = {sink: Affine(segment, 0, segment, width)}
    staged: list[Staged] = []
    for op in reversed(group.ops[:-1]):
        (t,) = graph.ops[op].outputs
        readers = [
            (c, p) for c in graph.consumers[t] if c in inside for p, x in enumerate(graph.ops[c].inputs) if x == t
        ]
        if not readers:
            raise NotSchedulableError("a group has one last operator")
        again = t in group.recomputed
        need = [_need(rows[c], window(graph, c, p, bottom_up), graph.op_rows(op)) for c, p in readers]
        across = [_need(columns[c], graph.ops[c].columns[p], graph.op_columns(op)) for c, p in readers]
        if len({n.step for n in need}) > 1 or len({n.step for n in across}) > 1:
            raise NotSchedulableError("two paths through a group have different strides")
        end, end_x = max(n.end for n in need), max(n.end for n in across)
        step = need[0].step
        begin = min(n.begin for n in need) if again else end - step
        rows[op] = Affine(step, begin, end, graph.op_rows(op))
        columns[op] = Affine(across[0].step, end_x - across[0].step, end_x, graph.op_columns(op))
        alone = len(readers) == 1 and graph.consumers[t] == (readers[0][0],) and t not in graph.outputs
        alone = alone and graph.tensors[t].beside is None
        if again and not alone:
            raise NotSchedulableError("only a tensor with one reader is made again")
        if alone and group.segment:
            (c, p), height = readers[0], end - begin
            kept = 0 if again else max(0, need[0].end - need[0].begin - step)
            wide = max(across[0].end - across[0].begin, across[0].step)
            # A reader that leaves out the last columns, a slice say, is through before they are made.
            across_c = graph.ops[c].columns[p]
            read = graph.op_columns(c) * across_c.stride - across_c.before
            wide = max(wide, graph.op_columns(op) - max(0, read))
            staged.append(Staged(t, c, p, kept, height, min(wide, graph.op_columns(op))))
        elif (not alone and any(c not in inside for c in graph.consumers[t])) or t in graph.outputs:
            if rows[op].range(last)[1] < graph.op_rows(op):
                raise NotSchedulableError("the group would stop before a row that others read")
            if columns[op].range(-(-width // segment) - 1)[1] < graph.op_columns(op):
                raise NotSchedulableError("the group would stop before a column that others read")
    runs = tuple(Run(op, rows[op], columns[op], rows[op].end - rows[op].begin > rows[op].step) for op in group.ops)
    first = min(-((r.rows.end - 1) // r.rows.step) for r in runs if not r.again)
    left = min(-((r.columns.end - 1) // r.columns.step) for r in runs)
    return GroupSchedule(runs, tuple(staged), left, -(-width // segment) - 1, first, last)


def _need(consumer: Affine, w: Window, limit: int) -> Affine:
    """Positions of an input that a consumer reads in one iteration, first tap to last."""
    begin = w.stride * consumer.begin - w.before
    return Affine(consumer.step * w.stride, begin, w.stride * (consumer.end - 1) - w.before + w.extent, limit)


def _periods(graph: Graph, stage: Stage, groups: list[GroupSchedule]) -> list[int]:
    """Ticks per firing; groups that share a tensor must agree on the rows of it per tick."""
    users: dict[int, list[tuple[int, int]]] = {}  # tensor -> (group, rows of it per firing)
    touches: list[list[tuple[int, int]]] = [[] for _ in groups]  # group -> (tensor, rows of it per firing)
    for g, group in enumerate(groups):
        for run in group.runs:
            op = graph.ops[run.op]
            if op.kind is not Kind.WHOLE:
                for position, t in enumerate(op.inputs):
                    touches[g].append((t, run.rows.step * op.rows[position].stride))
            if op.kind is Kind.ROWS:
                touches[g].append((op.outputs[0], run.rows.step))
        for t, rows in touches[g]:
            users.setdefault(t, []).append((g, rows))
    period: dict[int, tuple[int, int]] = {0: (1, 1)}  # fraction
    todo = [0]
    while todo:
        g = todo.pop()
        num, den = period[g]
        for t, rows in touches[g]:
            for other, other_rows in users[t]:
                wanted = (num * other_rows, den * rows)
                known = period.get(other)
                if known is None:
                    common = gcd(*wanted)
                    period[other] = (wanted[0] // common, wanted[1] // common)
                    todo.append(other)
                elif known[0] * wanted[1] != known[1] * wanted[0]:
                    raise NotSchedulableError("two paths through a stage have different strides")
    if len(period) < len(groups):
        raise NotSchedulableError("a stage hangs together")
    scale = lcm(*(den for _, den in period.values()))
    whole = [period[g][0] * scale // period[g][1] for g in range(len(groups))]
    return [p // gcd(*whole) for p in whole]
