"""Lets copies be views of bytes that are in place already."""

from __future__ import annotations

from dataclasses import replace

from tvm_tiny import planner
from tvm_tiny.ops import Layer, Program


def place_views(program: Program, fusion: planner.Fusion) -> Program:
    """``program`` without the copies that ``planner.find_views`` finds needless; some become smaller ones."""
    graph = planner.find_views(program.graph, fusion)
    known = {op.outputs: layer for op, layer in zip(program.graph.ops, program.layers, strict=True)}
    layers = []
    for op in graph.ops:
        layer = known.get(op.outputs) or Layer(op.name, "copy", graph.tensors[op.outputs[0]].shape, None)
        layers.append(replace(layer, kernel=None) if op.kind is planner.Kind.VIEW else layer)
    return replace(program, graph=graph, layers=tuple(layers))
