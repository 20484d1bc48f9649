"""Sound .onnx files with what random models do not have: shape arithmetic, functions, data in another file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.onnx_qdq import OnnxWriter

_MARK = "weights: "


def extra_models(file: str) -> list[bytes]:
    """Models in float32.

    Parameters
    ----------
    file : name that they will have; the last one's external weights lie in the file itself
    """
    return [_shape_arithmetic().SerializeToString(), _functions().SerializeToString(), _external(file)]


def _shape_arithmetic() -> onnx.ModelProto:
    writer = OnnxWriter((1, 2, 4, 6))
    shape = writer.node("Shape", ["x"], "shape")
    batch = writer.node("Gather", [shape, writer.constant(np.int64([0]))], "batch", axis=0)
    sides = writer.node("Slice", [shape, *(writer.constant(np.int64([i])) for i in (2, 4))], "sides")
    real = writer.node("Cast", [sides], "real", to=onnx.TensorProto.FLOAT)
    scaled = writer.node("Mul", [real, writer.constant(np.float32([1.0, 1.0]))], "scaled")
    halved = writer.node("Floor", [writer.node("Div", [scaled, writer.constant(np.float32(2))], "halves")], "floor")
    sums = writer.node("Add", [halved, writer.node("Sub", [scaled, halved], "rest")], "sums")
    whole = writer.node("Cast", [sums], "whole", to=onnx.TensorProto.INT64)
    axes = writer.constant(np.int64([0]))
    flat = writer.node("Squeeze", [writer.node("Unsqueeze", [whole, axes], "wrapped"), axes], "flat")
    rest = writer.node("Constant", [], "minus", value=onnx.numpy_helper.from_array(np.int64([-1])))
    target = writer.node("Concat", [batch, rest, writer.node("Identity", [flat], "same")], "target", axis=0)
    y = writer.node("Relu", [writer.node("Reshape", ["x", target], "reshaped")], "relu")
    weight = writer.node("Transpose", [writer.weight(2, 3, 1, 1)], "weight", perm=[1, 0, 2, 3])
    return writer.model(writer.node("Conv", [y, weight], "y"))


def _functions() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = [helper.make_node("Relu", ["a"], ["b"])]
    outer = [helper.make_node("inner", ["a"], ["t"], domain="own"), helper.make_node("Add", ["t", "a"], ["b"])]
    model = OnnxWriter((1, 4)).model()
    model.graph.node.append(helper.make_node("outer", ["x"], ["y"], domain="own"))
    model.graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4]))
    model.functions.extend(
        helper.make_function("own", name, ["a"], ["b"], nodes, opsets)
        for name, nodes in (("inner", inner), ("outer", outer))
    )
    model.opset_import.append(opsets[1])
    return model


def _external(file: str) -> bytes:
    writer = OnnxWriter((1, 4))
    weight = writer.constant(np.zeros((4, 4), np.float32))
    model = writer.model(writer.node("MatMul", ["x", weight], "y"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    model.doc_string = _MARK + "0>0>" * 16  # numbers near 0.17, if read as floats; before the graph in the file
    offset = model.SerializeToString().index(_MARK.encode()) + len(_MARK)
    for key, value in (("location", file), ("offset", offset), ("length", 64)):
        tensor.external_data.add(key=key, value=str(value))
    return model.SerializeToString()
