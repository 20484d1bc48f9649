"""Shape inference of ONNX models that are not sound."""

from __future__ import annotations

import onnx
from onnx import shape_inference

_HIDDEN = "tvm_tiny.hidden"
_NEGATIVE = "'{}' has a negative size: the window, slice or padding that makes it does not fit"


def infer_shapes(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """``onnx.shape_inference.infer_shapes`` with values of shapes, which no model ends the process with.

    Upstream's inference aborts in a Slice along a side that is negative, and makes such sides of windows that are
    larger than their image (https://github.com/onnx/onnx/issues/8481). So a Slice takes part when it is known that its
    input has none; most models have few that depend on each other, hence few rounds.

    Parameters
    ----------
    strict : errors of operators are raised, not left out

    Raises
    ------
    ValueError : a side is negative
    InferenceError : with ``strict``
    """
    known = model
    if any(map(_is_slice, model.graph.node)):
        known = onnx.ModelProto()
        known.CopyFrom(model)
        _check_sides(known.graph)
        hidden = [node for node in known.graph.node if _is_slice(node)]
        for node in hidden:
            node.domain = _HIDDEN
        known.opset_import.add(domain=_HIDDEN, version=1)
        while hidden:
            inferred = shape_inference.infer_shapes(known, data_prop=True).graph
            _check_sides(inferred)
            values = (*inferred.input, *inferred.value_info, *inferred.output)
            shapes = {v.name for v in values if v.type.tensor_type.HasField("shape")}
            shapes |= {t.name for t in inferred.initializer}
            # What still has no shape gets none by its own Slice, nor do those behind it.
            ready = [node for node in hidden if node.input[0] in shapes] or hidden
            for node in ready:
                node.domain = ""
            hidden = [node for node in hidden if node.domain]
        del known.opset_import[-1]
    return shape_inference.infer_shapes(known, strict_mode=strict, data_prop=True)


def static_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape, where all of it is known."""
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info)
        if v.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
    }


def _is_slice(node: onnx.NodeProto) -> bool:
    return node.op_type == "Slice" and node.domain in ("", "ai.onnx") and len(node.input) > 0


def _check_sides(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if any(d.dim_value < 0 for d in value.type.tensor_type.shape.dim):
            raise ValueError(_NEGATIVE.format(value.name))
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute]
    for tensor in (*graph.initializer, *constants):
        if any(d < 0 for d in tensor.dims):
            raise ValueError(_NEGATIVE.format(tensor.name))
