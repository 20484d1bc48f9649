"""Several memories: the blocks that are touched most, byte for byte, stay in the fast one, the others spill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tvm_tiny.planner.assemble import Placement
from tvm_tiny.planner.buffers import Key, is_full
from tvm_tiny.planner.graph import Graph, Kind
from tvm_tiny.planner.liveness import executed_rows
from tvm_tiny.planner.offsets import ALIGNMENT, Problem, align_up, lower_bound, lowest_free, place, restrict
from tvm_tiny.planner.plan import Arena, Memory
from tvm_tiny.planner.program import Program
from tvm_tiny.planner.schedule import GroupSchedule, Run, schedule_stage

_TRIES = 32  # times that all blocks of a memory are placed anew to make room for one more
_QUICK = 4  # attempts of hill climbing in each

Unit = tuple[int, ...]  # indices of blocks that have to be in the same memory


@dataclass(frozen=True)
class _Filled:
    """Blocks of one memory, and their offsets from its start."""

    blocks: list[int]
    offsets: list[int]
    bytes: int


def distribute(graph: Graph, placements: Sequence[Placement], ways: Sequence[Sequence[Memory]]) -> Placement:
    """Give every block a memory.

    Where all fits the first memory of a way, it is one arena there. Otherwise blocks go by how often each of their
    bytes is touched, the most touched first, to the first memory in which there is room at all times they are live.

    Parameters
    ----------
    placements : to choose from, the best first; a later one is taken where it fits a way that those before it do not
    ways : to divide the RAM into memories, each in order of preference; the first that everything fits is taken. Where
        nothing fits, the smallest placement is one arena in the largest memory of the last way, which is then too small
    """
    for way in ways:
        for placement in placements:
            if placement.arena <= way[0].size_bytes:
                return replace(placement, arenas=(Arena(way[0], 0, placement.arena),))
            found = _split(graph, placement, way) if len(way) > 1 else None
            if found:
                return found
    if not ways:
        return placements[0]
    smallest = min(placements, key=lambda p: p.arena)
    return replace(smallest, arenas=(Arena(max(ways[-1], key=lambda m: m.size_bytes), 0, smallest.arena),))


def _split(graph: Graph, placement: Placement, way: Sequence[Memory]) -> Placement | None:
    """The first of several distributions that fits; None where none does."""
    keys = [b.key for b in placement.buffers]
    by_key = touched_bytes(graph, placement.program)
    touched = [sum(by_key.get(x.key, 0) for _, x in b.pieces()) for b in placement.buffers]
    units = _units(keys)
    size = {u: sum(placement.problem.sizes[i] for i in u) for u in units}
    benefit = {u: sum(touched[i] for i in u) for u in units}
    # What spills has to fit as well: where the best blocks leave too much over, larger or smaller ones are kept.
    orders = (
        lambda u: -benefit[u] / max(1, size[u]),
        lambda u: -benefit[u],
        lambda u: -size[u],
        lambda u: size[u],
    )
    trials = (_fill(placement, sorted(units, key=order), way) for order in orders)
    best = next((t for t in trials if t is not None), None)
    if best is None:
        return None
    offsets = [0] * len(keys)
    arenas, start = [], 0
    for memory, filled in zip(way, best, strict=True):
        for i, offset in zip(filled.blocks, filled.offsets, strict=True):
            offsets[i] = start + offset
        if filled.blocks:
            arenas.append(Arena(memory, start, filled.bytes))
            start += filled.bytes
    bound = min(start, align_up(placement.live_bound))
    return replace(placement, offsets=tuple(offsets), arenas=tuple(arenas), bound=bound)


def _fill(placement: Placement, order: Sequence[Unit], way: Sequence[Memory]) -> list[_Filled] | None:
    """One memory after the other takes what there is room for; None where something is left over."""
    filled: list[_Filled] = []
    rest = list(order)
    for memory in way:
        filled.append(_fill_one(placement, rest, memory.size_bytes // ALIGNMENT * ALIGNMENT))
        inside = set(filled[-1].blocks)
        rest = [u for u in rest if u[0] not in inside]
    return None if rest else filled


def _fill_one(placement: Placement, order: Sequence[Unit], limit: int) -> _Filled:
    problem = placement.problem
    offsets: dict[int, int] = {}
    tries = 0
    for unit in order:
        trial = dict(offsets)
        for i in unit:
            trial[i] = lowest_free(problem, trial, i)
        if max(trial[i] + problem.sizes[i] for i in unit) <= limit:
            offsets = trial
            continue
        members = [*offsets, *unit]
        tries += 1
        if tries <= _TRIES and _live(placement, members) <= limit:
            anew = _place(problem, members, limit, _QUICK)
            offsets = anew if _top(problem, anew) <= limit else offsets
    members = sorted(offsets)
    anew = _place(problem, members, _live(placement, members), None)
    if _top(problem, anew) <= _top(problem, offsets):
        offsets = anew
    return _Filled(members, [offsets[i] for i in members], _top(problem, offsets))


def _live(placement: Placement, members: Sequence[int]) -> int:
    return lower_bound([placement.buffers[i] for i in members])


def _place(problem: Problem, members: Sequence[int], bound: int, attempts: int | None) -> dict[int, int]:
    part = restrict(problem, members)
    found = place(part, bound) if attempts is None else place(part, bound, attempts=attempts)
    return dict(zip(members, found, strict=True))


def _top(problem: Problem, offsets: dict[int, int]) -> int:
    return max((o + problem.sizes[i] for i, o in offsets.items()), default=0)


def _units(keys: Sequence[Key]) -> list[Unit]:
    """Kept and new rows of a tensor belong together: kernels address both from one pointer."""
    where = {key: i for i, key in enumerate(keys)}
    units: list[Unit] = []
    for i, (role, tensor) in enumerate(keys):
        if role == "staging":
            kept = where.get(("kept", tensor))
            units.append((i,) if kept is None else (i, kept))
        elif role != "kept":
            units.append((i,))
    return units


def touched_bytes(graph: Graph, program: Program) -> dict[Key, int]:
    """Bytes that calls read and write in every block, in one inference.

    A row that several windows cover counts once per window; scratch and sums count twice per call, once written and
    once read. What stays inside a group counts for its staging buffer.
    """
    touched: dict[Key, int] = {}
    for stage in program.stages:
        for group in schedule_stage(graph, stage).groups:
            staged = {s.tensor for s in group.staged}
            for run in group.runs:
                for role_or_tensor, count in _accesses(graph, group, run):
                    if isinstance(role_or_tensor, int):
                        t = role_or_tensor
                        key: Key = ("tensor" if is_full(graph, stage.ops, t) else "ring", t)
                        key = ("staging", t) if t in staged else key
                    else:
                        key = role_or_tensor
                    touched[key] = touched.get(key, 0) + count
    return touched


def _accesses(graph: Graph, group: GroupSchedule, run: Run) -> Iterator[tuple[int | Key, int]]:
    """(tensor or key of working memory, bytes touched) for one operator in all firings of its group."""
    op, rows = graph.ops[run.op], executed_rows(group, run)
    total = graph.op_rows(run.op)
    for position, t in enumerate(op.inputs):
        x = graph.tensors[t]
        taps = (
            1 if op.kind is Kind.REDUCE else min(op.rows[position].kernel, x.rows) if op.kind is Kind.ROWS else x.rows
        )
        yield t, rows * taps * x.row_bytes
    for t in op.outputs:
        yield t, graph.tensors[t].size_bytes * (rows if op.kind is Kind.ROWS else total) // total
    calls = rows * (group.last_segment - group.first_segment + 1)
    yield ("scratch", group.runs[-1].op), 2 * calls * op.scratch(len(group.runs) > 1)
    yield ("accumulator", run.op), 2 * rows * op.accumulator_bytes
