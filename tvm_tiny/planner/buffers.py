"""The blocks of memory a program needs, and which of their bytes are live at every step.

``peak.py`` gives the same numbers of one stage without the blocks, for the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from tvm_tiny.planner.graph import Graph, Home, Kind
from tvm_tiny.planner.liveness import NEVER, IntArray, Rows, Trace
from tvm_tiny.planner.program import Program
from tvm_tiny.planner.schedule import schedule_stage

Role: TypeAlias = Literal["tensor", "ring", "kept", "staging", "scratch", "accumulator"]
Key: TypeAlias = tuple[
    Role, int
]  # tensor; or operator: the last of its group for scratch, the reduction for accumulator
Part: TypeAlias = tuple[IntArray, IntArray]  # per step live bytes [lo, hi) from the block's start; none where lo >= hi


@dataclass(frozen=True)
class Layout:
    """Row ``r`` of a tensor starts at ``(r % modulus) * outer + (r // modulus) * inner`` behind the block's offset.

    ``modulus`` 1: rows one after the other; ``inner`` 0: a ring; both set: rows dealt out to ``modulus`` places.
    """

    modulus: int
    outer: int
    inner: int

    @property
    def is_dealt(self) -> bool:
        """Whether rows are dealt out to several places."""
        return self.modulus > 1 and self.inner > 0


@dataclass
class Buffer:
    """A block of the arena.

    Parameters
    ----------
    live : stage index -> parts; arrays of one entry hold for the whole stage
    released : (stage, other buffer) -> parts that count against that buffer instead, because it overwrites this one in
        place
    alias : other buffer -> distances (lo, hi) of it from this one that are not allowed beside; 0 always is
    members : (start, buffer) of tensors that lie side by side in this block; none: it is one buffer
    """

    key: Key
    name: str
    size_bytes: int
    layout: Layout | None
    live: dict[int, list[Part]] = field(default_factory=dict)
    released: dict[tuple[int, Key], list[Part]] = field(default_factory=dict)
    alias: dict[Key, tuple[int, int]] = field(default_factory=dict)
    members: tuple[tuple[int, Buffer], ...] = ()

    def pieces(self) -> tuple[tuple[int, Buffer], ...]:
        """Its members, or itself."""
        return self.members or ((0, self),)


def plain(graph: Graph, tensor: int) -> Layout:
    """Rows one after the other."""
    return Layout(1, 0, graph.tensors[tensor].row_bytes)


def is_full(graph: Graph, stage_ops: Iterable[int], tensor: int) -> bool:
    """Whether a tensor is visible outside the stage that makes it, or has to lie there as a whole."""
    ops = set(stage_ops)
    outside = any(c not in ops for c in graph.consumers[tensor]) or graph.tensors[tensor].beside is not None
    return (
        outside or graph.producer.get(tensor, -1) not in ops or tensor in graph.outputs or not graph.consumers[tensor]
    )


def stage_blocks(graph: Graph, trace: Trace, layouts: Mapping[int, Layout]) -> Iterator[tuple[Buffer, list[Part]]]:
    """Blocks that a stage uses, with their parts; blocks of full tensors come up once per stage.

    Parameters
    ----------
    layouts : of tensors whose rows do not simply follow each other
    """
    schedule, ops = trace.schedule, trace.stage.ops
    staged = {s.tensor: (g, s) for g, group in enumerate(schedule.groups) for s in group.staged}
    touched = dict.fromkeys(t for op in ops for t in (*graph.ops[op].inputs, *graph.ops[op].outputs))
    for t in touched:
        x = graph.tensors[t]
        if x.home is Home.CALLER or x.size_bytes == 0:
            continue
        if t in staged:
            g, s = staged[t]
            wide = s.columns * x.pixel_bytes
            yield from _whole(
                ("staging", t), f"{x.name} new", s.new_rows * wide, trace.fires(g), Layout(NEVER, wide, 0)
            )
            if s.kept_rows:
                ring = Layout(s.kept_rows, x.row_bytes, 0)
                yield from _whole(("kept", t), f"{x.name} rows", s.kept_rows * x.row_bytes, trace.running(g), ring)
            continue
        rows = trace.rows(t)
        if is_full(graph, ops, t):
            layout = layouts.get(t) or plain(graph, t)
            size = (
                x.size_bytes
                if layout.modulus == 1
                else layout.outer * (layout.modulus - 1) + -(-x.rows // layout.modulus) * layout.inner
            )
            parts = tensor_parts(graph, t, layout, rows, trace.stage.bottom_up)
            yield Buffer(("tensor", t), x.name, size, layout), parts
        else:
            count = min(rows.most(), x.rows)
            size, on = count * x.row_bytes, rows.newest > rows.oldest
            yield from _whole(("ring", t), f"{x.name} ring", size, on, Layout(max(count, 1), x.row_bytes, 0))
    for g, group in enumerate(schedule.groups):
        members = [graph.ops[run.op] for run in group.runs]
        # Calls follow each other, so the operators of a group share one scratch.
        dealt = any(t in layouts and layouts[t].is_dealt for op in members for t in (*op.inputs, *op.outputs))
        most = max(op.scratch(dealt or len(members) > 1) for op in members)
        yield from _whole(("scratch", group.runs[-1].op), f"{members[-1].name} scratch", most, trace.fires(g), None)
        for run, op in zip(group.runs, members, strict=True):
            yield from _whole(("accumulator", run.op), f"{op.name} sums", op.accumulator_bytes, trace.running(g), None)


def _whole(
    key: Key, name: str, size: int, on: np.ndarray, layout: Layout | None
) -> Iterator[tuple[Buffer, list[Part]]]:
    if size:
        yield Buffer(key, name, size, layout), [(np.zeros(1, np.int64), np.where(on, size, 0))]


def tensor_parts(graph: Graph, tensor: int, layout: Layout, rows: Rows, bottom_up: bool) -> list[Part]:
    """Live bytes of a full tensor: one range, or one per plane, or one per place its rows are dealt out to."""
    x = graph.tensors[tensor]
    first, last = np.minimum(rows.oldest, x.rows), np.minimum(rows.newest, x.rows)
    first = np.minimum(first, last)
    if bottom_up:
        first, last = x.rows - last, x.rows - first
    if x.planes > 1:
        line = x.row_bytes // x.planes
        return [((p * x.rows + first) * line, (p * x.rows + last) * line) for p in range(x.planes)]
    if layout.modulus == 1:
        return [(first * x.row_bytes, last * x.row_bytes)]
    return [
        tuple(  # type: ignore[misc]
            j * layout.outer + -((j - row) // layout.modulus) * layout.inner for row in (first, last)
        )
        for j in range(layout.modulus)
    ]


def live_bytes(parts: list[Part]) -> IntArray:
    """Bytes that are live per step."""
    return sum((np.maximum(hi - lo, 0) for lo, hi in parts), np.zeros(1, np.int64))


def passing_tensors(graph: Graph, first: int, ops: frozenset[int]) -> list[int]:
    """Arena tensors that are live across a stage which does not touch them; ``first`` is its first operator."""
    after = first + len(ops)
    passing = [
        t
        for t in graph.crossing[first]
        if graph.last_use(t) >= after and not any(first <= c < after for c in graph.consumers[t])
    ]
    return passing + (graph.unread_inputs() if first == 0 else [])


def in_place_pairs(graph: Graph, trace: Trace) -> Iterator[tuple[int, int, int]]:
    """(input, operator, output) of full tensors where the output may lie exactly on the input."""
    ops = trace.stage.ops
    for group in trace.schedule.groups:
        for run in group.runs:
            op = graph.ops[run.op]
            for t in op.replaceable:
                z = op.outputs[0]
                if not graph.may_share(t, z):
                    continue
                if is_full(graph, ops, t) and is_full(graph, ops, z) and graph.last_use(t) < max(ops) + 1:
                    yield t, run.op, z


def program_buffers(graph: Graph, program: Program, layouts: Mapping[int, Layout]) -> list[Buffer]:
    """All blocks of a program with their live bytes in every stage."""
    buffers: dict[Key, Buffer] = {}
    for index, stage in enumerate(program.stages):
        trace = Trace(graph, stage, schedule_stage(graph, stage))
        for buffer, parts in stage_blocks(graph, trace, layouts):
            buffers.setdefault(buffer.key, buffer).live[index] = parts
        for t in passing_tensors(graph, min(stage.ops), frozenset(stage.ops)):
            x, layout = graph.tensors[t], layouts.get(t) or plain(graph, t)
            everything = Rows(np.zeros(1, np.int64), np.full(1, x.rows, np.int64))
            parts = tensor_parts(graph, t, layout, everything, False)
            buffers.setdefault(("tensor", t), Buffer(("tensor", t), x.name, x.size_bytes, layout)).live[index] = parts
        for t, op, z in in_place_pairs(graph, trace):
            layout = layouts.get(t) or plain(graph, t)
            if layout != (layouts.get(z) or plain(graph, z)):
                continue
            kept = trace.rows(t, released_by=op)
            run = trace.place[op][1]
            by_rows = graph.ops[op].kind is Kind.ROWS
            ascending = by_rows and not stage.bottom_up and run.rows.step == 1 and layout.modulus == 1
            row = graph.tensors[t].row_bytes * max(run.rows.step, 1)
            buffer = buffers[("tensor", t)]
            buffer.released[index, ("tensor", z)] = tensor_parts(graph, t, layout, kept, stage.bottom_up)
            whole = row if by_rows and layout.modulus == 1 else graph.tensors[t].size_bytes
            buffer.alias[("tensor", z)] = (0 if ascending else -whole, whole)
    return _side_by_side(graph, buffers)


def _side_by_side(graph: Graph, buffers: Mapping[Key, Buffer]) -> list[Buffer]:
    """Tensors at fixed distances as one block, where the first of them stood."""
    blocks: dict[Key, list[tuple[int, Buffer]]] = {}
    for key, buffer in buffers.items():
        beside = graph.tensors[key[1]].beside if key[0] == "tensor" else None
        first, start = beside or (None, 0)
        blocks.setdefault(key if first is None else ("tensor", first), []).append((start, buffer))
    found = []
    for key, members in blocks.items():
        if len(members) == 1 and members[0][0] == 0:
            found.append(members[0][1])
            continue
        size = max(start + x.size_bytes for start, x in members)
        live: dict[int, list[Part]] = {}
        for start, x in members:
            for stage, parts in x.live.items():
                live.setdefault(stage, []).extend((lo + start, hi + start) for lo, hi in parts)
        name = " + ".join(x.name for _, x in sorted(members, key=lambda m: m[0]))
        found.append(Buffer(key, name, size, None, live, members=tuple(members)))
    return found
