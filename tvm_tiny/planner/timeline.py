"""Which bytes of the arena are in use when: what ``tvmc inspect`` draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tvm_tiny.planner.buffers import Key, Part, Role, passing_tensors, stage_blocks
from tvm_tiny.planner.graph import Graph
from tvm_tiny.planner.liveness import NEVER, Trace
from tvm_tiny.planner.program import Stage
from tvm_tiny.planner.schedule import schedule_stage

if TYPE_CHECKING:
    from tvm_tiny.planner.plan import PlannedStage

_SPANS = 12  # of a stage, at most: enough to see how an input goes and an output comes


@dataclass(frozen=True)
class Block:
    """A block of memory during a stage.

    Parameters
    ----------
    offset : through all arenas, as the plan counts
    live : per span of ticks the bytes ``[lo, hi)`` from the block's start that are in use at some step of it, None
        where none is; one entry when it is the same for all
    """

    key: Key
    name: str
    offset: int
    size_bytes: int
    live: tuple[tuple[int, int] | None, ...]

    @property
    def role(self) -> Role:
        """What it is for."""
        return self.key[0]


@dataclass(frozen=True)
class Timeline:
    """A stage; ``spans`` are the first ticks of its spans, counted from the stage's begin."""

    spans: tuple[int, ...]
    blocks: tuple[Block, ...]


def stage_timeline(graph: Graph, stage: Stage, planned: PlannedStage, offsets: dict[int, int]) -> Timeline:
    """Live bytes over the ticks of a stage.

    Parameters
    ----------
    offsets : of all tensors that outlive a stage
    """
    trace = Trace(graph, stage, schedule_stage(graph, stage))
    ticks = planned.end - planned.begin + 1
    count = min(ticks, _SPANS)
    spans = [ticks * k // count for k in range(count)]
    starts = np.array(spans) * len(planned.groups)
    where = dict(_offsets(planned))
    layouts = {t: place.layout for t, place in planned.places.items() if place.layout.is_dealt}
    blocks = []
    for buffer, parts in stage_blocks(graph, trace, layouts):
        offset = where[buffer.key]
        for part in parts:
            live = _reduce(part, starts, len(trace.tick))
            if any(live):
                blocks.append(Block(buffer.key, buffer.name, offset, buffer.size_bytes, live))
    for t in passing_tensors(graph, min(stage.ops), frozenset(stage.ops)):
        x = graph.tensors[t]
        if x.size_bytes:
            blocks.append(Block(("tensor", t), x.name, offsets[t], x.size_bytes, ((0, x.size_bytes),)))
    return Timeline(tuple(spans), tuple(blocks))


def _offsets(planned: PlannedStage) -> Iterator[tuple[Key, int]]:
    for t, place in planned.places.items():
        yield ("tensor", t), place.offset
        yield ("ring", t), place.offset
    for op, offset in planned.sums.items():
        yield ("accumulator", op), offset
    for group in planned.groups:
        if group.scratch is not None:
            yield ("scratch", group.schedule.runs[-1].op), group.scratch
        for t, staged in group.staged.items():
            yield ("staging", t), staged.staging
            if staged.kept is not None:
                yield ("kept", t), staged.kept.offset


def _reduce(part: Part, starts: np.ndarray, steps: int) -> tuple[tuple[int, int] | None, ...]:
    """All bytes of a span's steps together."""
    lo, hi = (np.broadcast_to(x, steps) for x in part)
    on = lo < hi
    first = np.minimum.reduceat(np.where(on, lo, NEVER), starts)
    last = np.maximum.reduceat(np.where(on, hi, 0), starts)
    live = tuple((int(a), int(b)) if a < b else None for a, b in zip(first, last, strict=True))
    return live[:1] if len(set(live)) == 1 else live
