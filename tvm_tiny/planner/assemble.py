"""From a program to a plan: blocks, offsets, and the addresses that the emitted loops use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tvm_tiny.planner.buffers import Buffer, Key, Layout, is_full, program_buffers
from tvm_tiny.planner.exact import solve
from tvm_tiny.planner.graph import Graph, Home
from tvm_tiny.planner.liveness import executed_rows
from tvm_tiny.planner.offsets import Problem, align_up, lower_bound, make_problem, peak, place
from tvm_tiny.planner.plan import Arena, Memory, Place, Plan, PlannedGroup, PlannedStage, StagedPlace
from tvm_tiny.planner.program import Program
from tvm_tiny.planner.schedule import schedule_stage


@dataclass(frozen=True)
class Placement:
    """A program with offsets for its blocks.

    Parameters
    ----------
    live_bound : most bytes live at one step
    bound : what no placement of these blocks can undercut, as far as proved
    arenas : the memories they are in; none: one of any size
    """

    program: Program
    buffers: list[Buffer]
    problem: Problem
    offsets: tuple[int, ...]
    live_bound: int
    bound: int
    arenas: tuple[Arena, ...] = ()

    @property
    def arena(self) -> int:
        """Bytes."""
        return peak(self.problem, self.offsets)


def place_program(graph: Graph, program: Program, layouts: Mapping[int, Layout] | None = None) -> Placement:
    """Offsets by first fit and hill climbing.

    Raises
    ------
    NotSchedulableError : operators share a stage that cannot
    """
    buffers = program_buffers(graph, program, layouts or {})
    problem, bound = make_problem(buffers), lower_bound(buffers)
    offsets = tuple(place(problem, bound))
    return Placement(program, buffers, problem, offsets, bound, min(peak(problem, offsets), align_up(bound)))


def solve_placement(placement: Placement, effort: float) -> Placement:
    """Offsets by the exact solver, never worse than before."""
    exact = solve(placement.problem, placement.offsets, placement.live_bound, effort)
    return replace(placement, offsets=exact.offsets, bound=exact.bound_bytes)


def assemble(graph: Graph, placed: Placement, cut_bound: int) -> Plan:
    """The plan behind a placement; ``cut_bound`` is reported with it."""
    where: dict[Key, Place] = {
        x.key: Place(offset + start, x.layout or Layout(1, 0, 0))
        for b, offset in zip(placed.buffers, placed.offsets, strict=True)
        for start, x in b.pieces()
    }
    stages: list[PlannedStage] = []
    op_macs = [0] * len(graph.ops)
    for index, stage in enumerate(placed.program.stages):
        schedule = schedule_stage(graph, stage)
        groups: list[PlannedGroup] = []
        staged: set[int] = set()
        for group in schedule.groups:
            inside = {s.tensor: s for s in group.staged}
            staged |= inside.keys()
            scratch = where.get(("scratch", group.runs[-1].op))
            lines = {
                t: StagedPlace(
                    where.get(("kept", t)), where["staging", t].offset, s.columns * graph.tensors[t].pixel_bytes
                )
                for t, s in inside.items()
            }
            groups.append(PlannedGroup(group, lines, scratch.offset if scratch else None))
            for run in group.runs:
                op_macs[run.op] = graph.ops[run.op].macs * executed_rows(group, run) // graph.op_rows(run.op)
        unread = graph.unread_inputs() if index == 0 else []
        touched = {t for op in stage.ops for t in (*graph.ops[op].inputs, *graph.ops[op].outputs)} - staged
        touched.update(unread)
        places = {
            t: where["tensor" if is_full(graph, stage.ops, t) else "ring", t]
            for t in sorted(touched)
            if _has_place(graph, t)
        }
        sums = {op: where["accumulator", op].offset for op in stage.ops if ("accumulator", op) in where}
        stages.append(PlannedStage(schedule.begin, schedule.end, tuple(groups), places, sums, stage.bottom_up))
    caller = sum(t.size_bytes for t in graph.tensors if t.home is Home.CALLER)
    arenas = placed.arenas or (Arena(Memory("ram", placed.arena), 0, placed.arena),)
    total = sum(a.size_bytes for a in arenas)
    executed = tuple(op_macs)
    return Plan(graph, placed.program, tuple(stages), total, caller, placed.bound, cut_bound, executed, arenas)


def _has_place(graph: Graph, tensor: int) -> bool:
    return graph.tensors[tensor].home is not Home.CALLER and graph.tensors[tensor].size_bytes > 0
