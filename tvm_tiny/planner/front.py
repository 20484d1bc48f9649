"""RAM against work: the plans between which a user chooses, and the choice for a goal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_tiny.planner.assemble import Placement, assemble, place_program, solve_placement
from tvm_tiny.planner.goal import MOST, EffortName, Goal
from tvm_tiny.planner.graph import Graph, Home
from tvm_tiny.planner.layouts import dealt_layouts
from tvm_tiny.planner.memories import distribute
from tvm_tiny.planner.options import stage_overhead
from tvm_tiny.planner.patches import Patch
from tvm_tiny.planner.plan import Plan
from tvm_tiny.planner.planner import (
    EFFORT,
    Candidate,
    Effort,
    Fusion,
    Memories,
    candidates,
    extra_macs,
    layer_by_layer,
    make_cuts,
    plan_memory,
    prepare,
    solve,
)
from tvm_tiny.planner.program import Program
from tvm_tiny.planner.schedule import schedule_stage
from tvm_tiny.planner.search import Cuts, cheapest, improve, to_program

_FACTORS = (1.0, 1.02, 1.05, 1.1, 1.15, 1.25, 1.5)  # MAC budgets that are tried below the one allowed
_STEP, _LEVELS = 1.05, 10  # from one peak aimed at to the next, at least; peaks, at most
_SLACK = (1.0, 0.8)  # see ``planner.Effort``


@dataclass(frozen=True)
class Choice:
    """One of the plans to choose from.

    Parameters
    ----------
    overhead : work beyond the network's own, as a fraction of its MACs: MACs executed twice, and an estimate of the
        instructions around calls of parts of rows
    """

    plan: Plan
    overhead: float

    @property
    def mac_factor(self) -> float:
        """Executed MACs over the network's."""
        return self.plan.executed_macs / self.plan.macs if self.plan.macs else 1.0

    @property
    def how(self) -> str:
        """In one word."""
        if self.plan.executed_macs > self.plan.macs:
            return "recompute"
        groups = [g for stage in self.plan.stages for g in stage.groups]
        if any(len(g.schedule.runs) > 1 for g in groups):
            return "columns"
        return "rows" if len(groups) > len(self.plan.stages) else "layer by layer"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "how": self.how,
            "ram_bytes": self.plan.ram_bytes,
            "arena_bytes": self.plan.arena_bytes,
            "lower_bound_bytes": self.plan.lower_bound_bytes,
            "optimal": self.plan.optimal,
            "macs": self.plan.macs,
            "executed_macs": self.plan.executed_macs,
            "mac_factor": round(self.mac_factor, 4),
            "overhead": round(self.overhead, 4),
            "stages": len(self.plan.stages),
        }


def measure(plan: Plan) -> Choice:
    """A plan with its overhead."""
    extra = plan.executed_macs - plan.macs
    calls = sum(stage_overhead(plan.graph, schedule_stage(plan.graph, stage)) for stage in plan.program.stages)
    return Choice(plan, (extra + calls) / max(plan.macs, 1))


def pareto(
    graph: Graph,
    *,
    fusion: Fusion = "columns",
    mac_factor: float = 1.0 + MOST,
    effort: EffortName = "default",
    arena_bytes: int | None = None,
    memories: Memories = (),
    reorder: bool = True,
) -> tuple[Choice, ...]:
    """Plans of which none is both larger and slower than another, from the largest to the smallest.

    Parameters
    ----------
    graph, fusion, effort, memories, reorder : as in ``plan_memory``
    mac_factor : executed MACs over the network's MACs, at most
    arena_bytes : an arena of special interest: the plan of the least overhead that stays within it is looked for
    """
    graph, settings = prepare(graph, fusion, reorder), EFFORT[effort]
    found = [measure(layer_by_layer(graph, settings, memories))]
    if fusion != "off" and graph.ops:
        search = _Front(graph, settings, found[0].plan.arena_bytes, arena_bytes, memories)
        search.look(make_cuts(graph, "rows", settings), (1.0,))
        if fusion == "columns":
            factors = (*(f for f in _FACTORS if f < mac_factor), mac_factor)
            search.look(make_cuts(graph, "columns", settings), factors)
        found += search.choices()
        if effort == "max":
            best = plan_memory(
                graph, fusion=fusion, mac_factor=mac_factor, effort=effort, memories=memories, reorder=False
            )
            found.append(measure(best))
    return tuple(_undominated(found))


class _Front:
    """Collects placed programs.

    Parameters
    ----------
    top : arena of the layer-by-layer plan
    wanted : an arena of special interest
    """

    def __init__(self, graph: Graph, effort: Effort, top: int, wanted: int | None, memories: Memories) -> None:
        self._graph = graph
        self._effort = effort.for_network(len(graph.ops))
        self._top = top
        self._wanted = wanted
        self._memories = memories
        self._bound = top
        self._found: list[Candidate] = []
        self._unsolved: set[Program] = set()
        self._seen: set[Program] = set()

    def look(self, cuts: Cuts, factors: tuple[float, ...]) -> None:
        """The smallest plan of each MAC budget, ascending, then larger ones of less overhead."""
        found, bound = candidates(self._graph, cuts, extra_macs(self._graph, factors[0]), self._effort)
        self._seen.update(placed.program for placed, _ in found)
        found += solve(found, self._effort)
        self._found += found
        peaks = [bound]
        for factor in factors[1:]:
            extra = extra_macs(self._graph, factor)
            peaks.append(
                improve(cuts, extra_macs=extra, rounds=self._effort.rounds, neighbours=self._effort.neighbours)
            )
            self._add(cuts, peaks[-1], extra, _SLACK)
        extra = extra_macs(self._graph, factors[-1])
        self._bound = min(self._bound, *peaks)
        levels = max(1, math.ceil(math.log(max(1.0, self._top / max(1, self._bound)), _STEP)))
        for k in range(min(levels, _LEVELS)):
            self._add(cuts, int(self._bound * (self._top / max(1, self._bound)) ** (k / min(levels, _LEVELS))), extra)
        if self._wanted is not None:
            self._add(cuts, self._wanted, extra, _SLACK)
        self._top = min(placed.arena for placed, _ in found)

    def choices(self) -> Iterator[Choice]:
        """What is worth showing, the smallest of those that were not yet placed exactly."""
        least, chances = float("inf"), self._effort.solved
        for placement, cost in sorted(self._found, key=lambda x: (x[0].arena, x[1])):
            if cost < least:
                least = cost
                gap = placement.arena > placement.bound and placement.program in self._unsolved and chances > 0
                chances -= gap
                yield self._choice(solve_placement(placement, self._effort.solver) if gap else placement)

    def _choice(self, placement: Placement) -> Choice:
        placed = distribute(self._graph, [placement], self._memories)
        return measure(assemble(self._graph, placed, self._bound))

    def _add(self, cuts: Cuts, peak: int, extra: int, slacks: tuple[float, ...] = (1.0,)) -> None:
        for slack in slacks:
            stages = cheapest(cuts, peak, extra, int(peak * slack))
            if stages is not None and to_program(stages) not in self._seen:
                self._seen.add(to_program(stages))
                cost = sum(o.overhead + o.extra_macs for o in stages)
                for layouts in dealt_layouts(self._graph, [o.stage for o in stages]):
                    self._found.append((place_program(self._graph, to_program(stages), layouts), cost))
                    self._unsolved.add(to_program(stages))


def _undominated(found: list[Choice]) -> Iterator[Choice]:
    """Ascending in overhead, each smaller than all before."""
    least: int | None = None
    for choice in sorted(found, key=lambda x: (x.overhead, x.plan.ram_bytes)):
        if least is None or choice.plan.ram_bytes < least:
            least = choice.plan.ram_bytes
            yield choice


def choose(
    graph: Graph,
    goal: Goal,
    *,
    fusion: Fusion = "columns",
    memories: Memories = (),
    reorder: bool = True,
    patches: Sequence[Patch] = (),
) -> Choice:
    """The plan for a goal; where none fits, the smallest that the goal's bound on overhead allows.

    Parameters
    ----------
    graph, fusion, memories, reorder : as in ``plan_memory``
    patches : the smallest plan with these, whatever the objective
    """
    graph = prepare(graph, fusion, reorder)
    if patches:
        factor = 1.0 if goal.max_overhead is None else goal.mac_factor
        plan = plan_memory(
            graph, mac_factor=factor, effort=goal.effort, memories=memories, reorder=False, patches=patches
        )
        return measure(plan)

    def fits(x: Choice) -> bool:
        return x.plan.fits and (goal.ram_bytes is None or x.plan.ram_bytes <= goal.ram_bytes)

    if goal.aim != "time" and goal.mac_factor == 1.0:
        # The one plan that most want, without the rest of the front.
        best = measure(plan_memory(graph, fusion=fusion, effort=goal.effort, memories=memories, reorder=False))
        if best.overhead <= goal.overhead_limit:
            return best
    if goal.aim == "time":
        plain = measure(plan_memory(graph, fusion="off", effort=goal.effort, memories=memories, reorder=False))
        if fits(plain):
            return plain
    outside = sum(t.size_bytes for t in graph.tensors if t.home is Home.CALLER)
    room = [goal.ram_bytes - outside] if goal.ram_bytes is not None else []
    room += [max(m.size_bytes for m in way) for way in memories[:1]]
    front = pareto(
        graph,
        fusion=fusion,
        mac_factor=goal.mac_factor,
        effort=goal.effort,
        arena_bytes=min(room, default=None),
        memories=memories,
        reorder=False,
    )
    allowed = [x for x in front if x.overhead <= goal.overhead_limit] or [front[0]]
    fitting = [x for x in allowed if fits(x)]
    return fitting[0] if goal.aim == "time" and fitting else allowed[-1]
