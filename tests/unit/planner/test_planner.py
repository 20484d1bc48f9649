"""The planner's one entry point on plain numbers: views, owners, in-place results, determinism."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import Builder, networks
from tvm_tiny.planner import (
    Fusion,
    Graph,
    Home,
    Kind,
    Op,
    PlanError,
    PlannedStage,
    Tensor,
    Window,
    find_peak,
    find_views,
    plan_memory,
    verify,
)

MODES: tuple[Fusion, ...] = ("off", "rows", "columns")


def flat(name: str, size: int, home: Home = Home.ARENA) -> Tensor:
    return Tensor(name, 1, 1, size, home=home)


def chain(*sizes: int, in_place: frozenset[int] = frozenset()) -> Graph:
    """The caller's input, then one operator on whole tensors per size; the last result is the caller's too."""
    tensors = [flat("x", 16, Home.CALLER), *(flat(f"t{i}", size) for i, size in enumerate(sizes))]
    tensors[-1] = replace(tensors[-1], home=Home.CALLER)
    ops = [Op(f"op{i}", Kind.WHOLE, (i,), (i + 1,), in_place=(0,) if i in in_place else ()) for i in range(len(sizes))]
    return Graph(tuple(tensors), tuple(ops), (len(sizes),))


@pytest.mark.parametrize("fusion", MODES)
def test_chain_needs_its_two_largest_neighbours(fusion: Fusion) -> None:
    plan = plan_memory(chain(400, 800, 200, 8), fusion=fusion)
    verify(plan)
    assert plan.arena_bytes == 1200
    assert plan.caller_bytes == 24
    assert plan.optimal


def test_in_place_saves_the_copy() -> None:
    assert plan_memory(chain(400, 400, 8, in_place=frozenset({1}))).arena_bytes == 400
    assert plan_memory(chain(400, 400, 8)).arena_bytes == 800


def test_in_place_is_not_taken_while_the_input_is_still_needed() -> None:
    tensors = (flat("x", 8, Home.CALLER), flat("a", 80), flat("b", 80), flat("c", 80))
    ops = (
        Op("conv", Kind.WHOLE, (0,), (1,)),
        Op("relu", Kind.WHOLE, (1,), (2,), in_place=(0,)),
        Op("add", Kind.WHOLE, (1, 2), (3,), in_place=(0, 1)),
    )
    plan = plan_memory(Graph(tensors, ops, (3,)))
    verify(plan)
    assert plan.arena_bytes == 160


def test_in_place_where_another_reader_takes_the_bytes_for_planes() -> None:
    image = Tensor("b", 1, 10, 8, planes=8)
    tensors = (flat("x", 8, Home.CALLER), flat("a", 80), image, flat("c", 4))
    ops = (
        Op("conv", Kind.WHOLE, (0,), (1,)),
        Op("lookup", Kind.WHOLE, (1,), (2,), in_place=(0,)),
        Op("conv2", Kind.WHOLE, (2,), (3,)),
    )
    plan = plan_memory(Graph(tensors, ops, (3,)))
    verify(plan)
    assert plan.arena_bytes == 88  # 80 and 4, each a multiple of 8
    assert plan.offset(1) == plan.offset(2)


def test_verifier_wants_the_same_byte_in_place() -> None:
    """One pixel further, with the image's pieces of other sizes than the flat tensor's, is over what is still read."""
    tensors = (flat("x", 8, Home.CALLER), flat("a", 80), Tensor("b", 1, 10, 8, planes=8), flat("c", 4))
    ops = (
        Op("conv", Kind.WHOLE, (0,), (1,)),
        Op("lookup", Kind.WHOLE, (1,), (2,), in_place=(0,)),
        Op("conv2", Kind.WHOLE, (2,), (3,)),
    )
    plan = plan_memory(Graph(tensors, ops, (3,)))
    for by in (-8, 8):
        stages = [
            replace(s, places={t: replace(p, offset=p.offset + 8 + by * (t == 2)) for t, p in s.places.items()})
            for s in plan.stages
        ]
        size = plan.arena_bytes + 16
        arena = replace(plan.arenas[0], memory=replace(plan.arenas[0].memory, size_bytes=size), size_bytes=size)
        with pytest.raises(PlanError, match="lookup writes over what it is reading"):
            verify(replace(plan, stages=tuple(stages), arena_bytes=size, arenas=(arena,)))


def test_an_image_times_a_row_of_it_is_not_made_in_place() -> None:
    b = Builder(9, 4, 2)
    x = b.conv(0, 5, Window(), Window(), (0, 0))
    y = b.conv(b.scale(b.move(x, (3, 0), (1, 1), (1, 4)), x), 1, Window(), Window(), (0, 0))
    plan = plan_memory(find_views(b.graph(y)))
    verify(plan)
    op = next(op for op in plan.graph.ops if op.name.startswith("scale"))
    assert len(set(op.inputs)) == 1
    assert op.in_place
    assert op.replaceable == ()


def test_verifier_catches_in_place_without_leave() -> None:
    plan = plan_memory(chain(80, 80, 8, in_place=frozenset({1})))
    verify(plan)
    ops = tuple(replace(op, in_place=()) for op in plan.graph.ops)
    with pytest.raises(PlanError, match="op1 writes over what it is reading"):
        verify(replace(plan, graph=Graph(plan.graph.tensors, ops, plan.graph.outputs)))


def test_view_of_the_result_is_written_to_the_callers_buffer() -> None:
    tensors = (flat("x", 8, Home.CALLER), flat("a", 64), flat("y", 64, Home.CALLER))
    ops = (Op("conv", Kind.WHOLE, (0,), (1,)), Op("reshape", Kind.VIEW, (1,), (2,)))
    plan = plan_memory(Graph(tensors, ops, (2,)))
    verify(plan)
    assert (plan.arena_bytes, plan.caller_bytes) == (0, 8 + 64)


def test_view_between_two_owners_is_refused() -> None:
    tensors = (flat("x", 8, Home.CALLER), flat("y", 8, Home.CALLER))
    with pytest.raises(ValueError, match="reshape: a view cannot join x and y"):
        plan_memory(Graph(tensors, (Op("reshape", Kind.VIEW, (0,), (1,)),), (1,)))


def test_an_image_behind_a_view_has_the_rows_its_readers_go_through() -> None:
    tensors = (flat("x", 64, Home.CALLER), Tensor("image", 8, 8, 1), Tensor("y", 8, 8, 4), Tensor("z", 1, 1, 4))
    window = Window(3, 1, 1)
    ops = (
        Op("reshape", Kind.VIEW, (0,), (1,)),
        Op("conv", Kind.ROWS, (1,), (2,), (window,), (window,)),
        Op("pool", Kind.ROWS, (2,), (3,), (Window(8, 8),), (Window(8, 8),)),
    )
    graph = Graph(tensors, ops, (3,))
    assert [op.kind for op in plan_memory(graph).graph.ops] == [Kind.ROWS, Kind.ROWS]
    # Somebody who writes rows of another length takes them away.
    made = (replace(tensors[0], home=Home.ARENA, columns=4, pixel_bytes=16), *tensors[1:])
    source = Op("source", Kind.ROWS, (), (0,))
    plan = plan_memory(Graph(made, (source, *ops), (3,)))
    verify(plan)
    assert [op.kind for op in plan.graph.ops] == [Kind.ROWS, Kind.WHOLE, Kind.ROWS]


def test_an_input_that_nobody_reads_has_bytes_of_its_own() -> None:
    tensors = (flat("x", 40, Home.INPUT), flat("unread", 24, Home.INPUT), flat("y", 80))
    graph = Graph(tensors, (Op("dense", Kind.WHOLE, (0,), (2,)),), (2,))
    plan = plan_memory(graph)
    verify(plan)
    assert plan.arena_bytes == 40 + 24 + 80
    with pytest.raises(PlanError, match="not \\(or no longer\\) there"):
        verify(replace(plan, stages=tuple(_moved(s, 1, plan.offset(0) or 0) for s in plan.stages)))


def _moved(stage: PlannedStage, tensor: int, offset: int) -> PlannedStage:
    places = {**stage.places, tensor: replace(stage.places[tensor], offset=offset)}
    return replace(stage, places=places)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ((Op("a", Kind.WHOLE, (1,), (0,)),), "reads t1 before"),
        ((Op("a", Kind.WHOLE, (), (0,)), Op("b", Kind.WHOLE, (), (0,))), "written already"),
        ((Op("a", Kind.WHOLE, (), (0,)), Op("b", Kind.WHOLE, (0,), (1,), shows=(0, 4))), "b could be a view"),
        ((Op("a", Kind.VIEW, (), (0, 1)),), "a place for each input"),
        ((Op("a", Kind.WHOLE, (), (0,)), Op("b", Kind.ROWS, (0,), (1,))), "one window per input"),
    ],
)
def test_malformed_graphs_are_refused(ops: tuple[Op, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph((flat("t0", 8), flat("t1", 8)), ops, ())


def test_a_callers_output_is_not_read_before_it_is_written() -> None:
    tensors = (flat("x", 8, Home.CALLER), flat("y", 8, Home.CALLER))
    ops = (Op("a", Kind.WHOLE, (1,), ()), Op("b", Kind.WHOLE, (0,), (1,)))
    with pytest.raises(ValueError, match="a reads y before it is written"):
        Graph(tensors, ops, (1,))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from(MODES))
def test_the_same_plan_for_the_same_graph(graph: Graph, fusion: Fusion) -> None:
    plan = plan_memory(graph, fusion=fusion)
    verify(plan)
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan_memory(graph, fusion=fusion).to_dict() == plan.to_dict()


def test_whole_rows_mean_groups_of_one_operator() -> None:
    window = Window(3, 1, 1)
    tensors = (Tensor("x", 32, 32, 3, home=Home.CALLER), *(Tensor(f"t{i}", 32, 32, 8) for i in range(4)))
    ops = tuple(Op(f"op{i}", Kind.ROWS, (i,), (i + 1,), (window,), (window,)) for i in range(4))
    graph = Graph((*tensors[:-1], replace(tensors[-1], home=Home.CALLER)), ops, (4,))
    arenas = {fusion: plan_memory(graph, fusion=fusion) for fusion in MODES}
    assert all(len(g.schedule.runs) == 1 for s in arenas["rows"].stages for g in s.groups)
    assert all(len(s.groups) == 1 for s in arenas["off"].stages)
    # Three rings of three rows; a full tensor's successor begins two rows below it, and that one's two rows further.
    assert arenas["rows"].arena_bytes == 3 * 3 * 32 * 8
    assert arenas["off"].arena_bytes == (32 + 2 + 2) * 32 * 8
    assert arenas["columns"].arena_bytes < arenas["rows"].arena_bytes


def test_the_peak_names_what_is_live() -> None:
    peak = find_peak(plan_memory(chain(400, 800, 200, 8)))
    assert peak is not None
    assert (peak.bytes, peak.blocks) == (1200, (("t1", 800), ("t0", 400)))
    assert find_peak(plan_memory(Graph((flat("x", 8, Home.CALLER),), (), (0,)))) is None


def test_there_is_a_peak_when_all_is_the_callers() -> None:
    tensors = (flat("x", 8, Home.CALLER), flat("y", 8, Home.CALLER))
    peak = find_peak(plan_memory(Graph(tensors, (Op("op", Kind.WHOLE, (0,), (1,)),), (1,))))
    assert peak is not None
    assert (peak.bytes, peak.blocks) == (0, ())


@pytest.mark.slow
def test_large_graph_is_planned() -> None:
    rng = random.Random(1)
    tensors = [flat("x", 100, Home.CALLER)]
    ops = []
    for i in range(1000):
        tensors.append(flat(f"t{i}", rng.randrange(1, 5000)))
        reads = {max(0, i - rng.randrange(0, 20)), i}
        ops.append(Op(f"op{i}", Kind.WHOLE, tuple(sorted(reads)), (i + 1,)))
    start = time.process_time()
    plan = plan_memory(Graph(tuple(tensors), tuple(ops), (1000,)), fusion="rows")
    assert time.process_time() - start < 60
    verify(plan)
    assert plan.arena_bytes < 2 * plan.lower_bound_bytes
