"""ONNX -> ONNX: brings equivalent spellings of a quantized model into one, QDQ with int8.

- ``Constant`` nodes and shape arithmetic on constants become initializers;
- operators that carry their scales (QLinearConv, QGemm, ...) become DequantizeLinear, float operator, QuantizeLinear;
- uint8 becomes int8: values and zero points move by 128, which changes no real number;
- a pool with ``ceil_mode`` whose last window would start in the padding gets its padding in floor arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .geometry import ceil_mode_padding
from .onnx_constraints import ONNX, POOLS
from .onnx_folding import FOLDABLE, ConstantFolder
from .onnx_shapes import infer_shapes, static_shapes

QDQ = ("QuantizeLinear", "DequantizeLinear")
# onnxruntime's quantizer names a float tensor so when it inserts QuantizeLinear between it and its consumers.
FLOAT_SUFFIX = "_QuantizeLinear_Input"
_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True)
class _QOperator:
    """Inputs of an operator that carries its scales.

    operator : its float counterpart
    inputs : position of each quantized input; scale and zero point follow it
    output : position of the output's scale; its zero point follows
    bias : position of an int32 input whose scale is the product of the other two
    """

    operator: str
    inputs: tuple[int, ...]
    output: int
    bias: int | None = None


_Q_OPERATORS = {
    "QLinearConv": _QOperator("Conv", (0, 3), 6, bias=8),
    "QLinearMatMul": _QOperator("MatMul", (0, 3), 6),
    "QGemm": _QOperator("Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": _QOperator("Add", (0, 3), 6),
    "QLinearMul": _QOperator("Mul", (0, 3), 6),
    "QLinearAveragePool": _QOperator("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": _QOperator("GlobalAveragePool", (0,), 3),
    "QLinearSigmoid": _QOperator("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _QOperator("LeakyRelu", (0,), 3),
    "QLinearSoftmax": _QOperator("Softmax", (0,), 3),
}
Q_OPERATOR_NAMES = (*_Q_OPERATORS, "QLinearConcat")


def rewritten_kind(node: onnx.NodeProto) -> str | None:
    """The supported operator that ``node`` is, or will be; None if there is none."""
    if node.domain not in _DOMAINS:
        return None
    if node.op_type == "QLinearConcat":
        return "Concat"
    if node.op_type in _Q_OPERATORS:
        return _Q_OPERATORS[node.op_type].operator
    known = node.op_type in ONNX.signatures or node.op_type in FOLDABLE or node.op_type == "Constant"
    return node.op_type if known and (node.domain != "com.microsoft" or node.op_type in QDQ) else None


def rewrite(model: onnx.ModelProto) -> None:
    """Rewrite ``model``, whose shapes have been inferred as far as they can be, in place."""
    graph = model.graph
    folder = ConstantFolder(model)
    constants = folder.constants
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if not folder.fold(node):
            nodes += _to_qdq(node, constants)
    _uint8_to_int8(nodes, constants)
    used = {name for node in nodes for name in node.input} | {v.name for v in graph.output}
    inputs = [v for v in graph.input if v.name not in constants]
    for old in (graph.node, graph.initializer, graph.value_info, graph.input):
        del old[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items() if k in used)


def drop_padding_windows(model: onnx.ModelProto) -> None:
    """Write out the padding of pools whose ``ceil_mode`` would count a window that starts behind the image.

    ONNX does not count it and onnxruntime does not compute it, but shape inference (and so the shapes in many files)
    does. Each such pool changes the shapes behind it, so they are taken in order.
    """
    pools = [
        n for n in model.graph.node if n.op_type in POOLS and any(a.name == "ceil_mode" and a.i for a in n.attribute)
    ]
    for pool in pools:
        inferred = infer_shapes(model).graph
        shape = static_shapes(inferred).get(pool.input[0], ())
        a = {x.name: helper.get_attribute_value(x) for x in pool.attribute}
        kernel, strides, pads = a["kernel_shape"], a.get("strides", [1, 1]), list(a.get("pads", [0] * 4))
        plain = a.get("auto_pad", b"NOTSET") == b"NOTSET" and max(a.get("dilations", [1])) == 1
        if not plain or [len(shape), len(kernel), len(strides), len(pads)] != [4, 2, 2, 4] or min(strides) < 1:
            continue
        axes = list(zip(shape[2:], kernel, strides, pads[:2], pads[2:], strict=True))
        if all((-(-(i + p + q - k) // s)) * s < i + p for i, k, s, p, q in axes):
            continue
        kept = [x for x in pool.attribute if x.name not in ("ceil_mode", "pads", "count_include_pad")]
        if a.get("count_include_pad", 0) and any(pads):
            kept.append(helper.make_attribute("count_include_pad", 1))
        kept.append(helper.make_attribute("pads", [*pads[:2], *(ceil_mode_padding(*axis) for axis in axes)]))
        del pool.attribute[:]
        pool.attribute.extend(kept)
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")


def _to_qdq(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]]) -> Iterator[onnx.NodeProto]:
    """The nodes that say the same as ``node`` in QDQ form."""
    if node.op_type in QDQ:
        node.domain = ""
    if node.op_type not in Q_OPERATOR_NAMES:
        yield node
        return
    given = list(node.input)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.pop("channels_last", 0):
        raise ValueError(f"{node.op_type} '{node.output[0]}' is NHWC (channels_last), which is not supported")
    attributes.pop("opset", None)
    if node.op_type == "QLinearConcat":
        spec = _QOperator("Concat", tuple(range(2, len(given), 3)), 0)
    else:
        spec = _Q_OPERATORS[node.op_type]
    operands = []
    for position, at in enumerate(spec.inputs):
        source, scale, zero_point = given[at : at + 3]
        axis = _weight_axis(spec.operator, attributes) if position else 0
        operands.append(f"{node.output[0]}_operand{position}")
        yield helper.make_node("DequantizeLinear", [source, scale, zero_point], [operands[-1]], axis=axis)
    if spec.bias is not None and spec.bias < len(given) and given[spec.bias]:
        scale = f"{node.output[0]}_bias_scale"
        constants[scale] = np.multiply(constants[given[1]], constants[given[4]], dtype=np.float32)
        operands.append(f"{node.output[0]}_bias")
        yield helper.make_node("DequantizeLinear", [given[spec.bias], scale], [operands[-1]], axis=0)
    quantized = spec.output < len(given) and bool(given[spec.output])
    result = node.output[0] + FLOAT_SUFFIX if quantized else node.output[0]
    yield helper.make_node(spec.operator, operands, [result], name=node.name, **attributes)
    if quantized:
        yield helper.make_node("QuantizeLinear", [result, *given[spec.output : spec.output + 2]], list(node.output))


def _weight_axis(operator: str, attributes: dict[str, object]) -> int:
    return 1 if operator == "MatMul" or (operator == "Gemm" and not attributes.get("transB", 0)) else 0


def _uint8_to_int8(nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]]) -> None:
    unsigned = {name for name, value in constants.items() if value.dtype == np.uint8}
    moved: set[str] = set()
    for node in nodes:
        if node.op_type not in QDQ:
            # Data movement keeps the type.
            if any(name in unsigned for name in node.input):
                unsigned |= set(node.output)
                moved |= {name for name in node.input if name in constants and constants[name].dtype == np.uint8}
                _name_pad_value(node, constants, moved)
            continue
        zero_point = node.input[2] if len(node.input) > 2 else ""
        if not zero_point and _default_is_uint8(node, unsigned) and node.input[1] in constants:
            zero_point = f"{node.output[0]}_zero_point"
            constants[zero_point] = np.zeros_like(constants[node.input[1]], np.uint8)
            node.input[:] = [*node.input[:2], zero_point]
        if zero_point not in constants or constants[zero_point].dtype != np.uint8:
            continue
        moved.add(zero_point)
        if node.op_type == "DequantizeLinear":
            moved |= {node.input[0]} & set(constants)
            continue
        unsigned.add(node.output[0])
        # Where the attribute names a type, so does the zero point.
        for attribute in [a for a in node.attribute if a.name == "output_dtype"]:
            node.attribute.remove(attribute)
    for name in moved:
        constants[name] = (constants[name].astype(np.int16) - 128).astype(np.int8)


def _name_pad_value(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]], moved: set[str]) -> None:
    """Give a Pad of uint8 that names no value the 0 it pads with, for that moves, too."""
    if node.op_type != "Pad" or (len(node.input) > 2 and node.input[2]):
        return
    name = f"{node.output[0]}_pad_value"
    constants[name] = np.zeros((), np.uint8)
    moved.add(name)
    node.input[:] = [*node.input[:2], name, *node.input[3:]]


def _default_is_uint8(node: onnx.NodeProto, unsigned: set[str]) -> bool:
    """Whether a node without zero point works on uint8."""
    if node.op_type == "DequantizeLinear":
        return node.input[0] in unsigned
    return next((a.i for a in node.attribute if a.name == "output_dtype"), 0) in (0, onnx.TensorProto.UINT8)
