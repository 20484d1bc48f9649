"""RAM against work, and the choice for a goal."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner import Choice, Goal, Graph, Memory, Window, choose, measure, pareto, plan_memory, verify


def network(side: int = 16) -> Graph:
    """Two blocks of expand, depthwise-like, project, each wide enough that segments and recomputation pay."""
    b = Builder(side, side, 3)
    x = b.conv(0, 8, Window(3, 1, 1), Window(3, 1, 1), (1, 1))
    for stride in (1, 2):
        x = b.conv(x, 32, Window(), Window(), (0, 0))
        x = b.conv(x, 32, Window(3, stride, 1), Window(3, stride, 1), (1, 1))
        x = b.conv(x, 8, Window(), Window(), (0, 0))
    return b.graph(b.dense(b.view(b.mean(x)), 4))


@pytest.fixture(scope="module")
def front() -> tuple[Choice, ...]:
    return pareto(network(), effort="fast")


def test_a_front_falls_in_ram_as_it_grows_in_work(front: tuple[Choice, ...]) -> None:
    assert {x.how for x in front} == {"layer by layer", "rows", "columns", "recompute"}
    assert front[0].how == "layer by layer"
    assert front[0].overhead == 0
    for a, b in pairwise(front):
        assert a.plan.ram_bytes > b.plan.ram_bytes
        assert a.overhead < b.overhead
    for x in front:
        verify(x.plan)
        assert x.mac_factor <= 2
        assert x == measure(x.plan)
        assert x.overhead >= x.mac_factor - 1


def test_bounds_of_a_front() -> None:
    graph = network()
    assert all(x.mac_factor == 1 for x in pareto(graph, mac_factor=1.0, effort="fast"))
    assert {x.how for x in pareto(graph, fusion="rows", effort="fast")} == {"layer by layer", "rows"}
    assert [x.how for x in pareto(graph, fusion="off", effort="fast")] == ["layer by layer"]


def test_objectives(front: tuple[Choice, ...]) -> None:
    graph = network()
    assert choose(graph, Goal("time", effort="fast")).plan.ram_bytes == front[0].plan.ram_bytes
    assert choose(graph, Goal("ram", effort="fast")).plan.ram_bytes == front[-1].plan.ram_bytes
    mild = [x.plan.ram_bytes for x in front if x.overhead <= 0.05 and x.mac_factor == 1]
    assert choose(graph, Goal(effort="fast")).plan.ram_bytes == min(mild)
    tight = choose(graph, Goal("ram", max_overhead=0.03, effort="fast"))
    assert tight.overhead <= 0.03


def test_a_bound_takes_the_least_work_that_fits(front: tuple[Choice, ...]) -> None:
    graph = network()
    for wanted in front[1:-1:3]:
        found = choose(graph, Goal(ram_bytes=wanted.plan.ram_bytes, effort="fast"))
        assert found.plan.ram_bytes <= wanted.plan.ram_bytes
        assert found.overhead <= wanted.overhead
    board = ((Memory("ram", front[1].plan.ram_bytes),),)
    assert choose(graph, Goal("time", effort="fast"), memories=board).overhead <= front[1].overhead


def test_the_smallest_where_nothing_fits(front: tuple[Choice, ...]) -> None:
    found = choose(network(), Goal(ram_bytes=100, effort="fast"))
    assert found.plan.ram_bytes <= front[-1].plan.ram_bytes
    narrow = choose(network(), Goal(ram_bytes=100, max_overhead=0.0, effort="fast"))
    assert narrow.overhead == 0


def test_more_effort_is_never_larger() -> None:
    graph = network(9)
    sizes = [plan_memory(graph, mac_factor=1.2, effort=effort).arena_bytes for effort in ("fast", "default", "max")]
    assert sizes == sorted(sizes, reverse=True)
