"""In which order to run a network's operators: the one whose worst moment needs the fewest bytes.

Orders are judged layer by layer. A set of operators that have run (closed under "needs") determines which tensors are
live, so orders are paths through such sets, and the best one is a path whose worst step is smallest: best-first search
with every set visited once. It is exact when it ends within its steps; otherwise a beam search answers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tvm_tiny.planner.graph import Graph, Home, Kind, reorder
from tvm_tiny.planner.options import Widths
from tvm_tiny.planner.search import Cuts, best_peak

STEPS = 60_000  # operators tried in the exact search, about a second
_BEAM_STEPS = 120_000  # in the beam search
_COMPARED = 200  # operators; orders of larger networks are not held against each other as stages


@dataclass(frozen=True)
class Order:
    """An order of a graph's operators.

    Parameters
    ----------
    ops : operator indices
    peak_bytes : most bytes live while they run one after the other, as if blocks could be packed without gaps
    proved : no order has a smaller ``peak_bytes``
    """

    ops: tuple[int, ...]
    peak_bytes: int
    proved: bool

    @property
    def changed(self) -> bool:
        """Whether it is another order than the graph's own."""
        return self.ops != tuple(range(len(self.ops)))


@dataclass(frozen=True)
class _State:
    """Operators that have run, as a bit set, and what follows from it; ``last`` is the newest of them."""

    done: int
    ready: tuple[int, ...]
    live: int
    peak: int
    last: int = -1
    before: _State | None = None

    def path(self) -> tuple[int, ...]:
        """Operators in the order in which they ran."""
        ops: list[int] = []
        state: _State | None = self
        while state is not None and state.last >= 0:
            ops.append(state.last)
            state = state.before
        return tuple(reversed(ops))


def best_order(graph: Graph, segments: Widths | None = None, *, steps: int = STEPS) -> Order:
    """The order to plan ``graph`` in: its own where no other is better.

    Parameters
    ----------
    graph : without views; operators without inputs run first
    segments : widths of column segments that stages may have, none for whole rows: orders that are better layer by
        layer are held against the graph's own by the peaks of their stages. None: layers run one after the other
    steps : operators that the exact search may try
    """
    moves = _Moves(graph)
    given = moves.given()
    own = Order(given.path(), given.peak, given.peak == moves.bound)
    if own.proved:
        return own
    exact = _best_first(moves, given.peak, steps)
    proved = exact is not None
    found = exact or _beam(moves)
    if found.peak >= given.peak:
        return Order(own.ops, own.peak_bytes, proved)
    best = Order(found.path(), found.peak, proved)
    if segments is None or len(graph.ops) > _COMPARED:
        return best
    stages = {o: best_peak(Cuts(reorder(graph, o.ops), segments))[-1] for o in (own, best)}
    return min((own, best), key=lambda o: stages[o])


def peak_of(graph: Graph) -> int:
    """Most bytes live while the operators of ``graph`` run one after the other, in its own order."""
    return _Moves(graph).given().peak


class _Moves:
    """What running an operator does to the bytes that are live.

    Attributes
    ----------
    bound : no order has a smaller peak
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        n = len(graph.ops)
        self.everything = (1 << n) - 1
        self._size = [0 if t.home is Home.CALLER else t.size_bytes for t in graph.tensors]
        outputs = set(graph.outputs)
        # Bits that never are set stand for readers outside.
        self._readers = [
            sum(1 << c for c in graph.consumers[t]) | (1 << n if t in outputs else 0) for t in range(len(graph.tensors))
        ]
        self._inputs = [tuple(dict.fromkeys(op.inputs)) for op in graph.ops]
        self._needs = [sum({1 << graph.producer[t] for t in i if t in graph.producer}) for i in self._inputs]
        self._made = [sum(self._size[t] for t in op.outputs if self._readers[t]) for op in graph.ops]
        self._next = [tuple(sorted({c for t in op.outputs for c in graph.consumers[t]})) for op in graph.ops]
        self._read = [sum(self._size[t] for t in i) for i in self._inputs]
        self._own: dict[tuple[int, tuple[int, ...]], int] = {}
        self.bound = max((self._bytes(op, self._inputs_not_results(op)) for op in range(n)), default=0)

    def start(self) -> _State:
        """Nothing has run but operators without inputs, which deliver the model's."""
        graph = self.graph
        live = sum(self._size[t] for t, x in enumerate(graph.tensors) if x.home is Home.INPUT and self._readers[t])
        ready = tuple(op for op in range(len(graph.ops)) if not self._needs[op])
        state = _State(0, ready, live, self.bound)
        for op in ready:
            if not graph.ops[op].inputs:
                state = self.run(state, op)
        return state

    def given(self) -> _State:
        """The graph's own order."""
        state = self.start()
        for op in range(len(self.graph.ops)):
            if not state.done >> op & 1:
                state = self.run(state, op)
        return state

    def run(self, state: _State, op: int) -> _State:
        """``state`` behind ``op``, which must be ready."""
        done = state.done | 1 << op
        gone = tuple(t for t in self._inputs[op] if not self._readers[t] & ~done)
        peak = state.live - self._read[op] + self._bytes(op, gone)
        live = state.live - sum(self._size[t] for t in gone) + self._made[op]
        new = tuple(c for c in self._next[op] if not self._needs[c] & ~done)
        ready = tuple(sorted((*(r for r in state.ready if r != op), *new)))
        return _State(done, ready, live, max(peak, state.peak), op, state)

    def run_free(self, state: _State) -> tuple[_State, int]:
        """``state`` behind all operators that raise neither the peak nor the live bytes; and how many were tried.

        Running such an operator at once loses nothing: moved to the front of any continuation, it leaves no more bytes
        live for the others, and no input dies later than it did.
        """
        tried = 0
        found = True
        while found:
            found = False
            for op in state.ready:
                after = self.run(state, op)
                tried += 1
                if after.peak == state.peak and after.live <= state.live:
                    state, found = after, True
                    break
        return state, tried

    def _inputs_not_results(self, op: int) -> tuple[int, ...]:
        """Inputs that die with ``op`` at best."""
        outside = 1 << len(self.graph.ops)
        return tuple(t for t in self._inputs[op] if not self._readers[t] & outside)

    def _bytes(self, op: int, dying: tuple[int, ...]) -> int:
        """Most bytes of inputs, outputs and working memory of ``op`` at once, if it is the last to read ``dying``."""
        key = (op, dying)
        if key not in self._own:
            self._own[key] = int(max(_bytes_by_row(self.graph, op, set(dying))))
        return self._own[key]


def _bytes_by_row(graph: Graph, op: int, dying: set[int]) -> np.ndarray:
    """Bytes of inputs, outputs and working memory while each row is made; rows that are done with are free."""
    x = graph.ops[op]
    y = np.arange(graph.op_rows(op), dtype=np.int64)
    total = np.full(y.shape, x.scratch_bytes + x.accumulator_bytes, np.int64)
    for t in dict.fromkeys(x.inputs):
        tensor = graph.tensors[t]
        if tensor.home is Home.CALLER:
            continue
        if t not in dying or x.kind is Kind.WHOLE:
            total += tensor.size_bytes
            continue
        windows = [w for source, w in zip(x.inputs, x.rows, strict=True) if source == t]
        needed = np.min([y * w.stride - w.before for w in windows], axis=0)
        total += (tensor.rows - np.clip(needed, 0, tensor.rows)) * tensor.row_bytes
    for t in x.outputs:
        tensor = graph.tensors[t]
        if tensor.home is Home.CALLER:
            continue
        if x.kind is Kind.ROWS:
            total += (y + 1) * tensor.row_bytes
        else:
            total[-1] += tensor.size_bytes
    if _in_place(graph, op, dying):
        total -= graph.tensors[x.outputs[0]].row_bytes
    return total


def _in_place(graph: Graph, op: int, dying: set[int]) -> bool:
    """Whether the result can lie on an input."""
    x = graph.ops[op]
    return any(t in dying and graph.may_share(t, x.outputs[0]) for t in x.replaceable)


def _best_first(moves: _Moves, limit: int, steps: int) -> _State | None:
    """The order of the smallest peak; None where that takes more steps. Orders above ``limit`` are not looked at."""
    start, tried = moves.run_free(moves.start())
    queue = [(start.peak, 0, 0, start)]
    seen = {start.done: start.peak}
    number = 0
    while queue and tried <= steps:
        _, _, _, state = heapq.heappop(queue)
        if state.done == moves.everything:
            return state
        if seen[state.done] < state.peak:
            continue
        for op in state.ready:
            after, more = moves.run_free(moves.run(state, op))
            tried += more + 1
            if after.peak <= limit and after.peak < seen.get(after.done, limit + 1):
                seen[after.done] = after.peak
                number += 1
                heapq.heappush(queue, (after.peak, -after.done.bit_count(), number, after))
    return None


def _beam(moves: _Moves) -> _State:
    """A good order: of all sets of the same size only the best are followed."""
    n = len(moves.graph.ops)
    width = max(4, min(256, _BEAM_STEPS // max(1, n * 8)))
    states = [moves.start()]
    while states[0].done != moves.everything:
        after = {s.done: s for s in sorted(_followers(moves, states), key=_rank, reverse=True)}
        states = sorted(after.values(), key=_rank)[:width]
    return states[0]


def _followers(moves: _Moves, states: list[_State]) -> Iterator[_State]:
    for state in states:
        for op in state.ready:
            yield moves.run(state, op)


def _rank(state: _State) -> tuple[int, int, int]:
    return state.peak, state.live, state.done
