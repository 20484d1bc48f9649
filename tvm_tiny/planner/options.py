"""Ways to run a given run of operators as one stage, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tvm_tiny.planner.graph import Graph, Kind
from tvm_tiny.planner.layouts import followers
from tvm_tiny.planner.liveness import IntArray, executed_rows
from tvm_tiny.planner.peak import stage_peak
from tvm_tiny.planner.program import Group, Stage
from tvm_tiny.planner.schedule import NotSchedulableError, StageSchedule, schedule_stage

Widths: TypeAlias = tuple[int, ...]  # of column segments that may be tried; none: whole rows only
SEGMENTS: Widths = (8, 4)  # kernels work on groups of four pixels
_PATCH_ROWS = (1, 2, 4, 8)  # tried where something is made again
COPY_COST = 40  # instructions around one copy from or inside a staging buffer
TICK_COST = 10  # instructions of one operator's condition in the loop over a stage's ticks
BYTE_COST = 0.75  # instructions per byte moved from a staging buffer to a ring
_EXACT, _HEAD, _MIDDLE, _REPEAT, _TAIL = 110, 20, 8, 16, 12  # ticks looked at in a long stage


@dataclass(frozen=True)
class Option:
    """A stage with its price.

    Parameters
    ----------
    peak_bytes : live bytes at its worst step, tensors that pass through included
    extra_macs : recomputation
    overhead : instructions beyond whole-layer loops, estimated
    """

    stage: Stage
    peak_bytes: int
    extra_macs: int
    overhead: float


def price(graph: Graph, stage: Stage, *, exactly: bool = False) -> Option | None:
    """Cost of a stage, or None when it cannot run that way."""
    try:
        schedule = schedule_stage(graph, stage)
    except NotSchedulableError:
        return None
    stuck = [t for op in stage.ops for t in graph.ops[op].inputs if graph.tensors[t].planes > 1]
    stuck = [t for t in dict.fromkeys(stuck) if not followers(graph, stage.ops, t)]
    peak = stage_peak(graph, stage, schedule, None if exactly else _sample(schedule), stuck)
    return Option(stage, peak, _extra_macs(graph, schedule), stage_overhead(graph, schedule))


def make_stage(graph: Graph, ops: Sequence[int], segment: int) -> Stage:
    """A ready-made way to run operators together; ``segment`` columns at a time where that saves memory, 0: none."""
    return Stage(_blocks(graph, ops, segment) if segment else _singles(ops))


def refine(
    graph: Graph, option: Option, *, segments: Widths = SEGMENTS, extra_macs: int = 0, limit: int = 200
) -> list[Option]:
    """Hill climbing over merging, splitting, segment widths, delays and recomputation; every improvement, best last.

    Parameters
    ----------
    extra_macs : that recomputation may cost in this stage
    limit : neighbours looked at, at most
    """
    found = [option]
    looked = 0
    while looked <= limit:
        best = found[-1]
        for stage in _neighbours(graph, found[-1].stage, extra_macs > 0, segments):
            looked += 1
            trial = price(graph, stage)
            if trial and trial.extra_macs <= extra_macs and _key(trial) < _key(best):
                best = trial
        if best is found[-1]:
            break
        found.append(best)
    exact = (price(graph, x.stage, exactly=True) for x in found)
    return [x for x in exact if x is not None]


def _key(option: Option) -> tuple[int, int, float]:
    return option.peak_bytes, option.extra_macs, option.overhead


def _sample(schedule: StageSchedule) -> IntArray | None:
    total = schedule.end - schedule.begin + 1
    if total <= _EXACT:
        return None
    # Most is live where a group begins while the others still run; from there on, things repeat with the period.
    active = [(g.delay + g.period * g.first, g.delay + g.period * g.last) for g in schedule.groups]
    starts = [start for start, _ in active]
    busiest = max(starts, key=lambda t: sum(start <= t <= end for start, end in active))
    repeat = min(_REPEAT, max(g.period for g in schedule.groups))
    middle = schedule.begin + total // 2
    picks = [(schedule.begin, _HEAD), (middle, _MIDDLE), (busiest, repeat), (schedule.end - _TAIL + 1, _TAIL)]
    ticks = [np.arange(start, min(start + n, schedule.end + 1), dtype=np.int64) for start, n in picks]
    return np.unique(np.concatenate([*ticks, np.array(starts, dtype=np.int64)]))


def _singles(ops: Sequence[int]) -> tuple[Group, ...]:
    return tuple(Group((op,)) for op in ops)


def _blocks(graph: Graph, ops: Sequence[int], segment: int) -> tuple[Group, ...]:
    """Groups that end where whole rows are kept anyway (forks) or cost little: narrower than the rows made next."""
    groups: list[Group] = []
    current: list[int] = []
    for position, op in enumerate(ops):
        current.append(op)
        following = ops[position + 1] if position + 1 < len(ops) else None
        forks = any(len(graph.consumers[t]) > 1 for t in graph.ops[op].outputs)
        if following is None or forks or _row_bytes(graph, following) > _row_bytes(graph, op):
            groups += _make_group(graph, current, segment)
            current = []
    return tuple(groups)


def _make_group(graph: Graph, ops: Sequence[int], segment: int) -> list[Group]:
    inside = set(ops)
    feeds = all(any(c in inside for t in graph.ops[op].outputs for c in graph.consumers[t]) for op in ops[:-1])
    members = [graph.ops[op] for op in ops]
    able = all(x.kind is not Kind.WHOLE and x.inputs and not x.whole_rows_only for x in members)
    if len(ops) > 1 and feeds and able:
        return [Group(tuple(ops), segment)]
    return [Group((op,)) for op in ops]


def _row_bytes(graph: Graph, op: int) -> int:
    return graph.tensors[graph.ops[op].outputs[0]].row_bytes if graph.ops[op].kind is Kind.ROWS else 0


def _neighbours(graph: Graph, stage: Stage, recompute: bool, segments: Widths) -> Iterator[Stage]:
    groups = stage.groups
    for k in range(len(groups) - 1):
        for segment in segments:
            merged = _make_group(graph, groups[k].ops + groups[k + 1].ops, segment)
            if len(merged) == 1:
                again = groups[k].recomputed | groups[k + 1].recomputed
                rows = max(groups[k].rows, groups[k + 1].rows)
                yield _with(stage, k, k + 2, (replace(merged[0], recomputed=again, rows=rows),))
    for k, group in enumerate(groups):
        for segment in segments:
            if group.segment not in (0, segment):
                yield _with(stage, k, k + 1, (replace(group, segment=segment),))
        for cut in range(1, len(group.ops)):
            parts = (group.ops[:cut], group.ops[cut:])
            yield _with(stage, k, k + 1, tuple(_part(graph, p, group) for p in parts))
        if not stage.late and len(groups) > 2:
            yield replace(stage, late=tuple(int(i == k) for i in range(len(groups))))
        if recompute and group.segment:
            yield from (_with(stage, k, k + 1, (x,)) for x in _with_recomputation(graph, group))
    for k in range(len(stage.late)):
        for change in (-1, 1):
            late = tuple(max(0, x + change * (i == k)) for i, x in enumerate(stage.late))
            yield replace(stage, late=late if any(late) else ())


def _with_recomputation(graph: Graph, group: Group) -> Iterator[Group]:
    """One more tensor made again, or patches of another height, which decides how much is made again."""
    heights = [rows for rows in _PATCH_ROWS if rows <= graph.op_rows(group.ops[-1])]
    if group.recomputed:
        yield from (replace(group, rows=rows) for rows in heights if rows != group.rows)
    for op in group.ops[:-1]:
        t = graph.ops[op].outputs[0]
        if t not in group.recomputed:
            more = replace(group, recomputed=group.recomputed | {t})
            yield from (replace(more, rows=rows) for rows in ({group.rows} if group.recomputed else heights))


def _part(graph: Graph, ops: tuple[int, ...], group: Group) -> Group:
    """Some operators of a group as a group of their own."""
    if len(ops) == 1:
        return Group(ops)
    again = group.recomputed & {t for op in ops[:-1] for t in graph.ops[op].outputs}
    return Group(ops, group.segment, again, group.rows if again else 1)


def _with(stage: Stage, start: int, end: int, groups: tuple[Group, ...]) -> Stage:
    return Stage((*stage.groups[:start], *groups, *stage.groups[end:]), (), stage.bottom_up)


def _extra_macs(graph: Graph, schedule: StageSchedule) -> int:
    extra = 0
    for group in schedule.groups:
        for run in group.runs:
            if run.again:
                rows = graph.op_rows(run.op)
                extra += graph.ops[run.op].macs * (executed_rows(group, run) - rows) // rows
    return extra


def stage_overhead(graph: Graph, schedule: StageSchedule) -> float:
    """Instructions beyond those of whole-layer loops, estimated; recomputation comes on top."""
    total = 0.0
    if len(schedule.groups) > 1:
        total += TICK_COST * len(schedule.groups) * (schedule.end - schedule.begin + 1)
    for group in schedule.groups:
        segments = range(group.first_segment, group.last_segment + 1)
        for run in group.runs if len(group.runs) > 1 else ():
            calls = sum(lo < hi for lo, hi in map(run.columns.range, segments))
            total += graph.ops[run.op].split_cost * (calls - 1) * run.rows.limit
        for s in group.staged:
            moves = 2 if s.kept_rows else 1
            total += COPY_COST * moves * len(segments) * graph.tensors[s.tensor].rows
            total += BYTE_COST * graph.tensors[s.tensor].size_bytes if s.kept_rows else 0
    return total
