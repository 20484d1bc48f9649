"""``Graph`` of an ONNX model in QDQ form: operators see through DequantizeLinear to the integers behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .graph import MAX_ELEMENTS, Graph, Operator, Quantization, Tensor
from .onnx_rewrites import QDQ

# What may stand between an operator and the QuantizeLinear of its result.
_FUSED = ("Relu", "Clip")


def view(model: onnx.ModelProto) -> Graph:
    """Build the view; the shapes of ``model`` have been inferred.

    Raises
    ------
    ValueError, KeyError
        a tensor without static shape, a tensor that nothing makes
    """
    return _Viewer(model.graph).graph()


class _Viewer:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._types = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._users: dict[str, list[onnx.NodeProto | None]] = {v.name: [None] for v in graph.output}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def graph(self) -> Graph:
        constant = [v.name for v in self._graph.output if v.name in self._constants]
        if constant:
            raise ValueError(f"output '{constant[0]}' does not depend on the input")
        return Graph(
            tuple(self._operator(node) for node in self._graph.node),
            tuple(self._boundary(v.name) for v in self._graph.input),
            tuple(self._boundary(v.name) for v in self._graph.output),
        )

    def _operator(self, node: onnx.NodeProto) -> Operator:
        quantizes = node.op_type in QDQ
        see_through = node.op_type != "DequantizeLinear"
        inputs = [
            None if not name else self._input(name) if see_through else self._plain(name)
            for name in (node.input[:1] if quantizes else node.input)
        ]
        if quantizes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            q = self._quantization(node, axis)
            if node.op_type == "DequantizeLinear" and inputs[0] is not None:
                inputs = [_with(inputs[0], q)]
                outputs = [self._plain(node.output[0])]
            else:
                outputs = [_with(self._plain(node.output[0]), q)]
        else:
            outputs = [self._output(name) for name in node.output if name]
        attributes = {a.name: _attribute(a) for a in node.attribute}
        return Operator(node.op_type, tuple(inputs), tuple(outputs), attributes, node)

    def _plain(self, name: str) -> Tensor:
        """The tensor as the file has it."""
        data = self._constants.get(name)
        if data is not None:
            return Tensor(-1, name, data.shape, str(data.dtype), None, data)
        if name not in self._types:
            raise ValueError(f"the shape of '{name}' cannot be inferred")
        kind = self._types[name]
        dims = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
        if not kind.HasField("shape") or min(dims, default=1) < 1 or np.prod(dims, dtype=np.float64) > MAX_ELEMENTS:
            raise ValueError(f"tensor '{name}' has no static shape that can be inferred")
        return Tensor(-1, name, tuple(dims), _dtype_name(kind.elem_type))

    def _input(self, name: str) -> Tensor:
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return self._plain(name)
        axis = next((a.i for a in maker.attribute if a.name == "axis"), 1)
        return _with(self._plain(maker.input[0]), self._quantization(maker, axis))

    def _output(self, name: str) -> Tensor:
        """The tensor, as int8 if all that happens to it is an activation and QuantizeLinear."""
        plain = self._plain(name)
        current = name
        while True:
            users = self._users.get(current, [])
            if len(users) != 1 or users[0] is None:
                return plain
            user = users[0]
            if user.op_type == "QuantizeLinear":
                q = self._quantization(user, 0)
                return Tensor(-1, name, plain.shape, self._plain(user.output[0]).dtype, q)
            if user.op_type not in _FUSED:
                return plain
            current = user.output[0]

    def _boundary(self, name: str) -> Tensor:
        """A model input or output, with the quantization that its neighbour gives it if it is an integer."""
        plain = self._plain(name)
        maker = self._makers.get(name)
        users = [u for u in self._users.get(name, []) if u is not None and u.op_type == "DequantizeLinear"]
        if maker is not None and maker.op_type == "QuantizeLinear":
            return _with(plain, self._quantization(maker, 0))
        if plain.dtype != "float32" and users:
            return _with(plain, self._quantization(users[0], 0))
        return plain

    def _quantization(self, node: onnx.NodeProto, axis: int) -> Quantization | None:
        """Scale and zero point of a (De)QuantizeLinear; None where they are not constants."""
        scales = self._constants.get(node.input[1])
        if scales is None or any(a.name == "block_size" and a.i for a in node.attribute):
            return None
        given = node.input[2] if len(node.input) > 2 else ""
        zero_points = self._constants.get(given, np.zeros(1, np.int64) if not given else None)
        if zero_points is None:
            return None
        rank = len(self._plain(node.input[0]).shape)
        flat = scales.astype(np.float32).reshape(-1)
        points = np.broadcast_to(zero_points.astype(np.int64).reshape(-1), flat.shape)
        if flat.size == 1:
            return Quantization(flat, points)
        axis = 0 if rank == 1 else axis % max(rank, 1)
        if self._plain(node.input[0]).shape[axis] != flat.size:
            raise ValueError(f"{node.op_type} '{node.output[0]}' has {flat.size} scales along axis {axis}")
        return Quantization(flat, points, axis)


def _with(tensor: Tensor, q: Quantization | None) -> Tensor:
    return Tensor(tensor.index, tensor.name, tensor.shape, tensor.dtype, q, tensor.data)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _dtype_name(elem_type: int) -> str:
    return "float32" if elem_type == onnx.TensorProto.FLOAT else onnx.TensorProto.DataType.Name(elem_type).lower()
