"""Elementwise functions of one quantized tensor: any nest of them is a table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.passes._dataflow import called, is_call, shape_of
from tvm_tiny.passes.qdq.reader import QParams
from tvm_tiny.quant import lut

if TYPE_CHECKING:
    from tvm_tiny.passes.qdq.lowering import Lowering

X = "x"
"""Stands for the input in a tree."""

Tree: TypeAlias = str | float | tuple[Any, ...]
"""``X``, a constant, or (operator, operands ...)."""

HARD_SWISH: Tree = ("multiply", X, ("divide", ("clip", ("add", X, 3.0), 0.0, 6.0), 6.0))
"""How TVM's front ends write HARD_SWISH."""

_ARITHMETIC = ("add", "subtract", "multiply")
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b if b else math.copysign(math.inf, a),
    "maximum": max,
    "minimum": min,
    "clip": lambda x, low, high: min(max(x, low), high),
    "nn.relu": lambda x: max(x, 0.0),
    "nn.leakyrelu": lambda x, alpha: x if x >= 0 else alpha * x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    "tanh": math.tanh,
    "exp": lambda x: math.exp(min(x, 700.0)),
    "abs": abs,
    "negative": lambda x: -x,
    "nn.silu": lambda x: x * _FUNCTIONS["sigmoid"](x),
}
_TITLES = {"nn.leakyrelu": "leaky_relu"}


@dataclass(frozen=True, eq=False)
class UnaryTree:
    """leaf : the float expression that is ``X`` in ``tree``; it is the exact image of an integer tensor."""

    leaf: relax.Expr
    tree: Tree

    @property
    def title(self) -> str:
        """Name of the function, for reports: ``sigmoid``, or ``sigmoid+multiply`` from the inside out."""
        if self.tree == HARD_SWISH:
            return "hard_swish"
        return "+".join(_TITLES.get(n, n.removeprefix("nn.")) for n in dict.fromkeys(_operators(self.tree)))


def read_unary(low: Lowering, expr: relax.Expr) -> UnaryTree | None:
    """``expr`` as a function of one exactly quantized tensor; None if it is none, or is that tensor itself."""
    leaves: list[relax.Expr] = []
    tree = _read(low, expr, leaves)
    if tree is None or tree == X or len({_origin(low, x) for x in leaves}) != 1:
        return None
    return UnaryTree(leaves[0], tree)


def unary_table(unary: UnaryTree, q: QParams, out: QParams, rounding: str, *, of_floats: bool) -> NDArray[np.int8]:
    """int8 [256], as TFLite Micro computes the function where it has it, else rounded from float64.

    Parameters
    ----------
    of_floats : the model means the function of floats: TFLite Micro's is not taken where it is far from that
    """
    scales = (q.scale, q.zero_point, out.scale, out.zero_point)
    fixed_points = {("sigmoid", X): "sigmoid", ("tanh", X): "tanh", HARD_SWISH: "hard_swish"}
    function = fixed_points.get(unary.tree) if of_floats else None
    if function and lut.fixed_point_fails(function, q.scale, out.scale):
        return lut.function_table(lambda x: _evaluate(unary.tree, x), *scales)
    match unary.tree:
        case ("sigmoid", "x"):
            return lut.logistic_table(*scales, rounding)
        case ("tanh", "x"):
            return lut.tanh_table(*scales, rounding)
        case ("nn.relu", "x"):
            return lut.relu_table("relu", *scales, rounding)
        case ("clip", "x", float(low), float(high)):
            return lut.clip_table(_finite(low), _finite(high), *scales, rounding)
        case ("nn.leakyrelu", "x", float(alpha)):
            return lut.leaky_relu_table(alpha, *scales, rounding)
        case tree if tree == HARD_SWISH:
            return lut.hard_swish_table(*scales)
    return lut.function_table(lambda x: _evaluate(unary.tree, x), *scales)


def _read(low: Lowering, expr: relax.Expr, leaves: list[relax.Expr]) -> Tree | None:
    value = low.reader.value(expr)
    name = called(value)
    if name in _FUNCTIONS and not _is_quantized_arithmetic(low, value):
        operands = [_read_operand(low, a, leaves) for a in value.args]
        if name == "nn.leakyrelu":
            operands.append(float(value.attrs.alpha))
        if None not in operands:
            return (name, *operands)
    if low.reader.constant(expr) is None and low.exact_params(expr) is not None:
        leaves.append(expr)
        return X
    return None


def _read_operand(low: Lowering, arg: relax.Expr, leaves: list[relax.Expr]) -> Tree | None:
    if not isinstance(arg.ty, relax.TensorType):
        return float(arg.value)
    scalar = low.reader.scalar(arg)
    if scalar is not None and (not shape_of(arg) or set(shape_of(arg)) == {1}):
        return scalar
    return _read(low, arg, leaves)


def _is_quantized_arithmetic(low: Lowering, call: relax.Call) -> bool:
    """Sums and products of two quantized tensors have integer operators of their own, also where both are the same."""
    return is_call(call, *_ARITHMETIC) and all(low.exact_params(a) is not None for a in call.args)


def _finite(bound: float) -> float | None:
    return None if math.isinf(bound) else bound


def _origin(low: Lowering, leaf: relax.Expr) -> tuple[Any, QParams | None]:
    """The same for all float images of one integer tensor."""
    value = low.reader.value(leaf)
    return (value.args[0], low.exact_params(leaf)) if is_call(value, "dequantize") else (value, None)


def _operators(tree: Tree) -> list[str]:
    if not isinstance(tree, tuple):
        return []
    return [n for operand in tree[1:] for n in _operators(operand)] + [tree[0]]


def _evaluate(tree: Tree, x: float) -> float:
    if tree == X:
        return x
    if isinstance(tree, tuple):
        return float(_FUNCTIONS[tree[0]](*(_evaluate(operand, x) for operand in tree[1:])))
    return float(tree)
