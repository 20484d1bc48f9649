"""The result of planning, explicit enough to be emitted as loops or replayed, with no search behind it.

Execution of a stage, which is also the shape of the emitted code::

    for t in begin .. end:                                 # both included
      for group in groups:
        y = (t - delay) / period                           # fires when this is whole and first <= y <= last
        for q in first_segment .. last_segment:
          for op in group:                                 # rows and columns of schedule.Affine
            for r in rows(y): kernel(op, r, columns(q))
          for tensor staged in group: keep(q), shift(q)

Row ``r`` of a tensor lies at ``offset + (r % modulus) * outer + (r // modulus) * inner``; bottom up, rows of tensors
that are visible outside the stage count from the last one. Row ``r`` of a staged tensor, ``x`` being the first staged
column: when it was made in this firing, at ``staging + (r - first row of the firing) * line_bytes``, pointing at
column ``x``; before, in the ring of kept rows. ``keep(q)`` copies the columns that no later segment's window starts in
front of from the staged rows to the ring (only rows the next firing needs); ``shift(q)`` moves the columns behind them
to the front of the staging buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_tiny.planner.buffers import Layout
from tvm_tiny.planner.graph import Graph
from tvm_tiny.planner.program import Program, Stage
from tvm_tiny.planner.schedule import GroupSchedule
from tvm_tiny.planner.timeline import stage_timeline


@dataclass(frozen=True)
class Memory:
    """RAM that a plan may use.

    Parameters
    ----------
    size_bytes : as many as the plan may have
    relative_speed : 1.0 is read without wait states, 0.5 takes twice as long
    """

    name: str
    size_bytes: int
    relative_speed: float = 1.0


@dataclass(frozen=True)
class Arena:
    """What a plan uses of one memory; its bytes are those at the plan's offsets from ``start`` on."""

    memory: Memory
    start: int
    size_bytes: int

    @property
    def end(self) -> int:
        """First offset behind it."""
        return self.start + self.size_bytes


@dataclass(frozen=True)
class Place:
    """Where the rows of a tensor are; ``offset`` counts through all arenas of the plan."""

    offset: int
    layout: Layout

    @property
    def ring_rows(self) -> int | None:
        """Rows that a ring holds; None where the whole tensor is there."""
        return self.layout.modulus if self.layout.inner == 0 else None


@dataclass(frozen=True)
class StagedPlace:
    """Where a staged tensor is: ring of kept rows (None when none is kept) and staging buffer."""

    kept: Place | None
    staging: int
    line_bytes: int


@dataclass(frozen=True)
class PlannedGroup:
    """A group with the places of what lives inside it.

    Parameters
    ----------
    staged : by tensor
    scratch : offset of the scratch its operators share; None when none needs any
    """

    schedule: GroupSchedule
    staged: Mapping[int, StagedPlace]
    scratch: int | None


@dataclass(frozen=True)
class PlannedStage:
    """A stage; ``places`` holds every arena tensor it touches that is not staged, ``sums`` accumulators by operator."""

    begin: int
    end: int
    groups: tuple[PlannedGroup, ...]
    places: Mapping[int, Place]
    sums: Mapping[int, int]
    bottom_up: bool = False

    def in_segments(self, group: PlannedGroup, graph: Graph) -> bool:
        """Whether a group's calls make part of a row, or rows at places that whole-row kernels do not find."""
        runs = group.schedule.runs
        touched = [self.places.get(t) for run in runs for t in (*graph.ops[run.op].inputs, *graph.ops[run.op].outputs)]
        return len(runs) > 1 or any(place is not None and place.layout.is_dealt for place in touched)


@dataclass(frozen=True)
class Plan:
    """A memory plan at row level.

    Parameters
    ----------
    arena_bytes : everything the plan itself places
    caller_bytes : inputs and outputs that the caller owns
    lower_bound_bytes : no placement of these blocks needs less
    cut_bound_bytes : no cut into stages that was looked at has a smaller peak, even if packed without gaps
    op_macs : multiply-accumulates of each operator as executed, recomputation included
    arenas : one per memory in use, in the order of the offsets, which count through them; every block is inside one
    """

    graph: Graph
    program: Program
    stages: tuple[PlannedStage, ...]
    arena_bytes: int
    caller_bytes: int
    lower_bound_bytes: int
    cut_bound_bytes: int
    op_macs: tuple[int, ...]
    arenas: tuple[Arena, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network."""
        return sum(op.macs for op in self.graph.ops)

    @property
    def executed_macs(self) -> int:
        """The same with recomputation."""
        return sum(self.op_macs)

    @property
    def ram_bytes(self) -> int:
        """Arena, inputs and outputs."""
        return self.arena_bytes + self.caller_bytes

    @property
    def optimal(self) -> bool:
        """Whether the offsets are proved optimal for these stages."""
        return self.arena_bytes == self.lower_bound_bytes

    @property
    def fits(self) -> bool:
        """Whether every arena fits its memory."""
        return all(a.size_bytes <= a.memory.size_bytes for a in self.arenas)

    def locate(self, offset: int) -> tuple[int, int]:
        """(index of the arena, offset in it) for an offset of a block."""
        index = max((i for i, a in enumerate(self.arenas) if a.start <= offset), default=0)
        return index, offset - self.arenas[index].start

    def offset(self, tensor: int) -> int | None:
        """Byte offset of a tensor that outlives a stage, such as an input or output; None when the caller owns it."""
        return next((s.places[tensor].offset for s in self.stages if tensor in s.places), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, for metadata and reports."""
        offsets = {t: place.offset for s in self.stages for t, place in s.places.items()}
        return {
            "arena_bytes": self.arena_bytes,
            "caller_bytes": self.caller_bytes,
            "lower_bound_bytes": self.lower_bound_bytes,
            "optimal": self.optimal,
            "memories": [
                {"name": a.memory.name, "arena_bytes": a.size_bytes, "available_bytes": a.memory.size_bytes}
                for a in self.arenas
            ],
            "macs": self.macs,
            "executed_macs": self.executed_macs,
            "stages": [
                {**self._stage_dict(stage), "timeline": self._timeline_dict(program, stage, offsets)}
                for program, stage in zip(self.program.stages, self.stages, strict=True)
            ],
        }

    def _timeline_dict(self, stage: Stage, planned: PlannedStage, offsets: dict[int, int]) -> dict[str, Any]:
        """Live bytes, see ``timeline``; JSON has no pairs, so ranges are lists."""
        timeline = stage_timeline(self.graph, stage, planned, offsets)
        return {
            "spans": list(timeline.spans),
            "blocks": [
                {
                    "name": b.name,
                    "role": b.role,
                    **self._where(b.offset),
                    "size_bytes": b.size_bytes,
                    "live": [None if x is None else list(x) for x in b.live],
                }
                for b in timeline.blocks
            ],
        }

    def _stage_dict(self, stage: PlannedStage) -> dict[str, Any]:
        tensors, ops = self.graph.tensors, self.graph.ops
        return {
            "operators": [ops[run.op].name for group in stage.groups for run in group.schedule.runs],
            "ticks": stage.end - stage.begin + 1,
            "groups": [self._group_dict(group) for group in stage.groups if len(group.schedule.runs) > 1],
            "tensors": [
                {
                    "name": tensors[t].name,
                    **self._where(place.offset),
                    "rows": place.ring_rows or tensors[t].rows,
                    "row_bytes": tensors[t].row_bytes,
                    "ring": place.ring_rows is not None,
                    **({"dealt": [place.layout.modulus, place.layout.outer]} if place.layout.is_dealt else {}),
                }
                for t, place in stage.places.items()
            ],
            "scratch": [
                {"operator": ops[group.schedule.runs[-1].op].name, **self._where(group.scratch)}
                for group in stage.groups
                if group.scratch is not None
            ],
        }

    def _group_dict(self, group: PlannedGroup) -> dict[str, Any]:
        """A group that advances in column segments."""
        tensors, ops, schedule = self.graph.tensors, self.graph.ops, group.schedule
        return {
            "operators": [ops[run.op].name for run in schedule.runs],
            "rows": schedule.runs[-1].rows.step,
            "columns": schedule.runs[-1].columns.step,
            "recomputed": [ops[run.op].name for run in schedule.runs if run.again],
            "staged": [
                {
                    "name": tensors[s.tensor].name,
                    **self._where(group.staged[s.tensor].staging),
                    "new_rows": s.new_rows,
                    "line_bytes": group.staged[s.tensor].line_bytes,
                    "kept_offset": None if place is None else self.locate(place.offset)[1],
                    "kept_rows": s.kept_rows,
                    "row_bytes": tensors[s.tensor].row_bytes,
                }
                for s in schedule.staged
                for place in [group.staged[s.tensor].kept]
            ],
        }

    def _where(self, offset: int) -> dict[str, Any]:
        index, inside = self.locate(offset)
        return {"offset": inside, "memory": self.arenas[index].memory.name}
