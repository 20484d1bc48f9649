"""One entry point: a graph in, a plan out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from tvm_tiny.planner.assemble import Placement, assemble, place_program, solve_placement
from tvm_tiny.planner.graph import Graph, without_views
from tvm_tiny.planner.graph import reorder as in_order
from tvm_tiny.planner.layouts import dealt_layouts
from tvm_tiny.planner.memories import distribute
from tvm_tiny.planner.offsets import ALIGNMENT
from tvm_tiny.planner.options import SEGMENTS, Widths
from tvm_tiny.planner.order import Order, best_order
from tvm_tiny.planner.plan import Memory, Plan
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.search import NO_LIMIT, Cuts, cheapest, improve, to_program

_TARGETS = (1.0, 1.02, 1.05, 1.08, 1.12, 1.18, 1.25, 1.35, 1.5, 2.0)  # times the smallest peak
_OVERHEAD = 0.04  # instructions per multiply-accumulate that running interleaved may cost; a kernel takes about one
_SLACK = (1.0, 0.9, 0.75, 0.6)  # of the target: how low the other stages are pushed before their blocks are placed
_SMALL = 200  # operators; of larger networks fewer candidates are placed
_NEARLY = 1.01  # times the smallest arena: that much more is taken where it runs faster
_SOLVED = 2  # candidates whose placement is solved exactly


Fusion: TypeAlias = Literal["off", "rows", "columns"]


def plan_memory(
    graph: Graph,
    *,
    fusion: Fusion = "columns",
    mac_factor: float = 1.0,
    effort: float = 0.5,
    memories: Sequence[Sequence[Memory]] = (),
    reorder: bool = True,
) -> Plan:
    """Plan ``graph`` for the least memory. The same plan for the same graph.

    Parameters
    ----------
    graph : the plan is about this graph without its views, its operators in the plan's order
    fusion : "off": one operator after the other; "rows": operators may run interleaved, a row at a time; "columns":
        a few columns at a time as well
    mac_factor : executed MACs over the network's MACs, at most; more than 1 takes "columns"
    effort : work of the exact solver on each of the best candidates, about seconds
    memories : ways to divide the RAM into memories, as ``memories.distribute`` takes them; none: one without a limit
    reorder : run the operators in a better order where there is one
    """
    graph = without_views(graph)
    if reorder:
        graph = in_best_order(graph, fusion)
    alone = place_program(graph, Program(tuple(Stage((Group((i,)),)) for i in range(len(graph.ops)))))
    if fusion == "off" or not graph.ops:
        return assemble(graph, distribute(graph, [solve_placement(alone, effort)], memories), alone.live_bound)
    macs = sum(op.macs for op in graph.ops)
    extra = int(macs * (mac_factor - 1.0))
    limit = extra + _OVERHEAD * macs if macs else float("inf")
    found, bounds = [(alone, 0.0)], [alone.live_bound]
    for segments, extra_macs in _searches(fusion, extra):
        cuts = Cuts(graph, segments)
        bounds.append(improve(cuts, extra_macs=extra_macs, rounds=8 if len(graph.ops) <= _SMALL else 3))
        best = min(p.arena for p, _ in found)
        if bounds[-1] <= _NEARLY * best:
            found += _candidates(graph, cuts, bounds[-1], extra_macs, limit)
    found.sort(key=lambda x: (x[0].arena, x[1]))
    smallest = found[0][0].arena
    plain = [x for x in found[_SOLVED:] if x[0] is alone]
    worth_solving = [x for x in (*found[:_SOLVED], *plain) if x[0].live_bound <= smallest - ALIGNMENT]
    found += [(solve_placement(p, effort), cost) for p, cost in worth_solving]
    smallest = min(p.arena for p, _ in found)
    chosen, _ = min((x for x in found if x[0].arena <= _NEARLY * smallest), key=lambda x: (x[1], x[0].arena))
    least, _ = min(found, key=lambda x: (x[0].arena, x[1]))
    return assemble(graph, distribute(graph, [chosen, least], memories), min(bounds))


def _searches(fusion: Fusion, extra_macs: int) -> Iterator[tuple[Widths, int]]:
    """Widths of segments and recomputation allowed; what may save most comes first."""
    if fusion == "columns":
        if extra_macs:
            yield SEGMENTS, extra_macs
        yield SEGMENTS, 0
    yield (), 0


def find_order(graph: Graph, fusion: Fusion = "columns") -> Order:
    """The order in which ``plan_memory`` runs the operators of ``graph``, views not counted."""
    graph = without_views(graph)
    return best_order(graph, None if fusion == "off" else SEGMENTS if fusion == "columns" else ())


def in_best_order(graph: Graph, fusion: Fusion) -> Graph:
    """``graph``, or the same network in a better order."""
    order = find_order(graph, fusion)
    return in_order(graph, order.ops) if order.changed else graph


def _candidates(
    graph: Graph, cuts: Cuts, bound: int, extra_macs: int, limit: float
) -> Iterator[tuple[Placement, float]]:
    """Placed programs and what they cost beyond plain layers, from the smallest peak upwards.

    Larger peaks are looked at while they could place better.

    Parameters
    ----------
    limit : they cost no more than that many instructions
    """
    seen: set[Program] = set()
    best = NO_LIMIT
    small = len(graph.ops) <= _SMALL
    for target in (int(bound * x) for x in _TARGETS):
        for slack in _SLACK if small or not seen else ():
            stages = cheapest(cuts, target, extra_macs, int(target * slack)) if target < best else None
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
