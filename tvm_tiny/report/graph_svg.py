"""Draws a model's layers from top to bottom, with the stages and patches that they run in, as wide as a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm_tiny.report.svg import INK, Drawing

_WIDTH, _PITCH, _BOX, _GAP = 360, 34, 24, 20  # of the drawing, from layer to layer, of a layer, above a stage
_LANE, _LANES = 7, 5  # between skipping edges; lanes that have a place of their own
_LEFT, _RIGHT, _BAR = 52, 266, 80  # of layers; length of a bar behind them
_COLOURS = {
    "qconv2d": "#7fb2dd",
    "qdepthwise_conv2d": "#7cc08a",
    "qdense": "#b48ac8",
    "qadd": "#f2c14e",
    "qmean": "#e39b84",
    "qavg_pool2d": "#e39b84",
    "qmax_pool2d": "#e39b84",
}
_OTHER = "#c8c8c8"


def draw_graph(content: Mapping[str, Any]) -> Drawing:
    """The layers of a report's content; bars are instructions, or multiply-accumulates where nothing was counted."""
    layers, stages = content["layers"], content["stages"]
    tops = _tops(stages)
    drawing = Drawing(_WIDTH, int(max(tops, default=0)) + _BOX + 24)
    for number, stage in enumerate(stages):
        if len(stage["layers"]) > 1:
            _draw_stage(drawing, number, stage, tops)
    _draw_edges(drawing, layers, tops)
    key = "instructions" if content["instructions"] is not None else "executed_macs"
    most = max((layer[key] for layer in layers), default=0) or 1
    for layer, top in zip(layers, tops, strict=True):
        _draw_layer(drawing, layer, top, layer[key] / most, f"{layer[key]:,.0f}" if layer[key] else "")
    unit = "instructions" if key == "instructions" else "multiply-accumulates"
    drawing.text(_RIGHT + 6, 12, unit, fill="#888", font_size=9)
    return drawing


def _tops(stages: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where each layer begins; stages of several layers have room for a line of text above them."""
    y, tops = 20.0, []
    for stage in stages:
        y += _GAP if len(stage["layers"]) > 1 else 0
        for _ in stage["layers"]:
            tops.append(y)
            y += _PITCH
        y += _GAP / 2 if len(stage["layers"]) > 1 else 0
    return tops


def _draw_stage(drawing: Drawing, number: int, stage: Mapping[str, Any], tops: Sequence[float]) -> None:
    first, last = stage["layers"][0], stage["layers"][-1]
    top, bottom = tops[first] - _GAP, tops[last] + _BOX + 6
    text = f"stage {number}: {len(stage['layers'])} layers in {stage['steps']:,} steps"
    title = f"{text}\nrolling buffers {stage['ring_bytes']:,} B"
    drawing.rect(4, top, _WIDTH - 8, bottom - top, title, css="stage", rx=8)
    drawing.text(12, top + 13, f"{text}, rolling buffers {stage['ring_bytes']:,} B", font_size=10)
    for patch in stage["patches"]:
        inside = patch["layers"]
        text = f"patches of {patch['rows']} x {patch['columns']} of layer {inside[-1]}'s output"
        again = ", ".join(map(str, patch["recomputed"]))
        title = text + (f"\ncomputed again at borders: layers {again}" if again else "\nnothing is computed again")
        y, height = tops[inside[0]] - 4, tops[inside[-1]] - tops[inside[0]] + _BOX + 8
        drawing.rect(_LEFT - 6, y, _RIGHT - _LEFT + 12, height, title, css="patch", rx=6)
        label = f"{patch['rows']} x {patch['columns']}"
        drawing.text(_RIGHT + 12, y + height + 2, f"patches {label}", css="patch-text", font_size=9)


def _draw_edges(drawing: Drawing, layers: Sequence[Mapping[str, Any]], tops: Sequence[float]) -> None:
    """To the next layer straight down, past others in a lane on the left."""
    free = [-1] * _LANES  # last layer that a lane's edge goes to
    middle = (_LEFT + _RIGHT) / 2
    for index, layer in enumerate(layers):
        for source in layer["inputs"]:
            if source == index - 1:
                start = 0.0 if source < 0 else tops[source] + _BOX
                drawing.line([(middle, max(start, 6.0)), (middle, tops[index])], css="edge")
                continue
            lane = next((k for k, until in enumerate(free) if until <= source), _LANES - 1)
            free[lane] = index
            x = _LEFT - 12 - _LANE * lane
            begin = 6.0 if source < 0 else tops[source] + _BOX / 2
            end = tops[index] + _BOX / 2
            drawing.line([(_LEFT, begin), (x, begin), (x, end), (_LEFT, end)], css="edge")


def _draw_layer(drawing: Drawing, layer: Mapping[str, Any], top: float, share: float, amount: str) -> None:
    shape = "x".join(map(str, layer["output_shape"]))
    title = "\n".join(
        [
            f"{layer['index']}: {layer['op']} -> {shape}, {layer['output_bytes']:,} B",
            layer["name"],
            f"{layer['executed_macs']:,} MACs, constants {layer['constants_bytes']:,} B, "
            f"scratch {layer['scratch_bytes']:,} B",
        ]
    )
    colour = _COLOURS.get(layer["op"], _OTHER)
    drawing.rect(_LEFT, top, _RIGHT - _LEFT, _BOX, title, fill=colour, rx=5)
    name = layer["op"].removeprefix("q")
    drawing.text(_LEFT + 6, top + 16, f"{layer['index']} {name}", fill=INK)
    drawing.text(_RIGHT - 6, top + 16, shape, anchor="end", fill=INK)
    if share:
        drawing.rect(_RIGHT + 6, top + 14, max(1.0, _BAR * share), 6, title, css="bar")
        drawing.text(_RIGHT + 6, top + 10, amount, font_size=9)
