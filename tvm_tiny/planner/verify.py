"""Replays a plan call by call on a memory of labels, and proves that every byte read is the byte meant.

Every byte of every tensor has a number of its own. A call checks that the bytes of its windows lie where the plan's
addresses say, then writes the numbers of its output; scratch and accumulators write rubbish. Nothing of the search,
the schedule or the liveness code is used: loops, windows and addresses are worked out here from the plan's numbers
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.planner.graph import Graph, Home, Kind, Op
from tvm_tiny.planner.plan import Place, Plan, PlannedGroup, PlannedStage

RUBBISH = -1
EXTERNAL = -1  # stands for an address outside the arena


class PlanError(AssertionError):
    """The plan would corrupt memory: a bug of the planner, never the user's fault."""


@dataclass(frozen=True)
class Piece:
    """Bytes side by side: ``size`` bytes at ``address`` that should be, or become, the labels from ``label`` on."""

    address: int
    label: int
    size: int


@dataclass(frozen=True)
class Firing:
    """What the calls of one group's firing share."""

    group: PlannedGroup
    y: int
    q: int


def verify(plan: Plan) -> None:
    """Replay ``plan``.

    Raises
    ------
    PlanError : a call reads a byte that is not there (any more), writes over what it still reads, leaves the arena in
        which its tensor begins, the outputs are incomplete at the end, tensors that views show side by side are not, or
        an arena is larger than its memory
    """
    _Replay(plan).run()


class _Replay:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph: Graph = plan.graph
        sizes = [t.size_bytes for t in self.graph.tensors]
        self.base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.ramp: NDArray[np.int32] = np.arange(int(self.base[-1]) + 1, dtype=np.int32)
        self.arena: NDArray[np.int32] = np.full(plan.arena_bytes, RUBBISH, np.int32)
        self.outside: NDArray[np.int32] = np.full(
            int(self.base[-1]) + 1, RUBBISH, np.int32
        )  # callers' buffers, by label
        self.where: dict[int, Place] = {}  # places of tensors that outlive a stage
        self.sums: dict[int, int] = {}  # operator -> how many rows it has summed up
        self.summed: dict[int, NDArray[np.bool_]] = {}  # operator -> which pixels of its input

    def run(self) -> None:
        done: list[int] = []
        self._check_arenas()
        for t, x in enumerate(self.graph.tensors):
            if x.home is Home.CALLER and t not in self.graph.producer:
                self.outside[self.base[t] : self.base[t + 1]] = self.ramp[self.base[t] : self.base[t + 1]]
            if x.home is Home.INPUT:
                place = next((stage.places[t] for stage in self.plan.stages if t in stage.places), None)
                if place is not None:
                    self.where[t] = place
        self._load_inputs()
        self._check_views()
        for stage in self.plan.stages:
            self._stage(stage)
            done += [run.op for group in stage.groups for run in group.schedule.runs]
        if sorted(done) != list(range(len(self.graph.ops))):
            raise PlanError("the stages do not run every operator exactly once")
        for t in self.graph.outputs:
            for r in range(self.graph.tensors[t].rows):
                self._check(self._full(t, self.where.get(t), r, 0, self.graph.tensors[t].columns), "the caller", t)

    def _check_arenas(self) -> None:
        end = 0
        for a in self.plan.arenas:
            if a.start != end or a.size_bytes < 0:
                raise PlanError(f"the arena in {a.memory.name} begins at {a.start}, expected {end}")
            if a.size_bytes > a.memory.size_bytes:
                raise PlanError(f"{a.size_bytes} bytes in {a.memory.name}, which has {a.memory.size_bytes}")
            end += a.size_bytes
        names = [a.memory.name for a in self.plan.arenas]
        if end != self.plan.arena_bytes or len(set(names)) < len(names):
            raise PlanError("the arenas are not the plan's memory")

    def _check_views(self) -> None:
        """Readers of a view go through all of it from one pointer, row after row."""
        found = {t: place for stage in self.plan.stages for t, place in stage.places.items()}
        for t, x in enumerate(self.graph.tensors):
            if x.beside is None or x.home is Home.CALLER or t not in found:
                continue
            first, distance = x.beside
            place, start = found[t], found.get(first)
            if place.layout.modulus != 1 or place.layout.inner != x.row_bytes:
                raise PlanError(f"rows of {x.name} do not follow each other, as a view of it wants")
            if start is None or place.offset - start.offset != distance:
                raise PlanError(f"{x.name} is not {distance} bytes behind {self.graph.tensors[first].name}")
            self._piece(start.offset, place.offset, 0, x.size_bytes)

    def _arena_of(self, address: int) -> int:
        for i, a in enumerate(self.plan.arenas):
            if a.start <= address < a.start + a.size_bytes:
                return i
        return -1

    def _piece(self, block: int, address: int, label: int, size: int) -> Piece:
        """Bytes of the block that begins at ``block``: code reaches them from there, so they are in the same memory."""
        memory = self._arena_of(block)
        if size and not memory == self._arena_of(address) == self._arena_of(address + size - 1) != -1:
            raise PlanError(f"bytes at {address} are not in the memory of their block at {block}")
        return Piece(address, label, size)

    def _load_inputs(self) -> None:
        for t, place in self.where.items():
            for r in range(self.graph.tensors[t].rows):
                for piece in self._full(t, place, r, 0, self.graph.tensors[t].columns):
                    self._write(piece, self.graph.tensors[t].name)

    def _stage(self, stage: PlannedStage) -> None:
        for t, place in stage.places.items():
            if self.where.setdefault(t, place) != place:
                raise PlanError(f"{self.graph.tensors[t].name} moves between stages")
        for t in range(stage.begin, stage.end + 1):
            for group in stage.groups:
                g = group.schedule
                y, rest = divmod(t - g.delay, g.period)
                if rest == 0 and g.first <= y <= g.last:
                    for q in range(g.first_segment, g.last_segment + 1):
                        self._segment(stage, Firing(group, y, q))

    def _segment(self, stage: PlannedStage, firing: Firing) -> None:
        for run in firing.group.schedule.runs:
            rows = _span(run.rows.step, run.rows.begin, run.rows.end, run.rows.limit, firing.y)
            columns = self._columns(firing, run.op, firing.q)
            for r in range(*rows):
                if self.graph.ops[run.op].kind is Kind.WHOLE:
                    self._whole(stage, firing, run.op)
                elif columns[0] < columns[1]:
                    self._row(stage, firing, run.op, r, columns)
        for t in firing.group.staged:
            self._keep_and_shift(firing, t)

    def _columns(self, firing: Firing, op: int, q: int) -> tuple[int, int]:
        c = next(run.columns for run in firing.group.schedule.runs if run.op == op)
        return _span(c.step, c.begin, c.end, c.limit, q)

    def _row(self, stage: PlannedStage, firing: Firing, op: int, r: int, columns: tuple[int, int]) -> None:
        x = self.graph.ops[op]
        reads: list[tuple[int, Piece]] = []
        for position, t in enumerate(x.inputs):
            source = self.graph.tensors[t]
            w, v = x.rows[position], x.columns[position]
            line = r if not stage.bottom_up else self.graph.op_rows(op) - 1 - r
            left = max(0, columns[0] * v.stride - v.before)
            right = min(source.columns, (columns[1] - 1) * v.stride - v.before + (v.kernel - 1) * v.dilation + 1)
            for tap in range(w.kernel):
                row = line * w.stride - w.before + tap * w.dilation
                if 0 <= row < source.rows and left < right:
                    pieces = list(
                        self._pieces(stage, firing, t, source.rows - 1 - row if stage.bottom_up else row, left, right)
                    )
                    self._check(pieces, x.name, t)
                    reads += [(position, piece) for piece in pieces]
        writes: list[Piece] = []
        if x.kind is Kind.ROWS:
            writes = list(self._pieces(stage, firing, x.outputs[0], r, *columns))
        elif self._sums_all(op, r, columns):
            out = self.graph.tensors[x.outputs[0]]
            for row in range(out.rows):
                writes += self._pieces(stage, firing, x.outputs[0], row, 0, out.columns)
        self._call(stage, firing, op, reads, writes)

    def _whole(self, stage: PlannedStage, firing: Firing, op: int) -> None:
        x = self.graph.ops[op]
        reads: list[tuple[int, Piece]] = []
        writes: list[Piece] = []
        for position, t in enumerate(x.inputs):
            for row in range(self.graph.tensors[t].rows):
                pieces = list(self._pieces(stage, firing, t, row, 0, self.graph.tensors[t].columns))
                self._check(pieces, x.name, t)
                reads += [(position, piece) for piece in pieces]
        for t in x.outputs:
            for row in range(self.graph.tensors[t].rows):
                writes += self._pieces(stage, firing, t, row, 0, self.graph.tensors[t].columns)
        self._call(stage, firing, op, reads, writes)

    def _call(
        self, stage: PlannedStage, firing: Firing, op: int, reads: list[tuple[int, Piece]], writes: list[Piece]
    ) -> None:
        x = self.graph.ops[op]
        blocks: list[tuple[int, int]] = []
        scratch = self._scratch(stage, firing, x)
        if scratch:
            if firing.group.scratch is None:
                raise PlanError(f"{x.name} has no scratch")
            blocks.append((firing.group.scratch, scratch))
        if x.accumulator_bytes:
            if op not in stage.sums:
                raise PlanError(f"{x.name} has no accumulator")
            blocks.append((stage.sums[op], x.accumulator_bytes))
        for k, block in enumerate(blocks):
            taken = [*blocks[:k], *((p.address, p.size) for p in writes), *((p.address, p.size) for _, p in reads)]
            if any(_overlap(block, other) for other in taken):
                raise PlanError(f"{x.name}: its working memory overlaps what it reads or writes")
        for out in writes:
            for position, piece in reads:
                if not _overlap((out.address, out.size), (piece.address, piece.size)):
                    continue
                if position not in x.in_place or not self._follows(x, x.inputs[position], piece, out):
                    raise PlanError(f"{x.name} writes over what it is reading")
        if x.accumulator_bytes:
            self._sum_up(x, op, stage.sums[op])
        if scratch and firing.group.scratch is not None:
            self._fill(firing.group.scratch, scratch, RUBBISH, f"scratch of {x.name}")
        for piece in writes:
            self._write(piece, x.name)

    def _follows(self, x: Op, t: int, piece: Piece, out: Piece) -> bool:
        """Whether an operator that reads elements of ``t`` before it writes those at the same byte may write there."""
        if x.kind is Kind.ROWS:
            return out.size == piece.size and out.address <= piece.address
        begin = out.address - (out.label - int(self.base[x.outputs[0]]))
        return begin == piece.address - (piece.label - int(self.base[t]))

    def _scratch(self, stage: PlannedStage, firing: Firing, x: Op) -> int:
        """Working memory of a call; whether such a call exists at all."""
        places = [stage.places[t].layout for t in (*x.inputs, *x.outputs) if t in stage.places]
        parts = len(firing.group.schedule.runs) > 1 or any(p.modulus > 1 and p.inner > 0 for p in places)
        if parts and (x.whole_rows_only or x.kind is Kind.WHOLE):
            raise PlanError(f"{x.name} makes whole rows only, of rows that follow each other")
        return x.segment_scratch_bytes if parts and x.segment_scratch_bytes is not None else x.scratch_bytes

    def _sums_all(self, op: int, r: int, columns: tuple[int, int]) -> bool:
        """Note what a call adds up; whether that was the last of it."""
        done = self.summed.setdefault(op, np.zeros((self.graph.op_rows(op), self.graph.op_columns(op)), np.bool_))
        part = done[r, slice(*columns)]
        if part.any():
            raise PlanError(f"{self.graph.ops[op].name} adds up a pixel twice")
        part[:] = True
        return bool(done.all())

    def _sum_up(self, x: Op, op: int, start: int) -> None:
        label = -2 - op
        if self.sums.get(op, 0) and not (self.arena[start : start + x.accumulator_bytes] == label).all():
            raise PlanError(f"the sums of {x.name} were overwritten")
        self.sums[op] = self.sums.get(op, 0) + 1
        self._fill(start, x.accumulator_bytes, label, f"sums of {x.name}")

    def _keep_and_shift(self, firing: Firing, t: int) -> None:
        """Between two segments: older rows take the columns that are through, the rest moves to the front."""
        g, place = firing.group.schedule, firing.group.staged[t]
        x = self.graph.tensors[t]
        run = next(r for r in g.runs if r.op == self.graph.producer[t])
        lo, hi = _span(run.rows.step, run.rows.begin, run.rows.end, run.rows.limit, firing.y)
        made = self._columns(firing, run.op, firing.q)[1]
        here, there = self._staged_from(firing, t, firing.q), self._staged_from(firing, t, firing.q + 1)
        last = firing.q == g.last_segment
        for r in range(lo, hi):
            start = place.staging + (r - lo) * place.line_bytes
            line = self.arena[start : start + (made - here) * x.pixel_bytes].copy()
            through = (made if last else there) - here
            if place.kept is not None and r >= hi - place.kept.layout.modulus:
                target = (
                    place.kept.offset + r % place.kept.layout.modulus * place.kept.layout.outer + here * x.pixel_bytes
                )
                self._copy(target, line[: through * x.pixel_bytes], x.name)
            if not last:
                self._copy(start, line[through * x.pixel_bytes :], x.name)

    def _staged_from(self, firing: Firing, t: int, q: int) -> int:
        """First column that the staging buffer holds in segment ``q``: where the consumer's first window begins."""
        consumer = self.graph.consumers[t][0]
        v = self.graph.ops[consumer].columns[self.graph.ops[consumer].inputs.index(t)]
        done = self._columns(firing, consumer, q - 1)[1]
        return min(max(0, done * v.stride - v.before), self._columns(firing, self.graph.producer[t], q - 1)[1])

    def _pieces(self, stage: PlannedStage, firing: Firing, t: int, r: int, x0: int, x1: int) -> Iterator[Piece]:
        """Bytes of columns ``x0..x1-1`` of a row, rows counted in the order of the stage."""
        x, place = self.graph.tensors[t], firing.group.staged.get(t)
        real = x.rows - 1 - r if stage.bottom_up else r
        if place is None:
            ring = t in stage.places and stage.places[t].layout.inner == 0 and stage.places[t].layout.modulus > 1
            yield from self._full(t, stage.places.get(t), real, x0, x1, r if ring else real)
            return
        run = next(run for run in firing.group.schedule.runs if run.op == self.graph.producer[t])
        lo, hi = _span(run.rows.step, run.rows.begin, run.rows.end, run.rows.limit, firing.y)
        label = int(self.base[t]) + real * x.row_bytes + x0 * x.pixel_bytes
        size = (x1 - x0) * x.pixel_bytes
        if lo <= r < hi:
            here = self._staged_from(firing, t, firing.q)
            if x0 < here or (x1 - here) * x.pixel_bytes > place.line_bytes:
                raise PlanError(f"columns {x0}..{x1} of {x.name} are not in its staging buffer")
            at = place.staging + (r - lo) * place.line_bytes + (x0 - here) * x.pixel_bytes
            yield self._piece(place.staging, at, label, size)
        elif place.kept is None:
            raise PlanError(f"row {r} of {x.name} is not kept")
        else:
            slot = r % place.kept.layout.modulus * place.kept.layout.outer
            # Kernels reach kept and new rows from one pointer.
            yield self._piece(place.staging, place.kept.offset + slot + x0 * x.pixel_bytes, label, size)

    def _full(
        self, t: int, place: Place | None, row: int, x0: int, x1: int, slot: int | None = None
    ) -> Iterator[Piece]:
        x = self.graph.tensors[t]
        plane, pixel = x.size_bytes // x.planes, x.pixel_bytes // x.planes
        for p in range(x.planes):
            inside = p * plane + (row * x.columns + x0) * pixel
            label, size = int(self.base[t]) + inside, (x1 - x0) * pixel
            if place is None:
                if x.home is not Home.CALLER and x.size_bytes:
                    raise PlanError(f"{x.name} has no place")
                yield Piece(EXTERNAL, label, size)
            elif x.planes > 1:
                yield self._piece(place.offset, place.offset + inside, label, size)
            else:
                m = place.layout
                r = row if slot is None else slot
                at = place.offset + r % m.modulus * m.outer + r // m.modulus * m.inner + x0 * pixel
                yield self._piece(place.offset, at, label, size)

    def _check(self, pieces: list[Piece] | Iterator[Piece], reader: str, t: int) -> None:
        for p in pieces:
            memory, at = (self.arena, p.address) if p.address >= 0 else (self.outside, p.label)
            if not np.array_equal(memory[at : at + p.size], self.ramp[p.label : p.label + p.size]):
                raise PlanError(f"{reader} reads {self.graph.tensors[t].name}, which is not (or no longer) there")

    def _write(self, piece: Piece, writer: str) -> None:
        content = self.ramp[piece.label : piece.label + piece.size]
        if piece.address == EXTERNAL:
            self.outside[piece.label : piece.label + piece.size] = content
        else:
            self._copy(piece.address, content, writer)

    def _copy(self, address: int, content: NDArray[np.int32], writer: str) -> None:
        if address < 0 or address + len(content) > len(self.arena):
            raise PlanError(f"{writer} leaves the arena")
        self.arena[address : address + len(content)] = content

    def _fill(self, start: int, size: int, label: int, writer: str) -> None:
        self._piece(start, start, label, size)
        self._copy(start, np.full(size, label, np.int32), writer)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return min(a[0], b[0]) >= 0 and a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def _span(step: int, begin: int, end: int, limit: int, i: int) -> tuple[int, int]:
    return max(0, min(limit, step * i + begin)), max(0, min(limit, step * i + end))
