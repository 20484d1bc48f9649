"""Tensors that are other tensors' bytes: reshapes, slices of bytes that follow each other, concatenations of such.

A view says at which distance its bytes lie from those of its inputs. Views that share a tensor make a *block*: all its
tensors lie at fixed distances from its first one, and none but those that an operator writes have bytes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window, as_whole

Geometry: TypeAlias = tuple[int, int, int, int]
Windows: TypeAlias = tuple[Window, Window]


def view_places(graph: Graph) -> list[tuple[int, int]]:
    """For every tensor where its bytes are: (first tensor of its block, bytes from the start of that one).

    Raises
    ------
    ValueError : as ``without_views``
    """
    return _all_views(graph).places()


def without_views(graph: Graph) -> Graph:
    """Let readers of a view read the bytes behind it; tensors keep their indices.

    Bytes shown by a view that the caller owns are the caller's. Where a view shows a part of a tensor, or several, its
    readers read all tensors it is made of, their windows shifted, and whole rows only; tensors of such a block are
    ``Tensor.beside`` each other. A row operator whose input then has other rows than it was written for becomes a WHOLE
    one: it can still run, only not row by row with its neighbours.

    Raises
    ------
    ValueError : a view joins tensors that have owners already, or wants a tensor in two places (the graph should have
        had a copy there)
    """
    blocks = _all_views(graph)
    tensors = list(graph.tensors)
    places = blocks.places()
    for t, x in enumerate(graph.tensors):
        if blocks.is_view(t) and x.home is not Home.ARENA:
            tensors[t] = replace(x, home=Home.ARENA)  # nobody touches it any more
            for root in blocks.shown(t):
                tensors[root] = replace(tensors[root], home=x.home)
        elif not blocks.is_view(t) and blocks.has_parts(t):
            tensors[t] = replace(tensors[t], beside=places[t])
    for t, (rows, columns, pixel_bytes, planes) in _geometries_by_readers(graph, blocks).items():
        tensors[t] = replace(tensors[t], rows=rows, columns=columns, pixel_bytes=pixel_bytes, planes=planes)
    ops = tuple(_without_views(graph, op, blocks, tensors) for op in graph.ops if op.kind is not Kind.VIEW)
    outputs = dict.fromkeys(root for t in graph.outputs for root in blocks.shown(t))
    return Graph(tuple(tensors), ops, tuple(outputs))


def choose_views(graph: Graph, estimate: Callable[[Graph], int], place: Callable[[Graph], int]) -> Graph:
    """Make views of those copies whose bytes can be in place already; the others stay copies for good.

    A slice keeps all that it shows a part of, and rolling buffers of copied rows may take less than whole tensors side
    by side. So views of single rows are held against none, and all views against the better of these.

    Parameters
    ----------
    graph : operators that could be views say so in ``Op.shows``
    estimate, place : bytes of a graph without views, the second with offsets
    """
    copies = with_views(graph, lambda op: False)
    single = with_views(graph, lambda op: graph.tensors[op.outputs[0]].rows == 1)
    every = with_views(graph, lambda op: True)
    best = single
    if _views(single) > _views(copies) and estimate(without_views(copies)) < estimate(without_views(single)):
        best = copies
    if _views(every) > _views(single) and place(without_views(every)) <= place(without_views(best)):
        best = every
    return best


def _views(graph: Graph) -> int:
    return sum(op.kind is Kind.VIEW for op in graph.ops)


def with_views(graph: Graph, wanted: Callable[[Op], bool]) -> Graph:
    """Make views of those copies that are wanted as such and can be; the others stay copies for good.

    A part of a concatenation that has to lie elsewhere, because it is in another one already, or twice in this one, or
    in a buffer of the caller, is copied by an operator of its own, whose output is a new tensor behind all others.
    """
    blocks = _Blocks(graph)
    for op in graph.ops:
        if op.kind is Kind.VIEW:
            blocks.join(op)
    ops: list[Op] = []
    for op in graph.ops:
        if op.kind is Kind.VIEW or not op.shows:
            ops.append(op)
        else:
            ops += (_as_view(blocks, op) if wanted(op) else []) or [replace(op, shows=())]
    return Graph(tuple(blocks.tensors), tuple(ops), graph.outputs)


def _as_view(blocks: _Blocks, op: Op) -> list[Op]:
    """A copy as a view, behind copies of those parts that have to lie elsewhere; nothing where all would."""
    view = Op(op.name, Kind.VIEW, op.inputs, op.outputs, shows=op.shows)
    if blocks.join(view):
        return [view]
    count, parts = len(blocks.tensors), [replace(blocks.tensors[t], home=Home.ARENA) for t in op.inputs]
    copies = [blocks.add(x) for x in parts]
    inputs = list(copies)
    for i, t in enumerate(op.inputs if len(parts) > 1 else ()):
        trial = (*inputs[:i], t, *inputs[i + 1 :])
        inputs[i] = t if blocks.can_join(replace(view, inputs=trial)) else copies[i]
    blocks.truncate(count)
    if inputs == copies:
        return []
    inputs = [
        t if inputs[i] == t else blocks.add(replace(parts[i], name=f"{parts[i].name} copy in {op.name}:{i}"))
        for i, t in enumerate(op.inputs)
    ]
    view = replace(view, inputs=tuple(inputs))
    blocks.join(view)
    made = [(t, c) for t, c in zip(op.inputs, inputs, strict=True) if t != c]
    return [*(Op(blocks.tensors[c].name, Kind.WHOLE, (t,), (c,)) for t, c in made), view]


def _all_views(graph: Graph) -> _Blocks:
    blocks = _Blocks(graph)
    for op in graph.ops:
        if op.kind is Kind.VIEW and not blocks.join(op):
            names = " and ".join(graph.tensors[t].name for t in dict.fromkeys((*op.inputs, *op.outputs)))
            raise ValueError(f"{op.name}: a view cannot join {names}")
    return blocks


class _Blocks:
    """Which tensors lie at which distance from each other."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = list(graph.tensors)
        self._outputs = frozenset(graph.outputs)
        self._views: set[int] = set()
        self._block = list(range(len(graph.tensors)))
        self._at = [0] * len(graph.tensors)
        self._members = {t: [t] for t in range(len(graph.tensors))}

    def join(self, op: Op) -> bool:
        """Let an operator's output be a view of its inputs; whether that is possible."""
        (out,), members = op.outputs, self._together(op)
        if not self._is_possible(members, out, bool(op.shows)):
            return False
        self._views.add(out)
        self._members[out] = [t for _, t in members]
        for start, t in members:
            self._block[t], self._at[t] = out, start
        return True

    def can_join(self, op: Op) -> bool:
        """Whether ``join`` would."""
        return self._is_possible(self._together(op), op.outputs[0], bool(op.shows))

    def add(self, tensor: Tensor) -> int:
        """A new tensor, in a block of its own."""
        t = len(self.tensors)
        self.tensors.append(tensor)
        self._block.append(t)
        self._at.append(0)
        self._members[t] = [t]
        return t

    def truncate(self, count: int) -> None:
        """Forget the tensors behind the first ``count``, which nothing was joined with."""
        del self.tensors[count:], self._block[count:], self._at[count:]

    def _together(self, op: Op) -> list[tuple[int, int]]:
        """(start behind that of the view, tensor) of the block it makes; none where a tensor would be in two places."""
        at: dict[int, int] = {}  # block -> where it begins behind the start of the view
        for t, start in zip((*op.outputs, *op.inputs), (0, *(op.shows or (0,))), strict=True):
            if at.setdefault(self._block[t], start - self._at[t]) != start - self._at[t]:
                return []
        return [(at[b] + self._at[t], t) for b in at for t in self._members[b]]

    def _is_possible(self, members: list[tuple[int, int]], view: int, copied: bool) -> bool:
        roots = sorted((start, t) for start, t in members if t != view and t not in self._views)
        roots = [(start, t) for start, t in roots if self.tensors[t].size_bytes]
        ends = [start + self.tensors[t].size_bytes for start, t in roots]
        if any(start < end for end, (start, _) in zip(ends, roots[1:], strict=False)):
            return False
        parts = len({self.tensors[t].size_bytes for _, t in members}) > 1
        if not members or (parts and any(self.tensors[t].planes > 1 for _, t in members)):
            return False
        # What could be a copy stays one where a result would be an input's bytes: somebody has to write results.
        if (parts or copied) and not self._keeps_results(members):
            return False
        # The caller's buffer has to hold all of the block, and bytes have one owner only.
        owned = [(start, t) for start, t in members if self.tensors[t].home is Home.CALLER]
        given = [t for _, t in roots if self.tensors[t].home is not Home.ARENA]
        if not owned:
            return view not in given and self.tensors[view].home is Home.ARENA
        first, owner = owned[0]
        behind = first + self.tensors[owner].size_bytes
        inside = not roots or (first <= roots[0][0] and max(ends) <= behind)
        return len(owned) == 1 and inside and given in ([], [owner])

    def _keeps_results(self, members: list[tuple[int, int]]) -> bool:
        """Whether each result of the graph has bytes that are neither another result's nor an input's."""
        spans = [(start, start + self.tensors[t].size_bytes, t) for start, t in members]
        results = [x for x in spans if x[2] in self._outputs]
        owners = results + [x for x in spans if self.tensors[x[2]].home is Home.INPUT]
        return not any(a[2] != b[2] and a[0] < b[1] and b[0] < a[1] for a in results for b in owners)

    def is_view(self, t: int) -> bool:
        """Whether a tensor has no bytes of its own."""
        return t in self._views

    def has_parts(self, t: int) -> bool:
        """Whether some tensor of the block is less than all of it."""
        members = self._members[self._block[t]]
        return len({(self._at[m], self.tensors[m].size_bytes) for m in members}) > 1

    def shown(self, t: int) -> list[int]:
        """Tensors with bytes of their own in which those of ``t`` are, by address."""
        if t not in self._views:
            return [t]
        lo = self._at[t]
        hi = lo + self.tensors[t].size_bytes
        roots = sorted((self._at[m], m) for m in self._members[self._block[t]] if m not in self._views)
        return [m for at, m in roots if len(roots) == 1 or (at < hi and lo < at + self.tensors[m].size_bytes)]

    def distance(self, t: int, other: int) -> int:
        """Bytes from the start of ``t`` to that of ``other``, of the same block."""
        return self._at[other] - self._at[t]

    def places(self) -> list[tuple[int, int]]:
        """As in ``view_places``."""
        first: dict[int, int] = {}
        for block in set(self._block):
            roots = [m for m in self._members[block] if m not in self._views]
            first[block] = min(roots, key=lambda m: (self.tensors[m].size_bytes == 0, self._at[m], m))
        return [(first[b], self.distance(first[b], t)) for t, b in enumerate(self._block)]


def _without_views(graph: Graph, op: Op, blocks: _Blocks, tensors: Sequence[Tensor]) -> Op:
    """An operator on the tensors behind its inputs."""
    inputs: list[int] = []
    windows: list[Windows] = []
    in_place: list[int] = []
    by_rows, parts = op.kind in (Kind.ROWS, Kind.REDUCE), False
    for position, t in enumerate(op.inputs):
        shown, given = blocks.shown(t), (op.rows[position], op.columns[position]) if op.rows else (Window(), Window())
        if len(shown) == 1 and graph.tensors[t].size_bytes == graph.tensors[shown[0]].size_bytes:
            by_rows = by_rows and _geometry(graph.tensors[t]) == _geometry(tensors[shown[0]])
            in_place += [len(inputs)] if position in op.in_place else []
            windows.append(given)
        else:
            parts = True
            shifted = [_shifted(given, graph.tensors[t], tensors[s], blocks.distance(t, s)) for s in shown]
            by_rows = by_rows and op.kind is Kind.ROWS and None not in shifted
            windows += [w or given for w in shifted]
        inputs += shown
    changed = replace(op, inputs=tuple(inputs), in_place=tuple(in_place), shows=())
    if op.kind is Kind.WHOLE:
        return changed
    rows, columns = (tuple(w[axis] for w in windows) for axis in range(2))
    changed = replace(changed, rows=rows, columns=columns, whole_rows_only=op.whole_rows_only or parts)
    return changed if by_rows else as_whole(changed)


def _shifted(windows: Windows, shown: Tensor, part: Tensor, distance: int) -> Windows | None:
    """Windows over ``shown`` as windows over a tensor whose bytes begin ``distance`` behind its start; None if none."""
    rows, columns = windows
    pixels = part.pixel_bytes == shown.pixel_bytes
    if pixels and part.columns == shown.columns and distance % shown.row_bytes == 0:
        return replace(rows, before=rows.before + distance // shown.row_bytes), columns
    if pixels and part.rows == shown.rows == 1 and distance % shown.pixel_bytes == 0:
        return rows, replace(columns, before=columns.before + distance // shown.pixel_bytes)
    return windows if part.rows == shown.rows == part.columns == shown.columns == 1 else None


def _geometries_by_readers(graph: Graph, blocks: _Blocks) -> dict[int, Geometry]:
    """Rows of tensors whose producer does not care about rows, as the operators behind a view go through them."""
    wanted: dict[int, set[Geometry]] = {}
    for op in graph.ops:
        if op.kind in (Kind.ROWS, Kind.REDUCE):
            for t in op.inputs:
                shown = blocks.shown(t)
                if [graph.tensors[root].size_bytes for root in shown] == [graph.tensors[t].size_bytes]:
                    wanted.setdefault(shown[0], set()).add(_geometry(graph.tensors[t]))
    free = {
        t
        for t, x in enumerate(graph.tensors)
        if x.planes == 1 and (t not in graph.producer or graph.ops[graph.producer[t]].kind is Kind.WHOLE)
    }
    return {t: next(iter(g)) for t, g in wanted.items() if t in free and len(g) == 1}


def _geometry(t: Tensor) -> Geometry:
    """Rows, columns, bytes of a pixel, planes."""
    return t.rows, t.columns, t.pixel_bytes, t.planes
