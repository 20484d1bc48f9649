"""The memory planner and its verifier, on plain numbers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_tiny.planner import Graph, Home, Op, Plan, PlanError, Tensor, plan_memory, verify


def chain(*sizes: int, in_place: frozenset[int] = frozenset()) -> Graph:
    """Input, then one operator per size; the last result is the output."""
    tensors = [Tensor("x", 16, home=Home.INPUT)]
    tensors += [Tensor(f"t{i}", size) for i, size in enumerate(sizes)]
    tensors[-1] = replace(tensors[-1], home=Home.OUTPUT)
    ops = [
        Op(f"op{i}", "conv", (i,), (i + 1,), in_place_inputs=(0,) if i in in_place else ()) for i in range(len(sizes))
    ]
    return Graph(tuple(tensors), tuple(ops))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random networks: chains, residuals, branches, views, in-place operators, scratch."""
    n = draw(st.integers(1, 25))
    tensors = [Tensor("x", 24, home=Home.INPUT)]
    ops = []
    for i in range(n):
        kind = draw(st.sampled_from(["conv", "conv", "add", "relu", "view", "split"]))
        recent = st.integers(max(0, len(tensors) - 6), len(tensors) - 1)
        a = draw(recent)
        if kind == "view":
            tensors.append(Tensor(f"t{i}", tensors[a].size_bytes))
            ops.append(Op(f"op{i}", kind, (a,), (len(tensors) - 1,), view=True))
        elif kind in ("relu", "add"):
            b = draw(recent)
            inputs = (a,) if kind == "relu" else (a, b)
            tensors.append(Tensor(f"t{i}", tensors[a].size_bytes))
            ops.append(Op(f"op{i}", kind, inputs, (len(tensors) - 1,), in_place_inputs=tuple(range(len(inputs)))))
        else:
            outputs = []
            for k in range(2 if kind == "split" else 1):
                tensors.append(Tensor(f"t{i}_{k}", draw(st.integers(1, 400))))
                outputs.append(len(tensors) - 1)
            ops.append(Op(f"op{i}", kind, (a,), tuple(outputs), scratch_bytes=draw(st.sampled_from([0, 0, 40]))))
    return Graph(tuple(tensors), tuple(ops))


def test_chain_needs_its_two_largest_neighbours() -> None:
    plan = plan_memory(chain(400, 800, 200, 8))
    verify(plan)
    assert plan.arena_bytes == 1200
    assert plan.optimal


def test_in_place_saves_the_copy() -> None:
    graph = chain(400, 400, 8, in_place=frozenset({1}))
    assert plan_memory(graph).arena_bytes == 400
    assert plan_memory(graph, in_place=False).arena_bytes == 800


def test_in_place_is_not_taken_while_the_input_is_still_needed() -> None:
    tensors = (Tensor("x", 8, home=Home.INPUT), Tensor("a", 80), Tensor("b", 80), Tensor("c", 80))
    ops = (
        Op("conv", "conv", (0,), (1,)),
        Op("relu", "relu", (1,), (2,), in_place_inputs=(0,)),
        Op("add", "add", (1, 2), (3,), in_place_inputs=(0, 1)),
    )
    plan = plan_memory(Graph(tensors, ops))
    verify(plan)
    assert plan.tensor_offset(1) != plan.tensor_offset(2)
    assert plan.arena_bytes == 160


def test_callers_buffers_cost_nothing_in_the_arena() -> None:
    assert plan_memory(chain(400)).arena_bytes == 0


def test_view_of_the_result_is_written_to_the_callers_buffer() -> None:
    tensors = (Tensor("x", 8, home=Home.INPUT), Tensor("a", 64), Tensor("y", 64, home=Home.OUTPUT))
    ops = (Op("conv", "conv", (0,), (1,)), Op("reshape", "reshape", (1,), (2,), view=True))
    plan = plan_memory(Graph(tensors, ops))
    verify(plan)
    assert plan.arena_bytes == 0


def test_view_between_two_owners_is_refused() -> None:
    tensors = (Tensor("x", 8, home=Home.INPUT), Tensor("y", 8, home=Home.OUTPUT))
    with pytest.raises(ValueError, match="reshape: a view cannot join input and output"):
        plan_memory(Graph(tensors, (Op("reshape", "reshape", (0,), (1,), view=True),)))


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ((Op("a", "k", (1,), (0,)),), "reads t1 before"),
        ((Op("a", "k", (), (0,)), Op("b", "k", (), (0,))), "written already"),
        ((Op("a", "k", (), (0, 1), view=True),), "one input and one output"),
    ],
)
def test_malformed_graphs_are_refused(ops: tuple[Op, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph((Tensor("t0", 8), Tensor("t1", 8)), ops)


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_random_plans_verify_and_respect_the_bound(graph: Graph) -> None:
    plan = plan_memory(graph)
    verify(plan)
    assert plan.arena_bytes >= plan.lower_bound_bytes
    assert plan_memory(graph) == plan


def broken_plans(plan: Plan) -> list[Plan]:
    """Every way of moving, shrinking or dropping one block, and of disturbing the order."""
    broken = []
    for i, block in enumerate(plan.blocks):
        rest = (*plan.blocks[:i], *plan.blocks[i + 1 :])
        broken.append(replace(plan, blocks=rest))
        broken.append(replace(plan, blocks=(*rest, replace(block, offset=plan.arena_bytes))))
        broken.append(replace(plan, blocks=(*rest, replace(block, offset=block.offset + 4))))
        broken.append(replace(plan, blocks=(*rest, replace(block, offset=block.offset - 8))))
        broken.append(replace(plan, blocks=(*rest, replace(block, size_bytes=block.size_bytes - 1))))
        for other in rest:
            overlap_in_time = block.first <= other.last and other.first <= block.last
            if overlap_in_time and block.tensors and other.tensors:
                broken.append(replace(plan, blocks=(*rest, replace(block, offset=other.offset))))
    broken.append(replace(plan, order=plan.order[1:]))
    broken.append(replace(plan, order=(*plan.order, plan.order[0])))
    broken.append(replace(plan, order=tuple(reversed(plan.order))))
    return broken


def residual_graph(rng: random.Random) -> Graph:
    """A chain in which every third operator adds an earlier tensor; all sizes are multiples of 8."""
    tensors = [Tensor("x", 16, home=Home.INPUT), Tensor("t0", 8 * rng.randint(2, 40))]
    ops = [Op("op0", "conv", (0,), (1,), scratch_bytes=64)]
    for i in range(1, 8):
        tensors.append(Tensor(f"t{i}", 8 * rng.randint(2, 40)))
        inputs = (i, i - 1) if i % 3 == 0 else (i,)
        ops.append(Op(f"op{i}", "conv", inputs, (i + 1,), scratch_bytes=8 * rng.randint(0, 4)))
    tensors[-1] = replace(tensors[-1], home=Home.OUTPUT)
    return Graph(tuple(tensors), tuple(ops))


def test_verifier_catches_every_broken_plan() -> None:
    caught = 0
    for seed in range(20):
        plan = plan_memory(residual_graph(random.Random(seed)), in_place=False)
        verify(plan)
        for broken in broken_plans(plan):
            with pytest.raises(PlanError):
                verify(broken)
            caught += 1
    assert caught > 500


def test_verifier_catches_in_place_without_leave() -> None:
    plan = plan_memory(chain(80, 80, 8, in_place=frozenset({1})))
    verify(plan)
    forbidden = replace(plan.graph, ops=tuple(replace(op, in_place_inputs=()) for op in plan.graph.ops))
    with pytest.raises(PlanError, match="op1 writes over its input t0"):
        verify(replace(plan, graph=forbidden))


def test_large_graph_is_planned() -> None:
    rng = random.Random(1)
    tensors = [Tensor("x", 100, home=Home.INPUT)]
    ops = []
    for i in range(1000):
        tensors.append(Tensor(f"t{i}", rng.randrange(1, 5000)))
        reads = {max(0, i - rng.randrange(0, 20)), i}
        ops.append(Op(f"op{i}", "conv", tuple(sorted(reads)), (i + 1,)))
    plan = plan_memory(Graph(tuple(tensors), tuple(ops)))
    verify(plan)
    assert plan.arena_bytes < 2 * plan.lower_bound_bytes
