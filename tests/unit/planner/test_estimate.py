"""Networks described by shapes, and what they need without a plan."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import networks
from tvm_tiny.planner import Graph, NetworkBuilder, estimate, plan_memory, stream_input, verify, without_views
from tvm_tiny.planner.search import Cuts, best_peak


def mobilenet_v2(side: int, width: float, classes: int = 10) -> Graph:
    net = NetworkBuilder()

    def channels(n: int) -> int:
        return max(8, int(n * width + 4) // 8 * 8)

    x, wide = net.conv(net.input(side, side, 3), channels(32), 3, 2), channels(32)
    blocks = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    )  # fmt: skip
    for expand, n, repeats, stride in blocks:
        for k in range(repeats):
            y = net.conv(x, wide * expand) if expand > 1 else x
            y = net.conv(net.depthwise(y, 3, stride if k == 0 else 1), channels(n))
            x, wide = (net.add(x, y) if k else y), channels(n)
    net.dense(net.mean(net.conv(x, 1280)), classes)
    return net.graph()


def test_shapes_and_macs() -> None:
    net = NetworkBuilder(scratch=0)
    image = net.input(9, 8, 3)
    a = net.conv(image, 4, 3, 2)  # 5 x 4
    b = net.conv(image, 4, (3, 1), (2, 2), "valid")  # 4 x 4
    c = net.pool(a, 2)  # 2 x 2
    d = net.depthwise(a, (3, 5))
    out = net.dense(net.mean(net.add(a, d)), 7)
    graph = net.graph(b, c, out)
    shapes = [(t.rows, t.columns, t.pixel_bytes) for t in graph.tensors[1:5]]
    assert shapes == [(5, 4, 4), (4, 4, 4), (2, 2, 4), (5, 4, 4)]
    assert [op.macs for op in graph.ops] == [80 * 27, 64 * 9, 0, 80 * 15, 0, 0, 28]
    # TensorFlow's padding: one row before and one behind of nine at a stride of two; of eight columns one behind.
    assert (graph.ops[0].rows[0].before, graph.ops[0].columns[0].before) == (1, 0)
    verify(plan_memory(graph))


def test_what_does_not_go_together() -> None:
    net = NetworkBuilder()
    image = net.input(4, 4, 3)
    with pytest.raises(ValueError, match="conv: a window of 5 does not fit into 4"):
        net.conv(image, 4, 5, padding="valid")
    with pytest.raises(ValueError, match="input0 and conv0 have different shapes"):
        net.add(image, net.conv(image, 4))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.booleans())
def test_estimates_are_close_to_the_search(graph: Graph, streamed: bool) -> None:
    graph = without_views(graph)
    graph = stream_input(graph, 0) if streamed else graph
    searched = best_peak(Cuts(graph, ()))[-1]
    found = estimate(graph)
    rows = sum(sorted((t.row_bytes for t in graph.tensors), reverse=True)[:4])
    assert searched <= found.ram_bytes <= searched + rows
    assert found.macs == sum(op.macs for op in graph.ops)
    assert found.stages[0] == 0
    assert list(found.stages) == sorted(set(found.stages))


def test_a_mobilenets_estimate_is_what_the_search_finds() -> None:
    graph = mobilenet_v2(160, 0.5)
    assert estimate(graph).ram_bytes == best_peak(Cuts(graph, ()))[-1]


def test_a_callers_image_costs_its_size() -> None:
    for caller in (False, True):
        net = NetworkBuilder(scratch=0)
        net.dense(net.input(8, 8, 4, caller=caller), 16)
        assert estimate(net.graph()).ram_bytes == 256 + 16


def test_nothing_to_do() -> None:
    net = NetworkBuilder()
    net.input(8, 8, 4)
    assert estimate(net.graph()) == estimate(net.graph(0))
    assert (estimate(net.graph()).ram_bytes, estimate(net.graph()).stages) == (256, ())
