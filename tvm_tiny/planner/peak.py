"""How many bytes are live at the worst step of a stage: the price of a stage, computed thousands of times in a search.

The live rows of a tensor change at a tick only where its producer or one of its readers has its turn. So a tick is cut
at those slots, each tensor has a few intervals of slots with one row range each, and all intervals of all tensors are
worked out together. The numbers are those of ``buffers.stage_blocks``, step by step.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tvm_tiny.planner.buffers import passing_tensors
from tvm_tiny.planner.graph import Graph, Home, Kind
from tvm_tiny.planner.liveness import NEVER, IntArray
from tvm_tiny.planner.program import Stage
from tvm_tiny.planner.schedule import GroupSchedule, StageSchedule, window


def stage_peak(
    graph: Graph,
    stage: Stage,
    schedule: StageSchedule,
    ticks: IntArray | None = None,
    stuck: Collection[int] = (),
) -> int:
    """Most bytes live at one step of a stage, as if blocks could be packed without gaps.

    Parameters
    ----------
    ticks : to look at; all by default, a sample for estimates
    stuck : tensors whose consumed rows are of no use to others, because nothing fits between those that remain
    """
    if ticks is None:
        ticks = np.arange(schedule.begin, schedule.end + 1, dtype=np.int64)
    passing = passing_tensors(graph, min(stage.ops), frozenset(stage.ops))
    return _Stage(graph, stage, schedule, ticks).peak(stuck) + sum(graph.tensors[t].size_bytes for t in passing)


@dataclass
class _Intervals:
    """Rows of tensors during intervals of slots; indices are rows of the stage's tables."""

    tensor: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)  # slot
    last: list[int] = field(default_factory=list)  # slot behind
    made: list[int] = field(default_factory=list)
    needed: list[list[int]] = field(default_factory=list)


class _Stage:
    def __init__(self, graph: Graph, stage: Stage, schedule: StageSchedule, ticks: IntArray) -> None:
        self._graph = graph
        self._bottom_up = stage.bottom_up
        self._groups = schedule.groups
        self._ticks = ticks
        self._ops = frozenset(stage.ops)
        self._after = max(stage.ops) + 1
        self._slot = {run.op: g for g, group in enumerate(schedule.groups) for run in group.runs}
        self._run = {run.op: k for k, run in enumerate(run for group in schedule.groups for run in group.runs)}
        self._fires, self._tables = self._clock()
        # Bytes that come and go at slots; row g is what is live in slot g beyond what was in the one before.
        self._steps = np.zeros((len(schedule.groups) + 1, len(ticks)), np.int64)

    def peak(self, stuck: Collection[int]) -> int:
        """Bytes."""
        staged = {s.tensor for group in self._groups for s in group.staged}
        self._add_tensors(staged, stuck)
        for g, group in enumerate(self._groups):
            self._add_working_memory(g, group)
            for s in group.staged:
                x = self._graph.tensors[s.tensor]
                self._at(g, s.new_rows * s.columns * x.pixel_bytes)
                self._while_running(g, group, s.kept_rows * x.row_bytes)
        return int(self._steps[:-1].cumsum(axis=0).max())

    def _clock(self) -> tuple[np.ndarray, tuple[IntArray, IntArray]]:
        """Which groups fire at which tick; rows made per run (before and after its turn, then "all" for tensors that
        others made), rows needed per run and input (before and after its turn, then NEVER, 0, and rows written)."""
        groups = self._groups
        timing = np.array([(g.delay, g.period, g.first, g.last) for g in groups], np.int64)[:, :, None]
        delay, period, first, last = timing[:, 0], timing[:, 1], timing[:, 2], timing[:, 3]
        y, rest = np.divmod(self._ticks - delay, period)
        fires = (rest == 0) & (y >= first) & (y <= last)
        before = y - (rest == 0)  # the last firing before this tick
        of_run = [g for g, group in enumerate(groups) for _ in group.runs]
        runs = [run for group in groups for run in group.runs]
        rows = np.array([(r.rows.step, r.rows.begin, r.rows.end, r.rows.limit) for r in runs], np.int64)[:, :, None]
        step, begin, end, limit = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
        made = []
        for when in (before, y):
            when = when[of_run]
            done = np.minimum(np.maximum(step * np.minimum(when, last[of_run]) + end, 0), limit)
            done[when < first[of_run]] = 0
            made.append(done)
        written = np.where(fires[of_run], np.minimum(np.maximum(step * y[of_run] + begin, 0), limit), NEVER)
        for k, run in enumerate(runs):
            op = self._graph.ops[run.op]
            if op.kind is not Kind.ROWS:
                # Written by the last call, but that call may fill it in any order.
                for done in made:
                    done[k] = np.where(done[k] == run.rows.limit, NEVER, 0)
                written[k] = np.where(written[k] == NEVER, NEVER, 0)
        needed = self._needed(of_run, before + 1, y + 1, rows, timing)
        everything = np.full((1, len(self._ticks)), NEVER, np.int64)
        self._row = {"never": len(needed), "zero": len(needed) + 1, "written": len(needed) + 2}
        return fires, (
            np.concatenate([*made, everything]),
            np.concatenate([needed, everything, np.zeros_like(everything), written]),
        )

    def _needed(self, of_run: list[int], now: IntArray, later: IntArray, rows: IntArray, timing: IntArray) -> IntArray:
        """First row that a reader's next firing needs, this tick's included or not: two rows per run and input."""
        ops, runs = self._graph.ops, [run for group in self._groups for run in group.runs]
        self._reads: dict[tuple[int, int], int] = {}
        edges: list[tuple[int, int, int, int]] = []
        for of, run in enumerate(runs):
            op = ops[run.op]
            for position in range(len(op.inputs)):
                self._reads[run.op, position] = len(edges)
                if op.kind is Kind.WHOLE:
                    edges.append((of, 0, 0, 1))
                    continue
                w = window(self._graph, run.op, position, self._bottom_up)
                height = self._graph.tensors[op.inputs[position]].rows
                edges.append((of, w.stride, w.before, height))
        self._edges = len(edges)
        if not edges:
            return np.zeros((0, len(self._ticks)), np.int64)
        table = np.array(edges, np.int64)
        k = table[:, 0]
        stride, before, heights = table[:, 1:, None].transpose(1, 0, 2)
        group = np.array(of_run)[k]
        step, begin, _, limit = rows[k].transpose(1, 0, 2)
        _, _, first, last = timing[group].transpose(1, 0, 2)
        found = []
        for when in (now, later):
            y = np.maximum(when[group], first)
            start = np.minimum(np.maximum(step * y + begin, 0), limit)
            row = np.minimum(np.maximum(start * stride - before, 0), heights)
            row[(y > last) | (start >= limit)] = NEVER
            found.append(row)
        return np.concatenate(found)

    def _intervals(self, staged: Collection[int]) -> _Intervals:
        graph, found, slots = self._graph, _Intervals(), len(self._groups)
        touched = dict.fromkeys(t for op in self._run for t in (*graph.ops[op].inputs, *graph.ops[op].outputs))
        for t in touched:
            x = graph.tensors[t]
            if x.home is Home.CALLER or x.size_bytes == 0 or t in staged:
                continue
            producer = graph.producer.get(t, -1)
            maker = self._slot.get(producer)
            readers = [
                (self._slot[op], self._reads[op, p])
                for op in graph.consumers[t]
                if op in self._slot
                for p, given in enumerate(graph.ops[op].inputs)
                if given == t
            ]
            always = [self._row["zero"]] if graph.last_use(t) >= self._after else []
            cuts = {0, slots, *(g + 1 for g, _ in readers)}
            if maker is not None:
                cuts |= {maker, maker + 1}
            for a, b in pairwise(sorted(cuts)):
                needed = always + [edge + (self._edges if a > g else 0) for g, edge in readers]
                if maker == a:
                    needed.append(self._row["written"] + self._run[producer])
                found.tensor.append(t)
                found.first.append(a)
                found.last.append(b)
                found.made.append(self._made_at(producer, maker, a))
                found.needed.append(needed)
        return found

    def _made_at(self, producer: int, maker: int | None, slot: int) -> int:
        """Row of the table of what has been made."""
        if maker is None:
            return 2 * len(self._run)
        return self._run[producer] + (len(self._run) if slot >= maker else 0)

    def _add_tensors(self, staged: Collection[int], stuck: Collection[int]) -> None:
        i = self._intervals(staged)
        if not i.tensor:
            return
        made, needed = self._tables
        width = max(1, max(len(n) for n in i.needed))
        padded = np.array([n + [self._row["never"]] * (width - len(n)) for n in i.needed])
        height = np.array([self._graph.tensors[t].rows for t in i.tensor])[:, None]
        oldest = needed[padded[:, 0]]
        for column in padded.T[1:]:
            np.minimum(oldest, needed[column], out=oldest)
        live = np.maximum(np.minimum(made[i.made], height) - oldest, 0)
        tops = live.max(axis=1).tolist()
        most: dict[int, int] = {}
        for t, top in zip(i.tensor, tops, strict=True):
            most[t] = max(most.get(t, 0), top)
        # Bytes per live row and bytes as a whole: what others see counts row by row, a ring while it holds anything.
        rings = {t for t in most if not self._is_full(t)}
        whole = [most[t] * self._graph.row_sizes[t] if t in rings else 0 for t in i.tensor]
        each = [0 if t in rings or t in stuck else self._graph.row_sizes[t] for t in i.tensor]
        size = live * np.array(each)[:, None]
        if rings:
            size += (live > 0) * np.array(whole)[:, None]
        for k, t in enumerate(i.tensor):
            if t in stuck and t not in rings:
                size[k] = self._graph.tensors[t].size_bytes
        np.add.at(self._steps, i.first, size)
        np.subtract.at(self._steps, i.last, size)

    def _add_working_memory(self, g: int, group: GroupSchedule) -> None:
        members = [self._graph.ops[run.op] for run in group.runs]
        self._at(g, max(op.scratch(len(members) > 1) for op in members))
        for op in members:
            self._while_running(g, group, op.accumulator_bytes)
            for t in op.replaceable:
                if self._shares(t, op.outputs[0]):
                    self._at(g, -self._graph.tensors[t].row_bytes)

    def _shares(self, t: int, z: int) -> bool:
        """Whether a result may lie exactly on the input it consumes."""
        consumed = self._graph.last_use(t) < self._after
        return consumed and self._graph.may_share(t, z) and self._is_full(t) and self._is_full(z)

    def _is_full(self, t: int) -> bool:
        consumers = self._graph.consumers[t]
        inside = self._graph.producer.get(t, -1) in self._ops and all(c in self._ops for c in consumers)
        alone = self._graph.tensors[t].beside is None and t not in self._graph.outputs
        return not (inside and alone and consumers)

    def _at(self, g: int, size: int) -> None:
        """Bytes of a group's slot when it fires."""
        if size:
            there = self._fires[g] * size
            self._steps[g] += there
            self._steps[g + 1] -= there

    def _while_running(self, g: int, group: GroupSchedule, size: int) -> None:
        """Bytes from a group's first firing to its last."""
        if not size:
            return
        start, end = (group.delay + group.period * y for y in (group.first, group.last))
        t = self._ticks
        self._steps[0] += ((t > start) & (t <= end)) * size
        self._steps[g] += (t == start) * size
        self._steps[g + 1] -= (t == end) * size
