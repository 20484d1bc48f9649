"""Parts of rows: when they are taken, what they need of operators, and rows dealt out to the planes of an image."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner import Graph, PlanError, Window, plan_memory, verify
from tvm_tiny.planner.graph import Op

SAME, HALF = Window(3, 1, 1), Window(3, 2, 0)


def wide_chain() -> Graph:
    """Rows so wide that rolling buffers are most of the memory."""
    b = Builder(16, 64, 2)
    x = b.conv(0, 32, SAME, SAME, (1, 1), scratch=8)
    x = b.conv(b.conv(x, 32, SAME, SAME, (1, 1)), 32, SAME, SAME, (1, 1))
    return b.graph(b.conv(x, 1, Window(16, 16), Window(64, 64), (0, 0)))


def with_ops(graph: Graph, **changes: object) -> Graph:
    ops: list[Op] = [replace(op, **changes) for op in graph.ops]  # type: ignore[arg-type]
    return Graph(graph.tensors, tuple(ops), graph.outputs)


def test_segments_where_they_pay() -> None:
    rows, columns = (plan_memory(wide_chain(), fusion=f) for f in ("rows", "columns"))
    verify(columns)
    assert columns.arena_bytes < rows.arena_bytes
    (described,) = [g for s in columns.to_dict()["stages"] for g in s["groups"]][:1]
    assert described["columns"] in (4, 8)
    assert all(s["line_bytes"] < s["row_bytes"] and s["new_rows"] == 1 for s in described["staged"])


@pytest.mark.parametrize("change", [{"whole_rows_only": True}, {"split_cost": 10**9}], ids=["cannot", "costs too much"])
def test_whole_rows_where_they_do_not(change: dict[str, object]) -> None:
    graph = with_ops(wide_chain(), **change)
    rows, columns = (plan_memory(graph, fusion=f) for f in ("rows", "columns"))
    assert columns.arena_bytes == rows.arena_bytes
    assert all(len(g.schedule.runs) == 1 for s in columns.stages for g in s.groups)


def test_scratch_of_parts_of_rows_is_reserved() -> None:
    graph = with_ops(wide_chain(), segment_scratch_bytes=40)
    plan = plan_memory(graph)
    verify(plan)
    more = with_ops(plan.graph, segment_scratch_bytes=plan.arena_bytes)
    with pytest.raises(PlanError):
        verify(replace(plan, graph=more))


def planar() -> Graph:
    """An image stored as three planes, of which a permutation makes pixels, row by row."""
    b = Builder(96, 64, 3, planes=3)
    x = b.conv(0, 3, Window(), Window(), (0, 0))
    x = b.conv(x, 8, HALF, HALF, (1, 1))
    y = b.conv(x, 8, Window(), Window(), (0, 0))
    return b.graph(b.conv(b.add(x, y), 1, Window(48, 48), Window(32, 32), (0, 0)))


def test_rows_follow_a_planar_image() -> None:
    plan = plan_memory(planar())
    verify(plan)
    dealt = {t: p for s in plan.stages for t, p in s.places.items() if p.layout.is_dealt}
    assert dealt
    assert all(p.layout.modulus == 3 for p in dealt.values())
    assert plan.arena_bytes < 1.2 * plan.graph.tensors[0].size_bytes
    only = with_ops(plan.graph, whole_rows_only=True)
    with pytest.raises(PlanError, match="makes whole rows only"):
        verify(replace(plan, graph=only))


def test_a_planar_image_stays_where_nothing_fits_between_its_planes() -> None:
    graph = with_ops(planar(), whole_rows_only=True)
    plan = plan_memory(graph)
    verify(plan)
    assert not any(p.layout.is_dealt for s in plan.stages for p in s.places.values())
