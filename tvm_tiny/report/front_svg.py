"""Draws RAM against executed work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_tiny.report.svg import Drawing, ticks

_WIDTH, _HEIGHT = 820, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 50, 60
_COLOURS = ("#1f6fb4", "#d2691e", "#2e8b57")
_CHOSEN = "#c0392b"
_SPREAD = 1.02  # of the axis of work, at least: many fronts have one point or hardly any work to spare


def draw_front(plans: Mapping[str, Any]) -> Drawing:
    """What ``ModelPlans.to_dict`` gives: work to the right, bytes upwards on a logarithmic axis.

    "chosen", where it is there, is marked: the plan that a model was compiled with.
    """
    fronts: Mapping[str, Sequence[Mapping[str, Any]]] = plans["fronts"]
    chosen: Mapping[str, Any] | None = plans.get("chosen")
    points = [p for front in fronts.values() for p in front] + ([] if chosen is None else [chosen])
    most = max(_SPREAD, max(1 + p["overhead"] for p in points) * 1.01)
    board: int = plans["board_ram_bytes"]
    high: float = max(p["ram_bytes"] for p in points) * 1.2
    low: float = max(1, min(p["ram_bytes"] for p in points)) / 1.2
    drawing = Drawing(_WIDTH, _HEIGHT)

    def x(work: float) -> float:
        return float(_LEFT + (work - 1) / (most - 1) * (_WIDTH - _LEFT - _RIGHT))

    def y(ram: float) -> float:
        share: float = math.log(max(ram, low) / low) / math.log(high / low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    drawing.text(_LEFT, 24, f"{plans['model']} for {plans['target']}: RAM against work", css="title")
    for ram in _decades(low, high):
        drawing.line([(_LEFT, y(ram)), (_WIDTH - _RIGHT, y(ram))], css="grid")
        drawing.text(_LEFT - 6, y(ram) + 4, f"{ram:,} B", anchor="end")
    for value in ticks((most - 1) * 1000):
        work = 1 + value / 1000
        drawing.line([(x(work), _HEIGHT - _BOTTOM), (x(work), _HEIGHT - _BOTTOM + 5)], css="axis")
        drawing.text(x(work), _HEIGHT - _BOTTOM + 18, f"{work:.3g}" if most > 1.2 else f"{work:.3f}", anchor="middle")
    drawing.line([(_LEFT, _TOP), (_LEFT, _HEIGHT - _BOTTOM), (_WIDTH - _RIGHT, _HEIGHT - _BOTTOM)], css="axis")
    label = "work over the network's own MACs: MACs executed, and an estimate of the instructions around partial rows"
    drawing.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, label, anchor="middle")
    if low < board < high:
        drawing.line(
            [(_LEFT, y(board)), (_WIDTH - _RIGHT, y(board))], stroke="#b22222", stroke_dasharray="6 4", fill="none"
        )
        drawing.text(_WIDTH - _RIGHT, y(board) - 5, f"RAM of the board, {board:,} B", anchor="end")
    labelled: list[float] = []
    for k, (name, front) in enumerate(fronts.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        _series(drawing, front, colour, x, y, labelled)
        drawing.circle(_WIDTH - 150, _TOP + 4 + 18 * k, 5.0, fill=colour)
        drawing.text(_WIDTH - 138, _TOP + 8 + 18 * k, f"input {name}")
    if chosen is not None:
        title = f"this build: {chosen['ram_bytes']:,} B, overhead {chosen['overhead']:.1%}"
        at = (x(1 + chosen["overhead"]), y(chosen["ram_bytes"]))
        drawing.circle(*at, 8.0, title, fill="none", stroke=_CHOSEN, stroke_width=2.5)
        drawing.circle(_WIDTH - 150, _TOP + 4 + 18 * len(fronts), 6.0, fill="none", stroke=_CHOSEN, stroke_width=2.5)
        drawing.text(_WIDTH - 138, _TOP + 8 + 18 * len(fronts), "this build")
    return drawing


def _series(
    drawing: Drawing,
    front: Sequence[Mapping[str, Any]],
    colour: str,
    x: Callable[[float], float],
    y: Callable[[float], float],
    labelled: list[float],
) -> None:
    """One front as a staircase; ``labelled`` are heights that have a label already."""
    steps: list[tuple[float, float]] = []
    for p in front:
        at = (x(1 + p["overhead"]), y(p["ram_bytes"]))
        if steps:
            steps.append((at[0], steps[-1][1]))
        steps.append(at)
    drawing.line(steps, stroke=colour, stroke_width=1.5, fill="none")
    for p in front:
        at = (x(1 + p["overhead"]), y(p["ram_bytes"]))
        title = f"{p['ram_bytes']:,} B, {p['mac_factor']:.3f} times the MACs, overhead {p['overhead']:.1%}, {p['how']}"
        drawing.circle(*at, 4.0, title, fill=colour)
        if all(abs(at[1] - other) > 13 for other in labelled):
            labelled.append(at[1])
            drawing.text(at[0] + 7, at[1] - 5, f"{p['ram_bytes']:,} B, {p['how']}", fill=colour)


def _decades(low: float, high: float) -> list[int]:
    steps = [b * 10**e for e in range(9) for b in (1, 2, 3, 5, 7)]
    return [s for s in steps if low <= s <= high]
