"""Peak RAM and MACs of a network in milliseconds, for those who compare thousands of networks.

Stages of whole rows only (``fusion="rows"``), packed without gaps: no offsets, no segments, no solver. Stages that
begin at the same operator share their timing, so they are grown operator by operator. Within a tick everything counts
as live together, a row per tensor too much at most; the stages that decide are priced exactly in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tvm_tiny.planner.buffers import passing_tensors
from tvm_tiny.planner.graph import Graph, Home, Kind
from tvm_tiny.planner.liveness import NEVER, IntArray
from tvm_tiny.planner.options import price
from tvm_tiny.planner.program import Group, Stage
from tvm_tiny.planner.search import NO_LIMIT, least_bytes
from tvm_tiny.planner.views import without_views

_GROWTH = 1.04  # of the peak that is tried, until there is a cut that stays within it
_REACH = 48  # operators of a stage, at most
_ROUNDS = 4
_ROOM = 64  # ticks


@dataclass(frozen=True)
class Estimate:
    """What a network needs.

    Parameters
    ----------
    ram_bytes : most bytes live at one step; a plan needs a few per cent more where blocks leave gaps, and less where
        column segments help
    macs : multiply-accumulates
    stages : first operator of each stage, views left out
    """

    ram_bytes: int
    macs: int
    stages: tuple[int, ...]


def estimate(graph: Graph) -> Estimate:
    """Peak RAM, buffers of the caller included, and MACs of ``graph``.

    Raises
    ------
    ValueError : as ``without_views``
    """
    graph = without_views(graph)
    caller = sum(t.size_bytes for t in graph.tensors if t.home is Home.CALLER)
    macs = sum(op.macs for op in graph.ops)
    if not graph.ops:
        arena = sum(t.size_bytes for t in graph.tensors if t.home is Home.INPUT)
        return Estimate(caller + arena, macs, ())
    starts = [_Growing(graph, i) for i in range(len(graph.ops))]
    limit = max(start.floor(start.first + 1) for start in starts)
    while (cut := _best_cut(starts, limit)) is None:
        limit = int(limit * _GROWTH) + 64
    peak, best = _exact_peak(starts, cut), cut
    for _ in range(_ROUNDS):
        # The stages that decided have their exact price now: another cut may be better.
        cut = _best_cut(starts, limit)
        if cut is None or cut == best:
            break
        again = _exact_peak(starts, cut)
        if again < peak:
            peak, best = again, cut
    return Estimate(caller + peak, macs, tuple(first for first, _, _ in best))


_Cut = list[tuple[int, int, int]]  # (first operator, operator behind the last, bytes)


def _best_cut(starts: list[_Growing], limit: int) -> _Cut | None:
    """The cut of the smallest peak among the stages whose floor is within ``limit``; None when it is above."""
    n = len(starts)
    best = [0] + [NO_LIMIT] * n
    source: list[tuple[int, int]] = [(0, 0)] * (n + 1)
    alone = [start.peak(start.first + 1) or 0 for start in starts]
    rest = list(accumulate(reversed(alone), max))[::-1]  # worst of an operator and all behind it, one by one
    for i, start in enumerate(starts):
        if best[i] > limit:
            continue
        # Where nothing behind is worse than what came before, one by one will do.
        reach = 1 if rest[i] <= best[i] else _REACH
        for j in range(i + 1, min(n, i + reach) + 1):
            if start.floor(j) > limit:
                break
            bytes_ = start.peak(j)
            if bytes_ is None:
                break
            if max(best[i], bytes_) < best[j]:
                best[j] = max(best[i], bytes_)
                source[j] = (i, bytes_)
            if start.settled(j) > limit:
                break
    if best[n] > limit:
        return None
    cut, j = [], n
    while j:
        i, bytes_ = source[j]
        cut.append((i, j, bytes_))
        j = i
    return cut[::-1]


def _exact_peak(starts: list[_Growing], cut: _Cut) -> int:
    """The peak of the stages in ``cut``, the worst priced exactly until none that is left could be worse."""
    peak = 0
    for first, behind, bytes_ in sorted(cut, key=lambda x: -x[2]):
        if bytes_ <= peak:
            break
        peak = max(peak, starts[first].exact(behind))
    return peak


class _Growing:
    """Stages that begin at one operator, one operator longer at a time.

    Attributes
    ----------
    first : the operator
    """

    def __init__(self, graph: Graph, first: int) -> None:
        self.first = first
        self._graph = graph
        self._peaks: list[int] = []
        self._least: list[int] = []
        self._exact: set[int] = set()
        self._floors: list[int] = []
        self._passing: list[int] = []
        self._inside = 0
        self._over = False  # no longer stage can run
        self._clock: dict[int, tuple[int, int]] = {}  # operator -> delay, period
        self._rates: dict[int, tuple[int, int]] = {}  # tensor -> rows per tick, as a fraction
        # Arrays over ticks; the last tick is behind everything that happens, so they are lengthened by repeating it.
        self._ticks: IntArray = np.zeros(0, np.int64)
        self._settled: IntArray = np.zeros(1, np.int64)  # bytes of what no later operator changes
        self._scratch: IntArray = np.zeros(1, np.int64)
        self._needed: dict[int, IntArray] = {}  # tensor -> first row that readers so far still need
        self._newest: dict[int, IntArray] = {}  # tensor -> rows made
        self._saved: list[tuple[int, int, IntArray]] = []  # input, output: bytes counted twice where one overwrites

    def floor(self, end: int) -> int:
        """Bytes that operators ``first..end-1`` need at least as one stage."""
        graph = self._graph
        while self.first + len(self._floors) < end:
            op = self.first + len(self._floors)
            if op > self.first:
                inner = all(c <= op for t in graph.ops[op - 1].outputs for c in graph.consumers[t])
                self._inside += least_bytes(graph, op - 1) if inner else 0
            passing = passing_tensors(graph, self.first, frozenset(range(self.first, op + 1)))
            self._passing.append(sum(graph.tensors[t].size_bytes for t in passing))
            self._floors.append(self._inside + self._passing[-1])
        return self._floors[end - self.first - 1]

    def peak(self, end: int) -> int | None:
        """Bytes of operators ``first..end-1`` as one stage; None when they cannot share one."""
        while self.first + len(self._peaks) < end and not self._over:
            self._grow(self.first + len(self._peaks))
        return self._peaks[end - self.first - 1] if end - self.first <= len(self._peaks) else None

    def exact(self, end: int) -> int:
        """The same as ``peak``, slot by slot."""
        key = end - self.first - 1
        if key not in self._exact:
            self._exact.add(key)
            option = price(self._graph, Stage(tuple(Group((op,)) for op in range(self.first, end))))
            assert option is not None
            self._peaks[key] = option.peak_bytes
        return self._peaks[key]

    def settled(self, end: int) -> int:
        """Bytes at the worst step that no further operator takes away; ``peak(end)`` has been asked for."""
        return self._least[end - self.first - 1]

    def _grow(self, op: int) -> None:
        x = self._graph.ops[op]
        timing = None if x.kind is Kind.WHOLE else self._timing(op)
        if timing is None:
            self._over = True
            alone = price(self._graph, Stage((Group((op,)),))) if op == self.first else None
            self._peaks += [alone.peak_bytes] if alone else []
            self._least += [0] if alone else []
            return
        self._clock[op] = timing
        self._lengthen(timing[0] + timing[1] * (self._graph.op_rows(op) - 1) + 2)
        self._run(op, *timing)
        self.floor(op + 1)
        outside = self._open(op + 1)  # first, because it settles what is not seen outside any more
        total = outside + self._settled + self._scratch
        self._peaks.append(int(total.max()) + self._passing[op - self.first])
        self._least.append(int(self._settled.max()))

    def _timing(self, op: int) -> tuple[int, int] | None:
        """Delay and period; None where they do not agree with those of the stage so far."""
        x = self._graph.ops[op]
        period, delay = None, 0
        for t, w in zip(x.inputs, x.rows, strict=True):
            if t not in self._rates:
                continue
            rows, ticks = self._rates[t]
            wanted, rest = divmod(w.stride * ticks, rows)
            if rest or period not in (None, wanted):
                return None
            period = wanted
            producer = self._graph.producer.get(t, -1)
            if producer in self._clock:
                if self._graph.ops[producer].kind is Kind.REDUCE:
                    return None
                before, every = self._clock[producer]
                delay = max(delay, before + every * (w.extent - w.before - 1))
        if period is None:
            if op != self.first:
                return None
            period = 1
        for t, w in zip(x.inputs, x.rows, strict=True):
            self._rates.setdefault(t, (w.stride, period))
        self._rates[x.outputs[0]] = (1, period)
        return delay, period

    def _lengthen(self, ticks: int) -> None:
        more = ticks - len(self._ticks)
        if more <= 0:
            return
        more += _ROOM

        def longer(a: IntArray) -> IntArray:
            return np.concatenate([a, np.full(more + len(self._ticks) - len(a), a[-1])])

        self._settled, self._scratch = longer(self._settled), longer(self._scratch)
        self._needed = {t: longer(a) for t, a in self._needed.items()}
        self._newest = {t: longer(a) for t, a in self._newest.items()}
        self._saved = [(t, z, longer(a)) for t, z, a in self._saved]
        self._ticks = np.arange(len(self._ticks) + more, dtype=np.int64)

    def _run(self, op: int, delay: int, period: int) -> None:
        x, graph = self._graph.ops[op], self._graph
        rows, z = graph.op_rows(op), x.outputs[0]
        since = self._ticks - delay
        y = since if period == 1 else since // period
        on_time = y * period == since
        firing = np.maximum(np.where(on_time, y, y + 1), 0)  # this tick's or the next
        made = np.minimum(np.maximum(y + 1, 0), rows)
        for t, w in zip(x.inputs, x.rows, strict=True):
            row = np.minimum(np.maximum(firing * w.stride - w.before, 0), graph.tensors[t].rows)
            row[firing >= rows] = NEVER
            self._needed[t] = np.minimum(self._needed[t], row) if t in self._needed else row
        fires = on_time & (y >= 0) & (y < rows)
        if x.scratch_bytes:
            self._scratch = np.maximum(self._scratch, fires * x.scratch_bytes)
        if x.kind is Kind.REDUCE:
            self._settled = self._settled + ((y >= 0) & (firing < rows)) * x.accumulator_bytes
            made = np.where(made == rows, graph.tensors[z].rows, 0)
        self._newest[z] = made
        for t in x.replaceable:
            if t not in self._newest and graph.may_share(t, z):
                self._saved.append((t, z, fires * graph.row_sizes[t]))

    def _open(self, end: int) -> IntArray:
        """Bytes of tensors that are seen outside; those that are not any more are settled."""
        graph, total = self._graph, np.zeros_like(self._ticks)
        for t in dict.fromkeys([*self._newest, *self._needed]):
            x, made = graph.tensors[t], self._newest.get(t)
            used_later = graph.last_use(t) >= end
            if x.home is Home.CALLER:
                continue
            if made is None:
                if used_later or x.planes > 1:
                    total += x.size_bytes
                else:
                    self._settled += np.maximum(x.rows - self._needed.pop(t), 0) * graph.row_sizes[t]
            elif used_later or t not in self._needed:
                total += made * graph.row_sizes[t]
            else:
                live = np.maximum(self._newest.pop(t) - self._needed.pop(t), 0)
                most = min(max(1, int(live.max())), x.rows)
                self._settled += ((live > 0) * most if x.beside is None else live) * graph.row_sizes[t]
        for t, z, saved in self._saved:
            if z in self._newest and t not in self._needed:
                total -= saved
        return total
