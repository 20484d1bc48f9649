"""Several memories: blocks lie in one of them, the most touched in the fastest; broken divisions are caught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.planner_graphs import Builder, networks, programs
from tvm_tiny.planner import Arena, Graph, Memory, Plan, PlanError, Window, plan_memory, verify
from tvm_tiny.planner.assemble import assemble, place_program
from tvm_tiny.planner.memories import distribute, touched_bytes
from tvm_tiny.planner.offsets import ALIGNMENT
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.views import without_views

SAME = Window(3, 1, 1)


def network() -> Graph:
    """A large input, touched rarely; a small tensor that a layer with much scratch reads often."""
    b = Builder(24, 24, 4)
    small = b.conv(0, 4, Window(4, 4), Window(4, 4), (0, 0))
    busy = b.conv(small, 4, Window(5, 1, 2), Window(5, 1, 2), (2, 2), scratch=64)
    last = b.add(busy, small)
    return without_views(b.graph(b.dense(b.view(last), 8)))


def memories(*sizes: int) -> list[Memory]:
    return [Memory(f"m{i}", size, 1.0 / (i + 1)) for i, size in enumerate(sizes)]


def used(plan: Plan) -> dict[str, int]:
    return {a.memory.name: a.size_bytes for a in plan.arenas}


def test_what_fits_the_fastest_memory_is_one_arena_there() -> None:
    graph = network()
    alone = plan_memory(graph, fusion="off")
    plan = plan_memory(graph, fusion="off", memories=[memories(alone.arena_bytes, 10_000)])
    assert used(plan) == {"m0": alone.arena_bytes}
    assert plan.stages == alone.stages
    assert plan.fits


def test_the_most_touched_bytes_stay_in_the_fast_memory() -> None:
    plan = plan_memory(network(), fusion="off", memories=[memories(600, 10_000)])
    verify(plan)
    assert used(plan).keys() == {"m0", "m1"}
    where = {x["name"]: x["memory"] for stage in plan.to_dict()["stages"] for x in stage["tensors"]}
    assert (where["input"], where["t1"], where["t2"]) == ("m1", "m0", "m0")
    assert {x["memory"] for stage in plan.to_dict()["stages"] for x in stage["scratch"]} == {"m0"}


def test_bytes_touched_are_counted_by_hand() -> None:
    graph = network()
    counted = touched_bytes(graph, Program(tuple(Stage((Group((i,)),)) for i in range(4))))
    assert counted["tensor", 0] == 24 * 24 * 4  # windows do not overlap
    assert counted["tensor", 1] == 144 + 6 * 5 * 24 + 144  # written; five rows for each of six; read by the addition
    assert counted["scratch", 1] == 2 * 6 * 64
    assert counted["tensor", 3] == 144 + 144


def test_the_first_way_that_fits_is_taken() -> None:
    graph = network()
    size = plan_memory(graph, fusion="off").arena_bytes
    ways = [memories(100, 200), [Memory("joined", size)], memories(100, 10_000)]
    assert used(plan_memory(graph, fusion="off", memories=ways)) == {"joined": size}


def test_the_first_placement_that_fits_is_taken() -> None:
    graph = network()
    plain = place_program(graph, Program(tuple(Stage((Group((i,)),)) for i in range(4))))
    large = replace(plain, offsets=tuple(o + 4096 for o in plain.offsets))
    ways = [[Memory("one", plain.arena)], memories(100, 10_000)]
    assert distribute(graph, [large, plain], ways).arenas == (Arena(ways[0][0], 0, plain.arena),)
    assert distribute(graph, [large, plain], [[Memory("two", large.arena)]]).offsets == large.offsets


def test_where_nothing_fits_the_plan_says_so() -> None:
    graph = network()
    plan = plan_memory(graph, fusion="off", memories=[memories(100, 300, 200)])
    assert not plan.fits
    assert used(plan) == {"m1": plan.arena_bytes}
    assert plan.arena_bytes == plan_memory(graph, fusion="off").arena_bytes


def test_the_verifier_refuses_an_arena_that_its_memory_cannot_hold() -> None:
    with pytest.raises(PlanError, match="bytes in m1, which has 300"):
        verify(plan_memory(network(), fusion="off", memories=[memories(100, 300, 200)]))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_program_can_be_divided_and_replayed(data: st.DataObject) -> None:
    graph = without_views(data.draw(networks()))
    placement = place_program(graph, data.draw(programs(graph)))
    shares = data.draw(st.lists(st.integers(5, 90), min_size=1, max_size=3))
    sizes = [max(8, placement.arena * share // 100) for share in shares]
    plan = assemble(graph, distribute(graph, [placement], [memories(*sizes, 4 * placement.arena)]), 0)
    verify(plan)
    assert plan.arena_bytes >= placement.live_bound
    assert all(a.size_bytes <= a.memory.size_bytes for a in plan.arenas)


def divided() -> Plan:
    b = Builder(12, 9, 3)
    a = b.conv(0, 8, SAME, SAME, (1, 1), scratch=16)
    wide = b.conv(a, 24, Window(), Window(), (0, 0), scratch=8)
    deep = b.conv(wide, 24, SAME, SAME, (1, 1))
    last = b.conv(deep, 8, Window(), Window(), (0, 0))
    graph = without_views(b.graph(b.mean(b.add(a, last))))
    program = Program((Stage((Group((0,)), Group((1, 2, 3), 2), Group((4,)))), Stage((Group((5,)),))))
    plan = assemble(graph, distribute(graph, [place_program(graph, program)], [memories(500, 600, 9000)]), 0)
    assert len(plan.arenas) == 3
    return plan


def test_the_unbroken_division_passes() -> None:
    verify(divided())


def moved(arenas: Sequence[Arena], index: int, start: int, end: int) -> tuple[Arena, ...]:
    a = arenas[index]
    return (
        *arenas[:index],
        replace(a, start=a.start + start, size_bytes=a.size_bytes + end - start),
        *arenas[index + 1 :],
    )


def broken(plan: Plan) -> Iterator[tuple[str, Plan]]:
    for i, a in enumerate(plan.arenas):
        yield f"arena {i} missing", replace(plan, arenas=plan.arenas[:i] + plan.arenas[i + 1 :])
        small = replace(a, memory=replace(a.memory, size_bytes=a.size_bytes - 1))
        yield f"memory {i} too small", replace(plan, arenas=(*plan.arenas[:i], small, *plan.arenas[i + 1 :]))
        yield f"arena {i} shorter", replace(plan, arenas=moved(plan.arenas, i, 0, -ALIGNMENT))
        if i:
            yield f"arena {i} earlier", replace(plan, arenas=moved(plan.arenas, i, -ALIGNMENT, 0))
            for shift in (-6 * ALIGNMENT, 6 * ALIGNMENT):  # the border runs through a block
                border = moved(moved(plan.arenas, i - 1, 0, shift), i, shift, 0)
                roomy = tuple(replace(x, memory=replace(x.memory, size_bytes=1 << 20)) for x in border)
                yield f"border {i} moved by {shift}", replace(plan, arenas=roomy)
    stage = plan.stages[0]
    (index,) = (g for g, group in enumerate(stage.groups) if group.staged)
    group = stage.groups[index]
    for t, staged in group.staged.items():
        if staged.kept is not None:
            for a in plan.arenas:
                if a != plan.arenas[plan.locate(staged.staging)[0]]:
                    apart = {**group.staged, t: replace(staged, kept=replace(staged.kept, offset=a.start))}
                    groups = (*stage.groups[:index], replace(group, staged=apart), *stage.groups[index + 1 :])
                    changed = replace(stage, groups=groups)
                    yield f"rows of {t} apart, in {a.memory.name}", replace(plan, stages=(changed, *plan.stages[1:]))


BROKEN = list(broken(divided()))


@pytest.mark.parametrize("plan", [p for _, p in BROKEN], ids=[n for n, _ in BROKEN])
def test_a_broken_division_is_caught(plan: Plan) -> None:
    with pytest.raises(PlanError):
        verify(plan)
