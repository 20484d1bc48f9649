"""Shape inference of ONNX models that are not sound."""

from __future__ import annotations

from math import prod

import onnx
from onnx import shape_inference

_HIDDEN = "tvm_tiny.hidden"
_MAX_RANK = 64  # as in NumPy
_MAX_LIST = 1 << 20
_NEGATIVE = "'{}' has a negative size: the window, slice or padding that makes it does not fit"


def infer_shapes(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """``onnx.shape_inference.infer_shapes`` with values of shapes, which no model ends the process with.

    Upstream's inference aborts in a Slice along a side that is negative, and makes such sides of windows that are
    larger than their image (https://github.com/onnx/onnx/issues/8481). A Reshape to a computed shape makes as many
    sides as that has elements. So both take part when the shape of the input in question is known, and sound; most
    models have few that depend on each other, hence few rounds.

    Parameters
    ----------
    strict : errors of operators are raised, not left out

    Raises
    ------
    ValueError : a side is negative, or an image has too many
    InferenceError : with ``strict``
    """
    _check_lists(model.graph)
    hazards = _hazards(model.graph)
    if not hazards:
        return shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True)
    known = onnx.ModelProto()
    known.CopyFrom(model)
    _check_sides(known.graph)
    hidden = [(known.graph.node[at], name) for at, name in hazards]
    for node, _ in hidden:
        node.domain = _HIDDEN
    known.opset_import.add(domain=_HIDDEN, version=1)
    while hidden:
        inferred = shape_inference.infer_shapes(known, data_prop=True).graph
        _check_sides(inferred)
        shapes = _shapes(inferred)
        # What still has no shape gets none by its own operator, nor do those behind it.
        ready = [(node, name) for node, name in hidden if name in shapes] or hidden
        for node, name in ready:
            if node.op_type == "Reshape":
                _check_rank(node, max(shapes.get(name, ()), default=0))
            node.domain = ""
        hidden = [(node, name) for node, name in hidden if node.domain]
    del known.opset_import[-1]
    return shape_inference.infer_shapes(known, strict_mode=strict, data_prop=True)


def static_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape, where all of it is known."""
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info)
        if v.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
    }


def _hazards(graph: onnx.GraphProto) -> list[tuple[int, str]]:
    """Positions of nodes that inference does not take with every input, and which input that is."""
    lengths = {t.name: prod(t.dims) for t in graph.initializer}
    lengths |= {n: 0 for x in graph.node if x.op_type == "Constant" for n in x.output}
    inputs = {"Slice": 0, "Reshape": 1}
    found = []
    for position, node in enumerate(graph.node):
        at = inputs.get(node.op_type)
        if at is None or node.domain not in ("", "ai.onnx") or at >= len(node.input) or not node.output:
            continue
        name = node.input[at]
        if node.op_type == "Slice" or name not in lengths:
            found.append((position, name))
        else:
            _check_rank(node, lengths[name])
    return found


def _check_rank(node: onnx.NodeProto, rank: int) -> None:
    if rank > _MAX_RANK:
        raise ValueError(f"'{node.output[0]}' has {rank:,} dimensions, at most {_MAX_RANK} are read")


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Tensor -> its sides as far as they are known, 0 where one is not."""
    values = (v for v in (*graph.input, *graph.value_info, *graph.output) if v.type.tensor_type.HasField("shape"))
    found = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return found | {t.name: list(t.dims) for t in graph.initializer}


def _check_lists(graph: onnx.GraphProto) -> None:
    """Values of shapes are made for lists as long as the file says."""
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if len(sides) == 1 and sides[0] > _MAX_LIST:
            raise ValueError(f"'{value.name}' is a list of {sides[0]:,} values, at most {_MAX_LIST:,} are read")


def _check_sides(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if any(d.dim_value < 0 for d in value.type.tensor_type.shape.dim):
            raise ValueError(_NEGATIVE.format(value.name))
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute]
    for tensor in (*graph.initializer, *constants):
        if any(d < 0 for d in tensor.dims):
            raise ValueError(_NEGATIVE.format(tensor.name))
