"""Random networks run in random ways: every plan must survive the replay."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import networks, programs
from tvm_tiny.planner.assemble import assemble, place_program
from tvm_tiny.planner.graph import Graph, stream_input
from tvm_tiny.planner.offsets import ALIGNMENT
from tvm_tiny.planner.plan import Plan
from tvm_tiny.planner.planner import find_views, plan_memory
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.verify import verify
from tvm_tiny.planner.views import with_views, without_views

EXAMPLES = int(os.environ.get("PLANNER_EXAMPLES", "150"))
QUIET = list(HealthCheck)


def _begins_with_a_row(plan: Plan) -> bool:
    """What the compiler counts on: nothing runs before the first row that is pushed."""
    source = plan.stages[0].groups[0].schedule
    return (source.delay, source.first) == (plan.stages[0].begin, 0)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=QUIET)
@given(st.data())
def test_any_program_can_be_placed_and_replayed(data: st.DataObject) -> None:
    graph = without_views(with_views(data.draw(networks()), lambda _: data.draw(st.booleans())))
    streamed = data.draw(st.booleans())
    graph = stream_input(graph, 0) if streamed else graph
    placement = place_program(graph, data.draw(programs(graph)))
    assert placement.live_bound <= placement.arena
    plan = assemble(graph, placement, 0)
    verify(plan)
    if streamed and not plan.stages[0].bottom_up:
        assert _begins_with_a_row(plan)


@settings(max_examples=max(15, EXAMPLES // 6), deadline=None, suppress_health_check=QUIET)
@given(networks(), st.booleans(), st.sampled_from((1.0, 1.5)))
def test_planner_output_is_right_and_never_above_layer_by_layer(graph: Graph, streamed: bool, factor: float) -> None:
    graph = without_views(find_views(graph))
    graph = stream_input(graph, 0) if streamed else graph
    plan = plan_memory(graph, mac_factor=factor, effort="fast")
    verify(plan)
    plain = place_program(graph, Program(tuple(Stage((Group((i,)),)) for i in range(len(graph.ops)))))
    assert plan.arena_bytes <= plain.arena + ALIGNMENT
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.executed_macs <= plan.macs * factor + 1
    if streamed:
        assert _begins_with_a_row(plan)
