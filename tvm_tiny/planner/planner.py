"""One entry point: a graph in, the plan of the least memory out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tvm_tiny.planner.assemble import Placement, assemble, place_program, solve_placement
from tvm_tiny.planner.goal import EffortName
from tvm_tiny.planner.graph import Graph
from tvm_tiny.planner.graph import reorder as in_order
from tvm_tiny.planner.layouts import dealt_layouts
from tvm_tiny.planner.memories import distribute
from tvm_tiny.planner.offsets import ALIGNMENT
from tvm_tiny.planner.options import SEGMENTS, Widths
from tvm_tiny.planner.order import Order, best_order, peak_of
from tvm_tiny.planner.patches import Patch, pin_patches
from tvm_tiny.planner.plan import Memory, Plan
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.search import NO_LIMIT, Cuts, best_peak, cheapest, improve, to_program
from tvm_tiny.planner.views import choose_views, without_views

Fusion: TypeAlias = Literal["off", "rows", "columns"]
Memories: TypeAlias = Sequence[Sequence[Memory]]
Candidate: TypeAlias = tuple[Placement, float]  # with its overhead in instructions and MACs


@dataclass(frozen=True)
class Effort:
    """How hard to search.

    Parameters
    ----------
    targets : peaks aimed at, times the smallest one
    slack : of the target: how low the other stages are pushed before their blocks are placed
    solved : candidates whose placement is solved exactly
    solver : work of the exact solver on each, in its own deterministic time, about seconds
    rounds : times the worst stage is refined
    neighbours : stages looked at in a refinement
    segments : widths of column segments, descending
    """

    targets: tuple[float, ...] = (1.0, 1.02, 1.05, 1.08, 1.12, 1.18, 1.25, 1.35, 1.5, 2.0)
    slack: tuple[float, ...] = (1.0, 0.9, 0.75, 0.6)
    solved: int = 2
    solver: float = 0.5
    rounds: int = 8
    neighbours: int = 200
    segments: Widths = SEGMENTS

    def for_network(self, operators: int) -> Effort:
        """Less of it for networks of several hundred operators, where every step takes longer."""
        return self if operators <= _SMALL else replace(self, slack=self.slack[:1], rounds=min(3, self.rounds))


EFFORT: Mapping[EffortName, Effort] = {
    "fast": Effort((1.0, 1.05, 1.12, 1.25, 1.5, 2.0), (1.0, 0.75), solved=0, rounds=3, neighbours=60),
    "default": Effort(),
    "max": Effort(
        (1.0, 1.01, 1.02, 1.035, 1.05, 1.08, 1.12, 1.18, 1.25, 1.35, 1.5, 2.0),
        (1.0, 0.95, 0.9, 0.85, 0.75, 0.6, 0.5),
        solved=6,
        solver=4.0,
        rounds=24,
        neighbours=1500,
        segments=(16, 12, 8, 4),
    ),
}
_SMALL = 200  # operators
_TINY = 30
_OVERHEAD = 0.04  # instructions per multiply-accumulate that running interleaved may cost; a kernel takes about one
_NEARLY = 1.01  # times the smallest arena: that much more is taken where it runs faster


def plan_memory(
    graph: Graph,
    *,
    fusion: Fusion = "columns",
    mac_factor: float = 1.0,
    effort: EffortName = "default",
    memories: Memories = (),
    reorder: bool = True,
    patches: Sequence[Patch] = (),
) -> Plan:
    """Plan ``graph`` for the least memory. The same plan for the same graph.

    Of plans within 1 % of the smallest, the one that runs fastest is taken; with "max" the smallest.

    Parameters
    ----------
    graph : the plan is about this graph without its views, its operators in the plan's order
    fusion : "off": one operator after the other; "rows": operators may run interleaved, a row at a time; "columns":
        a few columns at a time as well
    mac_factor : executed MACs over the network's MACs, at most; more than 1 takes "columns"
    effort : "fast" leaves out the exact solver; "max" searches for up to a minute, and its plan is never larger
    memories : ways to divide the RAM into memories, as ``memories.distribute`` takes them; none: one without a limit
    reorder : run the operators in a better order where there is one
    patches : layers that run in these patches in any case; takes "columns"

    Raises
    ------
    OptionError : patches that the network cannot run in
    """
    graph, settings = prepare(graph, fusion, reorder), EFFORT[effort]
    if patches:
        return _plan_patched(graph, patches, extra_macs(graph, mac_factor), settings, memories)
    if fusion == "off" or not graph.ops:
        return layer_by_layer(graph, settings, memories)
    alone, extra = _alone(graph), extra_macs(graph, mac_factor)
    macs = sum(op.macs for op in graph.ops)
    limit = extra + _OVERHEAD * macs if macs else float("inf")
    found, bounds = [(alone, 0.0)], [alone.live_bound]
    for each in (EFFORT["default"], settings) if effort == "max" else (settings,):
        for cuts, more in _searches(graph, fusion, extra, each):
            placed, bound = candidates(graph, cuts, more, each, limit, int(_NEARLY * min(p.arena for p, _ in found)))
            found += placed
            bounds.append(bound)
        found += solve(found, each)
    least, _ = min(found, key=lambda x: (x[0].arena, x[1]))
    nearly = least.arena if effort == "max" else _NEARLY * least.arena
    chosen, _ = min((x for x in found if x[0].arena <= nearly), key=lambda x: (x[1], x[0].arena))
    return assemble(graph, distribute(graph, [chosen, least], memories), min(bounds))


def _plan_patched(graph: Graph, patches: Sequence[Patch], extra: int, effort: Effort, memories: Memories) -> Plan:
    """The smallest plan with these patches."""
    cuts = Cuts(graph, effort.segments, pin_patches(graph, patches, extra))
    found, bound = candidates(graph, cuts, extra, effort)
    found += solve(found, effort)
    best, _ = min(found, key=lambda x: (x[0].arena, x[1]))
    return assemble(graph, distribute(graph, [best], memories), bound)


def prepare(graph: Graph, fusion: Fusion, reorder: bool) -> Graph:
    """``graph`` without views, in the best order if wanted."""
    graph = without_views(find_views(graph, fusion))
    if not reorder:
        return graph
    order = find_order(graph, fusion)
    return in_order(graph, order.ops) if order.changed else graph


def find_views(graph: Graph, fusion: Fusion = "columns") -> Graph:
    """``graph`` with those copies as views that ``plan_memory`` does not run; what is left is not asked again."""

    def estimate(plain: Graph) -> int:
        if fusion == "off" or len(plain.ops) > _SMALL:
            return peak_of(plain)
        return best_peak(Cuts(plain, SEGMENTS if fusion == "columns" else ()))[-1]

    def place(plain: Graph) -> int:
        effort: EffortName = "default" if len(plain.ops) <= _TINY else "fast"
        return plan_memory(plain, fusion=fusion, effort=effort).arena_bytes

    return choose_views(graph, estimate, place)


def find_order(graph: Graph, fusion: Fusion = "columns") -> Order:
    """The order in which ``plan_memory`` runs the operators of ``graph``, views not counted."""
    graph = without_views(graph)
    return best_order(graph, None if fusion == "off" else SEGMENTS if fusion == "columns" else ())


def _searches(graph: Graph, fusion: Fusion, extra: int, effort: Effort) -> Iterator[tuple[Cuts, int]]:
    """What may be cut how, and MACs that may be executed beyond the network's own; what may save most comes first."""
    if fusion == "columns":
        if extra:
            yield make_cuts(graph, "columns", effort), extra
        yield make_cuts(graph, "columns", effort), 0
    yield make_cuts(graph, "rows", effort), 0


def _alone(graph: Graph) -> Placement:
    return place_program(graph, Program(tuple(Stage((Group((i,)),)) for i in range(len(graph.ops)))))


def layer_by_layer(graph: Graph, effort: Effort, memories: Memories) -> Plan:
    """One operator after the other; ``graph`` has no views."""
    alone = _alone(graph)
    placed = solve_placement(alone, effort.solver) if effort.solved else alone
    return assemble(graph, distribute(graph, [placed], memories), alone.live_bound)


def make_cuts(graph: Graph, fusion: Fusion, effort: Effort) -> Cuts:
    """Where ``graph`` may be cut, and how its stages may run."""
    return Cuts(graph, effort.segments if fusion == "columns" else ())


def extra_macs(graph: Graph, mac_factor: float) -> int:
    """MACs that may be executed beyond the network's own."""
    return int(sum(op.macs for op in graph.ops) * (mac_factor - 1.0))


def candidates(
    graph: Graph, cuts: Cuts, extra: int, effort: Effort, limit: float = float("inf"), most: int = NO_LIMIT
) -> tuple[list[Candidate], int]:
    """Placed programs of small arenas, and the smallest peak of all cuts looked at.

    Parameters
    ----------
    cuts : what it learns of stages is kept there
    extra : MACs that may be executed beyond the network's own
    limit : what a program may cost beyond plain layers, at most
    most : bytes; where the smallest peak is larger, nothing is placed
    """
    effort = effort.for_network(len(graph.ops))
    bound = improve(cuts, extra_macs=extra, rounds=effort.rounds, neighbours=effort.neighbours)
    return list(_candidates(graph, cuts, bound, extra, effort, limit)) if bound <= most else [], bound


def solve(found: list[Candidate], effort: Effort) -> list[Candidate]:
    """The most promising candidates again, placed exactly, and those that cost nothing beyond plain layers."""
    ordered = sorted(found, key=lambda x: (x[0].arena, x[1]))
    least = ordered[0][0].arena
    free = [x for x in ordered[effort.solved :] if x[1] == 0 and effort.solved]
    worth = [x for x in (*ordered[: effort.solved], *free) if x[0].live_bound <= least - ALIGNMENT]
    return [(solve_placement(placed, effort.solver), overhead) for placed, overhead in worth]


def _candidates(graph: Graph, cuts: Cuts, bound: int, extra: int, effort: Effort, limit: float) -> Iterator[Candidate]:
    """From the smallest peak upwards while a larger one could place better."""
    seen: set[Program] = set()
    best = NO_LIMIT
    small = len(graph.ops) <= _SMALL
    for target in (int(bound * x) for x in effort.targets):
        for slack in effort.slack if small or not seen else ():
            stages = cheapest(cuts, target, extra, int(target * slack)) if target < best else None
            if stages is None or to_program(stages) in seen:
                continue
            cost = sum(o.overhead + o.extra_macs for o in stages)
            if cost > limit:
                break  # less slack costs more
            seen.add(to_program(stages))
            for layouts in dealt_layouts(graph, [o.stage for o in stages]):
                trial = place_program(graph, to_program(stages), layouts)
                best = min(best, trial.arena)
                yield trial, cost
