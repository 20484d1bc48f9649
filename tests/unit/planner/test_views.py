"""Concatenations and slices of bytes in a row: where their parts lie, and which stay copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.planner_graphs import Builder, networks
from tvm_tiny.planner import Memory, Plan, find_views, plan_memory, verify, view_places, with_views, without_views
from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window

SAME = (Window(3, 1, 1), Window(3, 1, 1), (1, 1))


def all_views(graph: Graph) -> Graph:
    return with_views(graph, lambda op: True)


def planned(graph: Graph) -> Plan:
    plan = plan_memory(all_views(graph))
    verify(plan)
    return plan


def offsets(plan: Plan, *tensors: int) -> list[int]:
    """Places of tensors, counted from that of the first."""
    found = [plan.offset(t) for t in tensors]
    assert None not in found
    return [(x or 0) - (found[0] or 0) for x in found]


def heads() -> tuple[Builder, list[int], int]:
    """Three dense layers whose results are joined for a fourth."""
    b = Builder(6, 5, 4)
    parts = [b.dense(0, n) for n in (7, 12, 5)]
    return b, parts, b.concat(parts, 2)


def test_parts_of_a_concatenation_lie_side_by_side_and_nothing_is_left_to_do() -> None:
    b, parts, both = heads()
    graph = b.graph(b.dense(both, 3))
    plan = planned(graph)
    assert [op.name for op in plan.graph.ops] == ["dense1", "dense2", "dense3", "dense5"]
    assert plan.graph.ops[-1].inputs == tuple(parts)
    assert offsets(plan, *parts) == [0, 7, 19]
    copied = plan_memory(with_views(graph, lambda op: False))
    assert len(copied.graph.ops) == 5
    assert find_views(graph).ops[3].kind is Kind.VIEW


def test_all_of_the_input_as_the_result_is_copied() -> None:
    b = Builder(4, 5, 3)
    plan = planned(b.graph(b.move(0, (0, 0), (1, 1), (4, 5))))
    assert [op.name for op in plan.graph.ops] == ["move1"]
    assert plan.arena_bytes == 80  # 60, and a row ahead


def test_a_slice_is_read_where_it_lies() -> None:
    b = Builder(9, 5, 2)
    x = b.conv(0, 4, *SAME)
    y = b.conv(b.move(x, (3, 0), (1, 1), (4, 5)), 3, *SAME)
    plan = planned(b.graph(y))
    first, second = plan.graph.ops
    assert (first.outputs, second.inputs) == ((x,), (x,))
    # Output row 0 reads rows -1 to 1 of the slice, which are rows 2 to 4 of the image.
    assert second.rows == (Window(3, 1, -2),)
    assert second.whole_rows_only


def test_columns_and_pixels_of_a_single_row() -> None:
    b = Builder(1, 9, 2)
    x = b.conv(0, 3, Window(), Window(3, 1, 1), (0, 1))
    halves = [b.move(x, (0, c), (1, 1), (1, 4)) for c in (0, 5)]
    y = b.concat([b.conv(h, 3, Window(), Window(3, 1, 1), (0, 1)) for h in halves], 1)
    plan = planned(b.graph(b.conv(y, 2, Window(), Window(5, 1, 2), (0, 2))))
    left, right, last = plan.graph.ops[1:]
    assert [op.columns[0].before for op in (left, right)] == [1, -4]
    assert [w.before for w in last.columns] == [2, 6]
    assert all(op.kind is Kind.ROWS for op in plan.graph.ops)


def test_views_of_views_make_one_block() -> None:
    b, parts, both = heads()
    more = b.concat([both, b.dense(0, 6)], 2)
    part = b.tensor(1, 1, 9)
    b.ops.append(Op("slice", Kind.WHOLE, (more,), (part,), shows=(-5,)))
    graph = all_views(b.graph(b.dense(part, 3)))
    assert [view_places(graph)[t] for t in (both, more, part)] == [(parts[0], 0), (parts[0], 0), (parts[0], 5)]
    plan = planned(graph)
    assert plan.graph.ops[-1].inputs == tuple(parts[:2])  # the slice ends inside the second part


def test_what_has_to_lie_elsewhere_is_copied_alone() -> None:
    b, parts, first = heads()
    second = b.concat([parts[1], b.dense(0, 6), parts[1]], 2)
    plan = planned(b.graph(b.dense(first, 3), b.dense(second, 3)))
    copies = [op for op in plan.graph.ops if "copy" in op.name]
    assert [(op.kind, op.inputs) for op in copies] == [(Kind.WHOLE, (parts[1],))] * 2
    assert plan.graph.ops[-1].inputs == (copies[0].outputs[0], second - 1, copies[1].outputs[0])
    assert not any(op.name.startswith("concat") for op in plan.graph.ops)


def test_a_part_that_others_read_stays_until_they_have() -> None:
    b, parts, both = heads()
    y = b.dense(both, 40)
    plan = planned(b.graph(y, b.dense(parts[1], 3)))
    assert offsets(plan, *parts) == [0, 7, 19]


def test_buffers_of_the_caller() -> None:
    """A result is written where the caller wants it; an input stays where it is, and what it joins gets a copy."""
    b, _, both = heads()
    owned = [replace(t, home=Home.CALLER) if i in (0, both) else t for i, t in enumerate(b.tensors)]
    plan = planned(Graph(tuple(owned), tuple(b.ops), (both,)))
    assert plan.arena_bytes == 8  # scratch of the dense layers
    assert plan.caller_bytes == 6 * 5 * 4 + 24
    tensors = (Tensor("x", 1, 1, 4, home=Home.CALLER), Tensor("a", 1, 1, 5), Tensor("y", 1, 1, 9), Tensor("z", 1, 1, 2))
    ops = (
        Op("dense", Kind.WHOLE, (0,), (1,)),
        Op("concat", Kind.WHOLE, (0, 1), (2,), shows=(0, 4)),
        Op("last", Kind.WHOLE, (2,), (3,)),
    )
    plan = planned(Graph(tensors, ops, (3,)))
    assert [op.name for op in plan.graph.ops] == ["dense", "x copy in concat:0", "last"]


def test_a_slice_of_a_result_of_the_caller_is_none_of_another() -> None:
    """Bytes have one owner: the second result is copied."""
    tensors = tuple(Tensor(n, 1, 1, 8, home=Home.CALLER if n != "x" else Home.INPUT) for n in ("x", "y", "z"))
    tensors = (*tensors[:2], replace(tensors[2], pixel_bytes=3))
    ops = (Op("dense", Kind.WHOLE, (0,), (1,)), Op("slice", Kind.WHOLE, (1,), (2,), shows=(-4,)))
    assert [op.kind for op in all_views(Graph(tensors, ops, (1, 2))).ops] == [Kind.WHOLE] * 2


@pytest.mark.parametrize("results", [(1, 2), (2,)])
def test_results_have_bytes_of_their_own(results: tuple[int, ...]) -> None:
    """Neither another result's nor an input's: whoever fills the input may still want the result."""
    inside = Home.ARENA if len(results) == 2 else Home.INPUT
    tensors = (Tensor("x", 1, 1, 8, home=Home.INPUT), Tensor("y", 1, 1, 8, home=inside), Tensor("z", 1, 1, 3))
    ops = (Op("slice", Kind.WHOLE, (1,), (2,), shows=(-4,)),)
    if len(results) == 2:
        ops = (Op("dense", Kind.WHOLE, (0,), (1,)), *ops)
    assert all_views(Graph(tensors, ops, results)).ops[-1].kind is Kind.WHOLE


def test_rolling_buffers_stay_where_they_take_less() -> None:
    """Between two convolutions that run row by row a slice keeps a few rows; a view would keep them all."""
    b = Builder(40, 8, 4)
    x = b.conv(b.conv(0, 24, *SAME), 24, *SAME)
    y = b.conv(b.move(x, (2, 0), (1, 1), (30, 8)), 24, *SAME)
    graph = b.graph(b.conv(y, 2, Window(3, 2, 1), Window(3, 2, 1), (1, 1)))
    chosen = plan_memory(find_views(graph))
    assert chosen.arena_bytes <= min(
        plan_memory(with_views(graph, lambda op, v=v: v)).arena_bytes for v in (False, True)
    )


def test_a_block_is_in_one_memory() -> None:
    b, parts, both = heads()
    plan = plan_memory(all_views(b.graph(b.dense(both, 3))), memories=[[Memory("fast", 40), Memory("slow", 1000, 0.5)]])
    verify(plan)
    assert len({plan.locate(plan.offset(t) or 0)[0] for t in parts}) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_readers_find_the_bytes_they_were_written_for(graph: Graph) -> None:
    """Rows and columns of a view, as its readers count them, are those of the tensors that they read instead."""
    seen = all_views(graph)
    plain, where = without_views(seen), view_places(seen)
    sources = {op.outputs: op for op in seen.ops}
    for op in plain.ops:
        if op.kind is not Kind.ROWS:
            continue
        for y in range(plain.op_rows(plain.ops.index(op))):
            wanted, found = (_bytes(g, o, y, where) for g, o in ((seen, sources[op.outputs]), (plain, op)))
            assert wanted <= found


def _bytes(graph: Graph, op: Op, y: int, where: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """(first tensor of a block, byte) of all that row ``y`` reads, rows under the window as wholes."""
    read: set[tuple[int, int]] = set()
    for t, w in zip(op.inputs, op.rows, strict=True):
        x, (first, start) = graph.tensors[t], where[t]
        for tap in range(w.kernel):
            row = y * w.stride - w.before + tap * w.dilation
            if 0 <= row < x.rows:
                read |= {(first, int(b)) for b in start + row * x.row_bytes + np.arange(x.row_bytes)}
    return read
