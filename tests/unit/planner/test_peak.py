"""The quick price of a stage is what its blocks add up to, step by step."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import networks, programs
from tvm_tiny.planner.buffers import in_place_pairs, live_bytes, passing_tensors, stage_blocks
from tvm_tiny.planner.graph import Graph, stream_input
from tvm_tiny.planner.liveness import Trace
from tvm_tiny.planner.peak import stage_peak
from tvm_tiny.planner.program import Stage
from tvm_tiny.planner.schedule import schedule_stage
from tvm_tiny.planner.views import with_views, without_views


def slow_peak(graph: Graph, stage: Stage, stuck: list[int]) -> int:
    trace = Trace(graph, stage, schedule_stage(graph, stage))
    total = np.zeros_like(trace.tick)
    for buffer, parts in stage_blocks(graph, trace, {}):
        whole = buffer.key in {("tensor", t) for t in stuck}
        total = total + (buffer.size_bytes if whole else live_bytes(parts))
    for t, op, _ in in_place_pairs(graph, trace):
        total = total - trace.fires(trace.place[op][0]) * graph.tensors[t].row_bytes
    passing = passing_tensors(graph, min(stage.ops), frozenset(stage.ops))
    return int(total.max()) + sum(graph.tensors[t].size_bytes for t in passing)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_quick_and_slow_agree(data: st.DataObject) -> None:
    graph = without_views(with_views(data.draw(networks()), lambda _: data.draw(st.booleans())))
    if data.draw(st.booleans()):
        graph = stream_input(graph, 0)
    for stage in data.draw(programs(graph)).stages:
        stuck = [t for op in stage.ops for t in graph.ops[op].inputs if graph.tensors[t].planes > 1]
        for given_stuck in ([], stuck):
            found = stage_peak(graph, stage, schedule_stage(graph, stage), None, given_stuck)
            assert found == slow_peak(graph, stage, given_stuck)
