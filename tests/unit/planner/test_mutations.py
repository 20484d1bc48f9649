"""Plans broken on purpose: the replay must notice every one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner.assemble import assemble, place_program
from tvm_tiny.planner.buffers import Layout
from tvm_tiny.planner.graph import Graph, Kind, Window, stream_input
from tvm_tiny.planner.offsets import ALIGNMENT
from tvm_tiny.planner.plan import Plan, PlannedGroup, PlannedStage
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.schedule import Affine, Run
from tvm_tiny.planner.verify import PlanError, verify
from tvm_tiny.planner.views import with_views, without_views


def network() -> Graph:
    """Convolutions with segments, a residual add, a stride, a mean, a dense end."""
    b = Builder(12, 9, 3)
    same, edge = Window(3, 1, 1), (1, 1)
    a = b.conv(0, 8, same, same, edge, scratch=16)
    wide = b.conv(a, 24, Window(), Window(), (0, 0), scratch=8)
    deep = b.conv(wide, 24, same, same, edge)
    c = b.add(a, b.conv(deep, 8, Window(), Window(), (0, 0)))
    d = b.conv(c, 16, Window(3, 2, 0), Window(3, 2, 1), (1, 1), scratch=32)
    return without_views(b.graph(b.dense(b.view(b.mean(d)), 5)))


def network_of_views() -> Graph:
    """Halves of an image go different ways and lie side by side again; so do the results of two dense layers."""
    b = Builder(11, 6, 3)
    same, edge = Window(3, 1, 1), (1, 1)
    x = b.conv(0, 4, same, same, edge)
    top, rest = b.move(x, (0, 0), (1, 1), (5, 6)), b.move(x, (4, 0), (1, 1), (7, 6))
    y = b.concat([b.conv(top, 4, same, same, edge), b.conv(rest, 4, same, same, edge)], 0)
    z = b.conv(y, 3, Window(3, 2, 1), Window(3, 1, 1), (0, 1), scratch=8)
    both = b.concat([b.dense(z, 5), b.dense(z, 9)], 2)
    return without_views(with_views(b.graph(b.dense(both, 3), both), lambda op: True))


def plans() -> Iterator[tuple[str, Plan]]:
    graph = network_of_views()
    single = [Stage((Group((i,)),)) for i in range(len(graph.ops))]
    rows = Stage(tuple(Group((i,)) for i in range(4)))
    for name, stages in (("views", single), ("views by rows", [rows, *single[4:]])):
        yield name, assemble(graph, place_program(graph, Program(tuple(stages))), 0)
    for streamed in (False, True):
        graph = stream_input(network(), 0) if streamed else network()
        k = int(streamed)
        source = (Group((0,)),) if streamed else ()
        tail = (Group((k + 5,)), Group((k + 6,)))
        rows = Stage((*source, *(Group((k + i,)) for i in range(5)), *tail))
        columns = Stage((*source, Group((k,)), Group((k + 1, k + 2, k + 3, k + 4), 2), *tail))
        # Two rows at a time, the first of three tensors inside made again instead of kept.
        again = Group((k + 1, k + 2, k + 3, k + 4), 3, frozenset(graph.ops[k + 1].outputs), rows=2)
        patches = Stage((*source, Group((k,)), again, *tail))
        pair = Stage((*source, Group((k, k + 1), 4), Group((k + 2,)), Group((k + 3,)), Group((k + 4,)), *tail))
        for name, stage in (("rows", rows), ("columns", columns), ("patches", patches), ("pair", pair)):
            program = Program((stage, Stage((Group((k + 7,)),))))
            yield f"{name}-{'streamed' if streamed else 'resident'}", assemble(graph, place_program(graph, program), 0)


def with_stage(plan: Plan, index: int, stage: PlannedStage) -> Plan:
    return replace(plan, stages=(*plan.stages[:index], stage, *plan.stages[index + 1 :]))


def with_group(plan: Plan, s: int, g: int, group: PlannedGroup) -> Plan:
    groups = plan.stages[s].groups
    return with_stage(plan, s, replace(plan.stages[s], groups=(*groups[:g], group, *groups[g + 1 :])))


def mutations(plan: Plan) -> Iterator[tuple[str, Plan]]:
    yield "arena smaller", replace(plan, arena_bytes=plan.arena_bytes - ALIGNMENT)
    for t in dict.fromkeys(t for stage in plan.stages for t in stage.places if plan.graph.tensors[t].beside):
        yield from _not_side_by_side(plan, t)
    for s, stage in enumerate(plan.stages):
        yield f"stage {s} missing", replace(plan, stages=plan.stages[:s] + plan.stages[s + 1 :])
        yield f"stage {s} twice", replace(plan, stages=(*plan.stages, stage))
        yield f"stage {s} ends early", with_stage(plan, s, replace(stage, end=stage.end - 1))
        for t, place in stage.places.items():
            others = {k: v for k, v in stage.places.items() if k != t}
            yield f"{s}: tensor {t} nowhere", with_stage(plan, s, replace(stage, places=others))
            changed = [
                ("low", replace(place, offset=-ALIGNMENT)),
                ("high", replace(place, offset=plan.arena_bytes - 1)),
            ]
            if place.layout.inner == 0 and place.layout.modulus > 1:
                short = replace(place.layout, modulus=place.layout.modulus - 1)
                changed.append(("short", replace(place, layout=short)))
            for name, new in changed:
                yield f"{s}: tensor {t} {name}", with_stage(plan, s, replace(stage, places={**others, t: new}))
        for g, group in enumerate(stage.groups):
            yield from _timing(plan, s, g, group)
            yield from _inside(plan, s, g, group)


def _not_side_by_side(plan: Plan, t: int) -> Iterator[tuple[str, Plan]]:
    """A tensor of a block elsewhere, in every stage."""
    place = next(stage.places[t] for stage in plan.stages if t in stage.places)
    layout = place.layout
    block = [x.beside for x in plan.graph.tensors if x.beside]
    several = sum(b[0] == (plan.graph.tensors[t].beside or b)[0] for b in block) > 1
    moved = {"one row higher": layout.inner, "one byte lower": -1} if several else {}
    changed = {
        **{name: replace(place, offset=place.offset + by) for name, by in moved.items()},
        "in a ring": replace(place, layout=Layout(plan.graph.tensors[t].rows, layout.inner, 0)),
        "with gaps": replace(place, layout=replace(layout, inner=layout.inner + 1)),
    }
    for name, new in changed.items():
        stages = (replace(x, places={k: new if k == t else v for k, v in x.places.items()}) for x in plan.stages)
        yield f"tensor {t} {name}", replace(plan, stages=tuple(stages))


def _timing(plan: Plan, s: int, g: int, group: PlannedGroup) -> Iterator[tuple[str, Plan]]:
    x = group.schedule
    changed = [("last", replace(x, last=x.last - 1))]
    if x.first < x.last:
        changed.append(("period", replace(x, period=x.period + 1)))
    if g and any(t in plan.stages[s].places for t in plan.graph.ops[x.runs[0].op].inputs):
        changed.append(("early", replace(x, delay=x.delay - x.period)))
    if x.last_segment > x.first_segment:
        changed.append(("right edge", replace(x, last_segment=x.last_segment - 1)))
        if x.first_segment < 0:
            changed.append(("left edge", replace(x, first_segment=0)))
    for k, run in enumerate(x.runs):
        if plan.graph.ops[run.op].kind is Kind.WHOLE:
            continue  # has neither rows nor columns
        for axis, span, first in (("rows", run.rows, x.first), ("columns", run.columns, x.first_segment)):
            # The last one is never made; nor is the first.
            broken = [
                ("last", replace(span, limit=span.limit - 1)),
                ("first", replace(span, begin=1 - span.step * first)),
            ]
            for name, wrong in broken:
                runs = (*x.runs[:k], _changed(run, axis, wrong), *x.runs[k + 1 :])
                changed.append((f"{axis} of {plan.graph.ops[run.op].name}, {name}", replace(x, runs=runs)))
    for name, new in changed:
        yield f"{s}.{g}: {name}", with_group(plan, s, g, replace(group, schedule=new))


def _changed(run: Run, axis: str, span: Affine) -> Run:
    return replace(run, rows=span) if axis == "rows" else replace(run, columns=span)


def _inside(plan: Plan, s: int, g: int, group: PlannedGroup) -> Iterator[tuple[str, Plan]]:
    for t, place in group.staged.items():
        changed = [
            ("line", replace(place, line_bytes=place.line_bytes - plan.graph.tensors[t].pixel_bytes)),
            ("staging low", replace(place, staging=-ALIGNMENT)),
            ("staging high", replace(place, staging=plan.arena_bytes - 1)),
        ]
        if place.kept is not None:
            changed.append(("kept on staging", replace(place, staging=place.kept.offset)))
            changed.append(("not kept", replace(place, kept=None)))
            for name, offset in (("low", -ALIGNMENT), ("high", plan.arena_bytes - 1)):
                changed.append((f"kept {name}", replace(place, kept=replace(place.kept, offset=offset))))
            if place.kept.layout.modulus > 1:
                short = replace(place.kept.layout, modulus=place.kept.layout.modulus - 1)
                changed.append(("kept short", replace(place, kept=replace(place.kept, layout=short))))
        for name, new in changed:
            staged = replace(group, staged={**group.staged, t: new})
            yield f"{s}.{g}: staged {t} {name}", with_group(plan, s, g, staged)
    if group.scratch is not None:
        first = plan.graph.ops[group.schedule.runs[0].op]
        inputs = [p.offset for t, p in plan.stages[s].places.items() if t in first.inputs]
        for target in [None, *inputs, plan.arena_bytes - 1]:
            yield f"{s}.{g}: scratch at {target}", with_group(plan, s, g, replace(group, scratch=target))


CASES = [(f"{name}: {what}", broken) for name, plan in plans() for what, broken in mutations(plan)]


@pytest.mark.parametrize("plan", [p for _, p in plans()], ids=[n for n, _ in plans()])
def test_the_unbroken_plan_passes(plan: Plan) -> None:
    verify(plan)


@pytest.mark.parametrize("plan", [p for _, p in CASES], ids=[n for n, _ in CASES])
def test_a_broken_plan_is_caught(plan: Plan) -> None:
    with pytest.raises(PlanError):
        verify(plan)
