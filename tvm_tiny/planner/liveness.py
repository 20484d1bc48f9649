"""Which rows of which tensor hold data that is still needed, at every step of a stage.

A step is one firing slot: (tick, group), ticks outermost. Within a step everything it reads and everything it writes
counts as live, so a kernel may read and write in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.planner.graph import Graph, Kind
from tvm_tiny.planner.program import Stage
from tvm_tiny.planner.schedule import GroupSchedule, Run, StageSchedule, window

IntArray: TypeAlias = NDArray[np.int64]
NEVER = 1 << 40


@dataclass(frozen=True)
class Rows:
    """Per step the rows ``[oldest, newest)`` of a tensor that are live; none where oldest >= newest."""

    oldest: IntArray
    newest: IntArray

    def most(self) -> int:
        """Rows that are live at once, at most."""
        return max(0, int((self.newest - self.oldest).max(initial=0)))


class Trace:
    """Live rows of the tensors of one stage.

    Parameters
    ----------
    position : of the stage's first operator in the graph; operators before it have run
    ticks : the ticks to look at; all by default, a sample for estimates
    """

    def __init__(self, graph: Graph, stage: Stage, schedule: StageSchedule, ticks: IntArray | None = None) -> None:
        self.graph = graph
        self.stage = stage
        self.schedule = schedule
        if ticks is None:
            ticks = np.arange(schedule.begin, schedule.end + 1, dtype=np.int64)
        self.tick = np.repeat(ticks, len(schedule.groups))
        self.slot = np.tile(np.arange(len(schedule.groups), dtype=np.int64), len(ticks))
        self.place = {run.op: (g, run) for g, group in enumerate(schedule.groups) for run in group.runs}
        self._after = max(self.place) + 1
        self._fires: dict[int, NDArray[np.bool_]] = {}

    def fires(self, group: int) -> NDArray[np.bool_]:
        """Steps in which a group fires."""
        if group not in self._fires:
            g = self.schedule.groups[group]
            y, rest = np.divmod(self.tick - g.delay, g.period)
            self._fires[group] = (self.slot == group) & (rest == 0) & (y >= g.first) & (y <= g.last)
        return self._fires[group]

    def running(self, group: int) -> NDArray[np.bool_]:
        """Steps from a group's first firing to its last."""
        g = self.schedule.groups[group]
        key = self.tick * len(self.schedule.groups) + self.slot
        start = (g.delay + g.period * g.first) * len(self.schedule.groups) + group
        return (key >= start) & (key <= (g.delay + g.period * g.last) * len(self.schedule.groups) + group)

    def rows(self, tensor: int, released_by: int | None = None) -> Rows:
        """Live rows of a tensor that the stage touches.

        Parameters
        ----------
        released_by : an operator whose reads do not keep a row alive while it runs, because it may overwrite it
        """
        producer = self.graph.producer.get(tensor)
        height = self.graph.tensors[tensor].rows
        newest = np.full_like(self.tick, height)
        if producer in self.place:
            newest = self._made(producer, height)
        oldest = np.full_like(self.tick, NEVER)
        if self.graph.last_use(tensor) >= self._after:
            oldest[:] = 0
        for op in self.graph.consumers[tensor]:
            if op in self.place:
                for position in self._positions(op, tensor):
                    oldest = np.minimum(oldest, self._needed(op, position, height, released_by == op))
        if producer in self.place:
            # Rows that nobody needs are written all the same.
            oldest = np.minimum(oldest, self._written(producer))
        return Rows(oldest, newest)

    def _positions(self, op: int, tensor: int) -> Iterable[int]:
        return (p for p, t in enumerate(self.graph.ops[op].inputs) if t == tensor)

    def _made(self, op: int, height: int) -> IntArray:
        index, run = self.place[op]
        group = self.schedule.groups[index]
        y = (self.tick - (index > self.slot) - group.delay) // group.period
        done = _clip(run.rows.step * np.minimum(y, group.last) + run.rows.end, run.rows.limit)
        done[y < group.first] = 0
        if self.graph.ops[op].kind is Kind.ROWS:
            return done
        # Written by the last call, but that call may fill it in any order.
        return np.where(done == run.rows.limit, height, 0)

    def _written(self, op: int) -> IntArray:
        """First row that a step writes; NEVER where it writes none."""
        index, run = self.place[op]
        group = self.schedule.groups[index]
        first = _clip(run.rows.step * ((self.tick - group.delay) // group.period) + run.rows.begin, run.rows.limit)
        if self.graph.ops[op].kind is not Kind.ROWS:
            first = np.zeros_like(first)
        return np.where(self.fires(index), first, NEVER)

    def _needed(self, op: int, position: int, height: int, released: bool) -> IntArray:
        """First row of an input that the next firing still reads; NEVER when there is none."""
        index, run = self.place[op]
        group = self.schedule.groups[index]
        gone = (self.slot >= index) if released else (self.slot > index)
        y = np.maximum(-((group.delay - self.tick - gone) // group.period), group.first)
        if self.graph.ops[op].kind is Kind.WHOLE:
            return np.where(y > group.last, NEVER, 0)
        start = _clip(run.rows.step * y + run.rows.begin, run.rows.limit)
        w = window(self.graph, op, position, self.stage.bottom_up)
        needed = np.maximum(start * w.stride - w.before, 0)
        needed[(y > group.last) | (start >= run.rows.limit)] = NEVER
        return np.minimum(needed, np.where(needed >= NEVER, NEVER, height))


def _clip(x: IntArray, limit: int) -> IntArray:
    return np.minimum(np.maximum(x, 0), limit)


def executed_rows(group: GroupSchedule, run: Run) -> int:
    """Rows an operator makes in all firings, those made again counted again."""
    return sum(hi - lo for lo, hi in (run.rows.range(y) for y in range(group.first, group.last + 1)))
