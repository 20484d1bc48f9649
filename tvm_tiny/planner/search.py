"""Where to cut a network into stages: dynamic programming over all runs of consecutive operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tvm_tiny.planner.buffers import passing_tensors
from tvm_tiny.planner.graph import Graph, Kind
from tvm_tiny.planner.options import SEGMENTS, Option, Widths, make_stage, price, refine
from tvm_tiny.planner.program import Program, Stage

MAX_STAGE = 48  # operators; less for networks of more than a hundred
_MIN_STAGE = 12
_SHORT = 8  # operators of a stage that is priced only to keep other stages low
_SPANS = 6000  # stages looked at, about
NO_LIMIT = 1 << 60  # bytes
_EXCESS_COST = 1e15


class Cuts:
    """Stages priced so far, by their first operator and the one behind their last.

    Parameters
    ----------
    segments : widths of column segments to try beside whole rows, descending
    pinned : (first operator, the one behind the last) -> the only ways to run these, as one stage
    """

    def __init__(
        self,
        graph: Graph,
        segments: Widths = SEGMENTS,
        pinned: Mapping[tuple[int, int], Sequence[Option]] | None = None,
    ) -> None:
        self.graph = graph
        self.segments = segments
        self._ways = (0, *segments)
        self._ready_made: dict[tuple[int, int, int], Option | None] = {}
        self._refined: dict[tuple[int, int], list[Option]] = {}
        self._same: dict[Stage, Option | None] = {}
        self._slim = [least_bytes(graph, op) for op in range(len(graph.ops))]
        self._passing: dict[tuple[int, int], int] = {}
        self._reach = max(_MIN_STAGE, min(MAX_STAGE, _SPANS // max(1, len(graph.ops))))
        self._pinned = dict(pinned or {})
        self._refined.update((span, list(ways)) for span, ways in self._pinned.items())

    def option(self, start: int, end: int, segment: int) -> Option | None:
        """Operators ``start..end-1`` as one stage in a ready-made way."""
        if (start, end) in self._pinned:
            return None
        key = (start, end, segment)
        if key not in self._ready_made:
            stage = make_stage(self.graph, range(start, end), segment)
            if stage not in self._same:
                self._same[stage] = price(self.graph, stage)
            self._ready_made[key] = self._same[stage]
        return self._ready_made[key]

    def smallest(self, start: int, end: int) -> int:
        """Bytes of the way that is expected to need least."""
        best = self.option(start, end, self._ways[-1])
        found = [o.peak_bytes for o in self._refined.get((start, end), [])]
        return min(found + ([best.peak_bytes] if best else []), default=NO_LIMIT)

    def within(self, start: int, end: int, peak: int, extra_macs: int) -> Option | None:
        """The way of least overhead that stays within ``peak`` bytes."""
        fits = [o for o in self._refined.get((start, end), []) if o.peak_bytes <= peak and o.extra_macs <= extra_macs]
        best = self.option(start, end, self._ways[-1])
        if fits or (best and best.peak_bytes <= peak):
            for segment in self._ways:
                option = self.option(start, end, segment)
                if option and option.peak_bytes <= peak:
                    return option
        return min(fits, key=_cost, default=None)

    def priced(self, start: int, end: int) -> bool:
        """Whether anything is known about this stage."""
        return (start, end, self._ways[-1]) in self._ready_made or (start, end) in self._pinned

    def spans(self, end: int) -> Iterator[tuple[int, int]]:
        """Where a stage before ``end`` may start, and bytes it needs at least, nearest first."""
        graph, inside, first = self.graph, 0, 0
        for start, behind in self._pinned:
            if behind == end:
                yield start, self._passing_bytes(start, end)
            if start < end <= behind:
                return
            first = max(first, behind) if behind < end else first
        for start in range(end - 1, max(first - 1, end - 1 - self._reach), -1):
            if start < end - 1:
                if Kind.WHOLE in (graph.ops[start].kind, graph.ops[end - 1].kind):
                    return
                inner = all(c < end for t in graph.ops[start].outputs for c in graph.consumers[t])
                inside += self._slim[start] if inner else 0
            yield start, inside + self._passing_bytes(start, end)

    def add(self, option: Option) -> None:
        """Remember a refined stage."""
        key = (min(option.stage.ops), max(option.stage.ops) + 1)
        self._refined.setdefault(key, []).append(option)

    def _passing_bytes(self, start: int, end: int) -> int:
        if (start, end) not in self._passing:
            tensors = passing_tensors(self.graph, start, frozenset(range(start, end)))
            self._passing[start, end] = sum(self.graph.tensors[t].size_bytes for t in tensors)
        return self._passing[start, end]


def best_peak(cuts: Cuts) -> list[int]:
    """Smallest possible peak of operators ``0..j-1``, for each ``j``: stages in a row, the worst of them counts."""
    n = len(cuts.graph.ops)
    best = [0] + [NO_LIMIT] * n
    for j in range(1, n + 1):
        for i, floor in cuts.spans(j):
            if floor > best[j]:
                break
            if max(best[i], floor) < best[j]:
                best[j] = min(best[j], max(best[i], cuts.smallest(i, j)))
    return best


def cheapest(cuts: Cuts, peak: int, extra_macs: int = 0, wanted: int = NO_LIMIT) -> list[Option] | None:
    """Stages with the least overhead among those whose every stage stays within ``peak`` bytes; None if there are none.

    Parameters
    ----------
    wanted : as few stages as possible exceed this; slack elsewhere helps placing the blocks
    """
    n = len(cuts.graph.ops)
    near = _SHORT if wanted < peak else 0  # operators of a stage that is priced for this alone
    best: list[tuple[float, tuple[Option, ...]] | None] = [(0.0, ())] + [None] * n
    for j in range(1, n + 1):
        for i, floor in cuts.spans(j):
            before, option, high = best[i], None, False
            if floor > peak:
                break
            now = best[j]
            if before and now and before[0] + j - i - 1 >= now[0]:
                continue  # fusing costs at least one unit per operator: no gain to be had here
            if before and floor <= wanted and (j - i <= near or cuts.priced(i, j)):
                option = cuts.within(i, j, min(wanted, peak), extra_macs)
            if before and option is None and wanted < peak and cuts.priced(i, j):
                option, high = cuts.within(i, j, peak, extra_macs), True
            if before and option:
                cost = before[0] + _cost(option) + _EXCESS_COST * high
                if now is None or cost < now[0]:
                    best[j] = (cost, (*before[1], option))
    last = best[n]
    if last is None or sum(o.extra_macs for o in last[1]) > extra_macs:
        return None
    return list(last[1])


def improve(cuts: Cuts, *, extra_macs: int = 0, rounds: int = 8, neighbours: int = 200) -> int:
    """Refine the worst stage and cut anew, until that does not help; the peak then reached, in bytes.

    Parameters
    ----------
    extra_macs : recomputation allowed in the whole network
    rounds : stages refined, at most
    neighbours : ways of running a stage that are looked at, at most
    """
    refined: set[tuple[int, int]] = set()
    peak = best_peak(cuts)[-1]
    for _ in range(rounds):
        stages = cheapest(cuts, peak, extra_macs)
        while stages is None:
            # The stages of the smallest peak recompute too much together: allow more bytes.
            peak += max(64, peak // 200)
            stages = cheapest(cuts, peak, extra_macs)
        worst = max(stages, key=lambda o: o.peak_bytes)
        start, end = min(worst.stage.ops), max(worst.stage.ops) + 1
        if (start, end) in refined:
            break
        refined.add((start, end))
        spare = extra_macs - sum(o.extra_macs for o in stages if o is not worst)
        starts = [o for o in (cuts.option(start, end, segment) for segment in (0, *cuts.segments)) if o]
        for option in sorted(starts, key=lambda o: o.peak_bytes)[:2]:
            for better in refine(cuts.graph, option, segments=cuts.segments, extra_macs=spare, limit=neighbours):
                cuts.add(better)
        peak = best_peak(cuts)[-1]
    while cheapest(cuts, peak, extra_macs) is None:
        peak += max(64, peak // 200)
    return peak


def to_program(stages: list[Option]) -> Program:
    """The program behind a list of priced stages."""
    return Program(tuple(o.stage for o in stages))


def _cost(option: Option) -> float:
    # Fusing without need makes profiles harder to read: one unit per operator beyond the first.
    return option.overhead + option.extra_macs + len(option.stage.ops) - 1


def least_bytes(graph: Graph, op: int) -> int:
    """Rows that any stage keeps of an operator's output, if all readers are inside."""
    if graph.ops[op].kind is not Kind.ROWS:
        return 0
    t = graph.ops[op].outputs[0]
    rows = [
        min(w.extent - w.stride, graph.tensors[t].rows - 1)
        for c in graph.consumers[t]
        for x, w in zip(graph.ops[c].inputs, graph.ops[c].rows, strict=False)
        if x == t
    ]
    return max([0, *rows]) * graph.tensors[t].row_bytes
