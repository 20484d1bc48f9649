"""Draws how a tuning session came along."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_tiny.report.svg import Drawing, ticks

_WIDTH, _HEIGHT = 820, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 100, 30, 50, 50


def draw_progress(title: str, history: Sequence[float], untuned: float) -> str:
    """SVG of the best cost so far after every image.

    Parameters
    ----------
    history : sums over all layers, one per image
    untuned : the same of the defaults
    """
    drawing = Drawing(_WIDTH, _HEIGHT)
    costs = [*history, untuned]
    high, low = max(costs) * 1.02, min(costs) * 0.98
    steps = max(1, len(history) - 1)

    def x(image: float) -> float:
        return _LEFT + image / steps * (_WIDTH - _LEFT - _RIGHT)

    def y(cost: float) -> float:
        return _HEIGHT - _BOTTOM - (cost - low) / max(high - low, 1e-9) * (_HEIGHT - _TOP - _BOTTOM)

    drawing.text(_LEFT, 24, title, css="title")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        cost = low + share * (high - low)
        drawing.line([(_LEFT, y(cost)), (_WIDTH - _RIGHT, y(cost))], css="grid")
        drawing.text(_LEFT - 6, y(cost) + 4, f"{cost:,.0f}", anchor="end")
    for image in ticks(steps):
        drawing.line([(x(image), _HEIGHT - _BOTTOM), (x(image), _HEIGHT - _BOTTOM + 5)], css="axis")
        drawing.text(x(image), _HEIGHT - _BOTTOM + 18, f"{image:g}", anchor="middle")
    drawing.line([(_LEFT, _TOP), (_LEFT, _HEIGHT - _BOTTOM), (_WIDTH - _RIGHT, _HEIGHT - _BOTTOM)], css="axis")
    drawing.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, "images of candidates", anchor="middle")
    drawing.line(
        [(_LEFT, y(untuned)), (_WIDTH - _RIGHT, y(untuned))], stroke="#b22222", stroke_dasharray="6 4", fill="none"
    )
    drawing.text(_WIDTH - _RIGHT, y(untuned) - 5, f"untuned, {untuned:,.0f}", anchor="end")
    stairs: list[tuple[float, float]] = []
    for i, cost in enumerate(history):
        if stairs:
            stairs.append((x(i), stairs[-1][1]))
        stairs.append((x(i), y(cost)))
    drawing.line(stairs, stroke="#1f6fb4", stroke_width=1.5, fill="none")
    return drawing.to_text()
