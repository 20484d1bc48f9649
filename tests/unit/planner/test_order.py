"""Orders of operators against all there are."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import Builder, networks
from tvm_tiny.planner import plan_memory, stream_input, verify, without_views
from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window, reorder
from tvm_tiny.planner.order import best_order, peak_of
from tvm_tiny.planner.peak import stage_peak
from tvm_tiny.planner.program import Group, Stage
from tvm_tiny.planner.schedule import schedule_stage

QUIET = list(HealthCheck)


@st.composite
def dags(draw: st.DrawFn, most: int = 7) -> Graph:
    """Operators on any earlier tensors; whole tensors and rows; some results are outputs, some nobody reads."""
    tensors = [Tensor("in", 4, 1, draw(st.integers(1, 50)), home=draw(st.sampled_from((Home.INPUT, Home.CALLER))))]
    ops: list[Op] = []
    for i in range(draw(st.integers(2, most))):
        inputs = tuple(dict.fromkeys(draw(st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=3))))
        outputs = tuple(range(len(tensors), len(tensors) + draw(st.sampled_from((1, 1, 1, 2)))))
        tensors += [Tensor(f"t{t}", 4, 1, draw(st.integers(1, 50))) for t in outputs]
        scratch = draw(st.sampled_from((0, 0, 30)))
        if len(outputs) == 1 and draw(st.booleans()):
            windows = (Window(3, 1, 1),) * len(inputs)
            ops.append(Op(f"rows{i}", Kind.ROWS, inputs, outputs, windows, windows, scratch))
        else:
            ops.append(Op(f"whole{i}", Kind.WHOLE, inputs, outputs, scratch_bytes=scratch))
    made = [t for op in ops for t in op.outputs]
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    return Graph(tuple(tensors), tuple(ops), tuple(outputs))


def orders(graph: Graph) -> list[tuple[int, ...]]:
    """All valid orders."""
    needs = [{graph.producer[t] for t in op.inputs if t in graph.producer} for op in graph.ops]
    everything = permutations(range(len(graph.ops)))
    return [o for o in everything if all(needs[op] <= set(o[:i]) for i, op in enumerate(o))]


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(dags())
def test_no_order_is_better_than_the_best(graph: Graph) -> None:
    best = best_order(graph)
    assert best.proved
    assert peak_of(reorder(graph, best.ops)) == best.peak_bytes
    assert best.peak_bytes == min(peak_of(reorder(graph, o)) for o in orders(graph))
    if peak_of(graph) == best.peak_bytes:
        assert not best.changed


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(dags(12), st.integers(0, 40))
def test_without_enough_steps_the_order_is_valid_and_no_worse(graph: Graph, steps: int) -> None:
    found, exact = best_order(graph, steps=steps), best_order(graph)
    assert peak_of(reorder(graph, found.ops)) == found.peak_bytes
    assert exact.peak_bytes <= found.peak_bytes <= peak_of(graph)
    assert not found.proved or found.peak_bytes == exact.peak_bytes


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET)
@given(networks())
def test_bytes_are_those_of_the_planner(graph: Graph) -> None:
    graph = without_views(graph)
    graph = Graph(tuple(t for t in graph.tensors), graph.ops, graph.outputs)
    if graph.unread_inputs() or any(len(op.in_place) > 1 for op in graph.ops):
        return
    stages = [Stage((Group((i,)),)) for i in range(len(graph.ops))]
    assert peak_of(graph) == max(stage_peak(graph, s, schedule_stage(graph, s)) for s in stages)


def branches(order: str) -> Graph:
    """Four branches that widen and narrow again, written depth first or breadth first, and joined."""
    b = Builder(8, 8, 4)
    point = (Window(), Window(), (0, 0))
    narrow = []
    if order == "depth":
        narrow = [b.conv(b.conv(0, 64, *point), 2, *point) for _ in range(4)]
    else:
        wide = [b.conv(0, 64, *point) for _ in range(4)]
        narrow = [b.conv(x, 2, *point) for x in wide]
    return b.graph(b.add(b.add(narrow[0], narrow[1]), b.add(narrow[2], narrow[3])))


def test_breadth_first_becomes_depth_first() -> None:
    given_one, wanted = branches("breadth"), branches("depth")
    best = best_order(given_one)
    assert (best.proved, best.changed) == (True, True)
    assert best.peak_bytes <= peak_of(wanted) < peak_of(given_one) / 2
    assert not best_order(reorder(given_one, best.ops)).changed


@pytest.mark.parametrize("fusion", ["off", "rows"])
def test_plans_take_the_better_order(fusion: str) -> None:
    kept = plan_memory(branches("breadth"), fusion=fusion, reorder=False)
    plan = plan_memory(branches("breadth"), fusion=fusion)
    verify(plan)
    assert [op.name for op in kept.graph.ops] == [op.name for op in branches("breadth").ops]
    assert plan.arena_bytes <= kept.arena_bytes
    if fusion == "off":
        assert plan.arena_bytes < kept.arena_bytes / 2


def test_a_streamed_input_stays_first() -> None:
    graph = stream_input(branches("breadth"), 0)
    assert best_order(graph).ops[0] == 0


def test_hundreds_of_operators() -> None:
    """No exact answer, but one."""
    b = Builder(6, 6, 4)
    point = (Window(), Window(), (0, 0))
    ends = [0]
    for i in range(60):
        wide = [b.conv(x, 8 + (i * 7 + j) % 5, *point) for j, x in enumerate((ends * 4)[:4])]
        ends = [b.conv(x, 4, *point) for x in wide]
    graph = b.graph(b.add(b.add(ends[0], ends[1]), b.add(ends[2], ends[3])))
    best = best_order(graph)
    assert best.peak_bytes < peak_of(graph)
