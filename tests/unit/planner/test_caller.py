"""Buffers that the caller owns: counted, never placed, never overwritten."""

from __future__ import annotations

from dataclasses import replace

from tests.planner_graphs import Builder
from tvm_tiny.planner.graph import Graph, Home, Window
from tvm_tiny.planner.planner import plan_memory
from tvm_tiny.planner.verify import verify


def test_caller_owned_buffers_stay_outside_the_arena() -> None:
    b = Builder(16, 8, 4)
    y = b.conv(b.conv(0, 8, Window(3, 1, 1), Window(3, 1, 1), (1, 1)), 2, Window(), Window(), (0, 0))
    inside = plan_memory(b.graph(y))
    owned = tuple(replace(t, home=Home.CALLER) if i in (0, y) else t for i, t in enumerate(b.tensors))
    outside = plan_memory(Graph(owned, tuple(b.ops), (y,)))
    verify(inside)
    verify(outside)
    assert outside.caller_bytes == 16 * 8 * (4 + 2)
    assert outside.ram_bytes > inside.ram_bytes  # the input is not consumed
    assert outside.arena_bytes <= 8 * 8  # one row, at most, between the two convolutions
