"""Ring sizes, delays and safe distances on cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner.assemble import assemble, place_program
from tvm_tiny.planner.buffers import program_buffers
from tvm_tiny.planner.graph import Graph, Kind, Op, Tensor, Window, stream_input
from tvm_tiny.planner.liveness import Trace
from tvm_tiny.planner.offsets import forbidden_distances
from tvm_tiny.planner.options import price
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.schedule import NotSchedulableError, schedule_stage
from tvm_tiny.planner.verify import verify


def same(kernel: int, stride: int = 1) -> Window:
    return Window(kernel, stride, (kernel - 1) // 2)


def singles(*ops: int) -> Stage:
    return Stage(tuple(Group((op,)) for op in ops))


def chain(*windows: Window, rows: int = 32, channels: int = 4) -> Graph:
    b = Builder(rows, 1, channels)
    x = 0
    for w in windows:
        x = b.conv(x, channels, w, Window(), (w.extent - 1 - w.before, 0))
    return b.graph(x)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_ring_holds_as_many_rows_as_the_kernel(kernel: int, stride: int) -> None:
    graph = chain(Window(), same(kernel, stride))
    stage = singles(0, 1)
    trace = Trace(graph, stage, schedule_stage(graph, stage))
    assert trace.rows(1).most() == kernel


@pytest.mark.parametrize(
    ("kernel", "stride", "kept"), [(3, 1, 2), (3, 2, 1), (7, 1, 6), (7, 2, 5), (1, 1, 0), (2, 3, 0)]
)
def test_segments_keep_kernel_minus_stride_rows(kernel: int, stride: int, kept: int) -> None:
    graph = chain(Window(), same(kernel, stride))
    (staged,) = schedule_stage(graph, Stage((Group((0, 1), 4),))).groups[0].staged
    assert (staged.kept_rows, staged.new_rows) == (kept, stride)
    again = schedule_stage(graph, Stage((Group((0, 1), 4, frozenset({1})),))).groups[0].staged[0]
    assert (again.kept_rows, again.new_rows) == (0, kernel)


def test_nothing_fires_before_the_first_row_that_is_pushed() -> None:
    """Two rows of padding in front need no row, and a patch is four rows high."""
    graph = stream_input(chain(Window(1, 1, 2), same(5)), 0)
    stage = schedule_stage(graph, Stage((Group((0,)), Group((1, 2), 4, rows=4))))
    assert stage.groups[1].first < 0
    assert stage.begin == stage.groups[0].delay == 0
    verify(assemble(graph, place_program(graph, Program((Stage((Group((0,)), Group((1, 2), 4, rows=4))),))), 0))


def test_a_source_that_is_late_keeps_all_others_behind_it() -> None:
    graph = stream_input(chain(Window(3, 1, 4), Window(3, 2, 1)), 0)
    stage = replace(singles(0, 1, 2), late=(2, 0, 0))
    schedule = schedule_stage(graph, stage)
    assert schedule.begin == schedule.groups[0].delay == 2
    verify(assemble(graph, place_program(graph, Program((stage,))), 0))


def test_delays_add_up_to_the_receptive_field() -> None:
    graph = chain(same(3), same(3), same(3, 2), same(5))
    groups = schedule_stage(graph, singles(0, 1, 2, 3)).groups
    assert [(g.delay, g.period) for g in groups] == [(0, 1), (1, 1), (2, 2), (6, 2)]


def test_a_skip_connection_is_held_as_long_as_the_other_path_takes() -> None:
    b = Builder(16, 1, 4)
    x = b.conv(0, 4, Window(), Window(), (0, 0))
    y = b.conv(b.conv(x, 4, same(3), Window(), (1, 0)), 4, same(5), Window(), (2, 0))
    graph = b.graph(b.add(x, y))
    stage = singles(0, 1, 2, 3)
    assert Trace(graph, stage, schedule_stage(graph, stage)).rows(x).most() == 1 + 1 + 2


@pytest.mark.parametrize(
    ("window", "channels", "distance"),
    [
        # 8 rows of 8 bytes. The first output row is written while input rows 0 and 1 are needed.
        (same(3), 8, 16),
        (same(1), 8, 8),
        # An output row of 4 bytes, the next window starts one input row (8 bytes) further.
        (same(1), 4, 4),
        # Growing: 7 rows of 16 bytes are there when the last but six input rows still are.
        (same(1), 16, 72),
        # Stride 2, same bytes a row: rows 0 and 1 go for each output row.
        (Window(2, 2), 8, 8),
    ],
)
def test_safe_distance_of_an_output_below_its_input(window: Window, channels: int, distance: int) -> None:
    b = Builder(8, 1, 8)
    y = b.conv(0, channels, window, Window(), (window.extent - 1 - window.before, 0))
    graph = b.graph(y)
    blocks = {x.key: x for x in program_buffers(graph, Program((singles(0),)), {})}
    intervals = forbidden_distances(blocks["tensor", y], blocks["tensor", 0])
    assert intervals[-1][1] == distance


def test_an_element_wise_result_may_lie_on_its_input() -> None:
    b = Builder(8, 1, 8)
    x = b.conv(0, 8, same(3), Window(), (1, 0))
    graph = b.graph(b.add(0, x))
    plan = assemble(graph, place_program(graph, Program((singles(0), singles(1)))), 0)
    verify(plan)
    assert plan.arena_bytes == 2 * 64


def test_different_rates_do_not_share_a_stage() -> None:
    tensors = (Tensor("x", 8, 1, 4), Tensor("a", 8, 1, 4), Tensor("b", 4, 1, 4), Tensor("c", 4, 1, 4))
    stretched = (Window(2, 2), Window())
    ops = (
        Op("in", Kind.ROWS, (), (0,)),
        Op("a", Kind.ROWS, (0,), (1,), (Window(),), (Window(),)),
        Op("b", Kind.ROWS, (0,), (2,), (Window(1, 2),), (Window(),)),
        Op("c", Kind.ROWS, (1, 2), (3,), stretched, (Window(), Window())),
    )
    graph = Graph(tensors, ops, (3,))
    assert schedule_stage(graph, singles(0, 1, 2, 3))
    wrong = Graph(tensors, (*ops[:3], Op("c", Kind.ROWS, (1, 2), (3,), (Window(), Window()), (Window(),) * 2)), (3,))
    with pytest.raises(NotSchedulableError, match="different strides"):
        schedule_stage(wrong, singles(0, 1, 2, 3))


def test_a_streamed_image_needs_a_ring_only() -> None:
    graph = stream_input(chain(same(3, 2), rows=64), 0)
    plan = assemble(graph, place_program(graph, Program((singles(0, 1),))), 0)
    verify(plan)
    assert plan.arena_bytes == 3 * 4 + 4 + 32 * 4  # ring, rounded up to 8, and the output


@pytest.mark.parametrize("streamed", [False, True])
def test_a_long_stage_is_priced_at_its_peak(streamed: bool) -> None:
    """Deep layers run on when the first have ended: the worst tick is nowhere near either end, nor in the middle."""
    graph = chain(*(same(3, 2) if i % 4 == 0 else same(3) for i in range(20)), rows=96, channels=8)
    graph = stream_input(graph, 0) if streamed else graph
    stage = singles(*range(len(graph.ops)))
    sampled, exact = (price(graph, stage, exactly=exactly) for exactly in (False, True))
    assert sampled is not None
    assert exact is not None
    assert 0.99 * exact.peak_bytes <= sampled.peak_bytes <= exact.peak_bytes


def test_columns_that_a_slice_leaves_out_have_a_place_while_they_are_made() -> None:
    window, wide = Window(), Window(3)
    tensors = [Tensor("x", 1, 3, 3), *(Tensor(f"t{i}", 1, n, 5) for i, n in enumerate((3, 3, 1, 1)))]
    ops = (
        Op("source", Kind.WHOLE, (), (0,)),
        Op("a", Kind.ROWS, (0,), (1,), (window,), (window,)),
        Op("b", Kind.ROWS, (1,), (2,), (window,), (window,)),
        Op("slice", Kind.ROWS, (2,), (3,), (window,), (window,)),  # the first of three columns
        Op("pad and conv", Kind.ROWS, (3,), (4,), (window,), (wide,)),
    )
    graph = Graph(tuple(tensors), ops, (4,))
    program = Program((singles(0), Stage((Group((1, 2, 3, 4), 1),))))
    verify(assemble(graph, place_program(graph, program), 0))
