"""Constants among the nodes of an ONNX graph: shape arithmetic mostly, and weights that are quantized in the graph.

A kilobyte can say that forty concatenations, one after the other, double a constant, or that two vectors make a matrix:
what an operator makes is counted before it is evaluated.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .graph import MAX_ELEMENTS
from .onnx_shapes import static_shapes

# Cheap operators on constants.
FOLDABLE = frozenset(
    {
        *("Shape", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Cast"),
        *("Add", "Sub", "Mul", "Div", "Floor", "Identity", "QuantizeLinear"),
    }
)
_BINARY = ("Add", "Sub", "Mul", "Div")
# Elements that may be made in all, beside so many times those of the file's constants.
_MADE, _MADE_PER_CONSTANT = 1 << 24, 16
# What the evaluator raises on constants that do not fit their operator, beside ValueError and TypeError.
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError)


class _Budget:
    """Elements that may still be made of constants."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.sizes = {t.name: _elements(t) for t in graph.initializer}
        self.sizes |= {n.output[0]: _constant_elements(n) for n in graph.node if n.op_type == "Constant" and n.output}
        self._left = _MADE + _MADE_PER_CONSTANT * min(sum(self.sizes.values()), MAX_ELEMENTS)

    def take(self, node: onnx.NodeProto, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            raise ValueError(f"{node.op_type} '{node.output[0]}' and what is before it make too much of constants")


def check_concatenations(graph: onnx.GraphProto) -> None:
    """Refuse what shape inference, which follows concatenated shapes, would take all memory for.

    Parameters
    ----------
    graph : all its operators are known

    Raises
    ------
    ValueError : constants of the file become too large
    """
    budget = _Budget(graph)
    sizes = budget.sizes
    for value in (*graph.input, *graph.value_info):
        sides = value.type.tensor_type.shape.dim
        if len(sides) == 1:  # which may stand for a shape
            sizes.setdefault(value.name, max(sides[0].dim_value, 0))
    for node in graph.node:
        given = [name for name in node.input if name]
        if node.op_type not in FOLDABLE or not node.output or any(name not in sizes for name in given):
            continue
        elements = [sizes[name] for name in given]
        sizes[node.output[0]] = sum(elements) if node.op_type == "Concat" else max(elements, default=0)
        if node.op_type == "Concat":
            budget.take(node, sizes[node.output[0]])


class ConstantFolder:
    """Evaluates nodes that depend on nothing but constants and shapes.

    Parameters
    ----------
    model : shapes have been inferred as far as they can be

    Attributes
    ----------
    constants : values of initializers, and of what has been folded
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._shapes = static_shapes(model.graph)
        self._opsets = {o.domain: o.version for o in model.opset_import}
        self._budget = _Budget(model.graph)

    def fold(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` is a constant; if so, its value is among ``constants`` now.

        Raises
        ------
        ValueError : its inputs do not fit it, or it makes too much of them
        """
        if node.op_type == "Constant":
            self._budget.take(node, self._budget.sizes[node.output[0]])
            self.constants[node.output[0]] = self._evaluated(node, {})
            return True
        if node.op_type not in FOLDABLE or len(node.output) != 1 or node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type == "Shape" and node.input[0] in self._shapes:
            # The evaluator only looks at the shape; a view of one element saves the memory.
            shape = self._shapes[node.input[0]]
            feeds: dict[str, NDArray[Any]] = {}
            if prod(shape) <= MAX_ELEMENTS:
                feeds[node.input[0]] = np.broadcast_to(np.zeros((), np.float32), shape)
        else:
            feeds = {name: self.constants[name] for name in node.input if name in self.constants}
        if any(name and name not in feeds for name in node.input):
            return False
        self._budget.take(node, _made(node, [feeds[name] for name in node.input if name]))
        self.constants[node.output[0]] = self._evaluated(node, feeds)
        return True

    def _evaluated(self, node: onnx.NodeProto, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
        try:
            (value,) = ReferenceEvaluator(node, opsets=self._opsets).run(None, feeds)
        except _MISFITS as error:
            raise ValueError(f"{node.op_type} '{node.output[0]}' of constants cannot be computed: {error}") from error
        return np.asarray(value)


def _elements(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> int:
    return max(int(prod(tensor.dims)), 0)


def _constant_elements(node: onnx.NodeProto) -> int:
    return max((_elements(a.t if a.name == "value" else a.sparse_tensor) for a in node.attribute), default=0)


def _made(node: onnx.NodeProto, inputs: list[NDArray[Any]]) -> int:
    """Elements that the evaluator makes of ``inputs``, at most."""
    kind = node.op_type
    attributes: dict[str, int] = {a.name: a.i for a in node.attribute}
    if kind == "Shape":
        return inputs[0].ndim
    if kind == "Concat":
        return sum(x.size for x in inputs)
    if kind in _BINARY:
        return prod(map(int, np.broadcast_shapes(*(x.shape for x in inputs))))
    if kind == "Gather" and len(inputs) == 2:
        return inputs[0].size * inputs[1].size // max(_side(inputs[0], attributes.get("axis", 0)), 1)
    if kind == "QuantizeLinear" and len(inputs) > 1:
        x, scale = inputs[:2]
        stretched = scale.size > 1 and _side(x, attributes.get("axis", 1)) != scale.size
        return x.size * (scale.size if stretched else 1) + scale.size * attributes.get("block_size", 0)
    return max((x.size for x in inputs), default=0)


def _side(x: NDArray[Any], axis: int) -> int:
    return int(x.shape[axis]) if -x.ndim <= axis < x.ndim else 1
