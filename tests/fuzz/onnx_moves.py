"""Random ONNX layers that move, cut, join, pad and resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.fuzz import quantities
from tests.fuzz.onnx_network import Activation, OnnxNetwork
from tests.fuzz.tflite_network import divisors

Made = Activation | None


def image(n: OnnxNetwork, x: Activation) -> Activation:
    """``x``, or what it holds in the shape of an image."""
    if len(x.shape) == 4:
        return x
    size = int(np.prod(x.shape))
    channels = n.draws.pick(*divisors(size))
    height = n.draws.pick(*divisors(size // channels))
    return moved(n, x, (1, channels, height, size // channels // height))


def moved(n: OnnxNetwork, x: Activation, shape: Sequence[int]) -> Activation:
    """RESHAPE."""
    target = n.constant(list(shape), "int64")
    return picked(n, x, lambda name: (n.node("Reshape", [name, target]), shape))


def picked(
    n: OnnxNetwork, x: Activation, make: Callable[[str], tuple[str, Sequence[int]]], *, int8_since: int = 1
) -> Activation:
    """What only moves values: on the integers, or between DequantizeLinear and QuantizeLinear of one quantization.

    int8_since : the operator set that knows it for int8
    """
    if n.draws.one_in(3) and n.opset >= int8_since:
        name, shape = make(x.name)
        return Activation(name, tuple(shape), x.scale, x.zero_point)
    name, shape = make(n.real(x))
    return n.quantized(name, shape, x.scale, x.zero_point)


def requantized(n: OnnxNetwork, x: Activation) -> tuple[float, int]:
    if n.draws.one_in(2):
        return x.scale, x.zero_point
    return quantities.near_scale(n.draws, x.scale), quantities.zero_point_of(n.draws)


def transpose(n: OnnxNetwork, x: Activation) -> Made:
    axes = list(range(len(x.shape)))
    perm = [axes.pop(n.draws.below(len(axes))) for _ in x.shape]
    return picked(n, x, lambda name: (n.node("Transpose", [name], perm=perm), [x.shape[p] for p in perm]))


def concat(n: OnnxNetwork, x: Activation) -> Made:
    """Of floats with different scales, to one of its own."""
    axis = n.draws.below(len(x.shape)) if n.draws.one_in(2) else min(1, len(x.shape) - 1)

    def rest(t: Activation) -> tuple[int, ...]:
        return t.shape[:axis] + t.shape[axis + 1 :]

    other = n.other(lambda t: len(t.shape) == len(x.shape) and rest(t) == rest(x)) or x
    shape = [*x.shape[:axis], x.shape[axis] + other.shape[axis], *x.shape[axis + 1 :]]
    if not n.fits(shape):
        return None
    scale, zero_point = requantized(n, x)
    if n.q_operators:
        operands = [v for t in (x, other) for v in (t.name, *n.numbers(t.scale, t.zero_point))]
        to = n.numbers(scale, zero_point)
        return n.q_operator("QLinearConcat", [*to, *operands], (shape, scale, zero_point), axis=axis)
    return n.quantized(n.node("Concat", [n.real(x), n.real(other)], axis=axis), shape, scale, zero_point)


def cut(n: OnnxNetwork, x: Activation) -> Made:
    """Slice along one or two axes, forwards or backwards."""
    draws, shape = n.draws, list(x.shape)
    axes = sorted({draws.below(len(shape)), draws.below(len(shape))})
    starts, ends, steps = [], [], []
    for axis in axes:
        first = draws.below(shape[axis])
        step = draws.pick(1, 1, 2, -1)
        low, high = (first, shape[axis]) if step > 0 else (shape[axis] - 1, -shape[axis] - 1)
        starts.append(low)
        ends.append(high)
        steps.append(step)
        shape[axis] = len(range(shape[axis])[slice(low, high, step)])
    numbers = [n.constant(v, "int64") for v in (starts, ends, axes, steps)]
    return picked(n, x, lambda name: (n.node("Slice", [name, *numbers]), shape))


def pad(n: OnnxNetwork, x: Activation) -> Made:
    draws, rank = n.draws, len(x.shape)
    widths = [draws.size(0, 2) if draws.one_in(2) else 0 for _ in range(2 * rank)]
    shape = [d + widths[i] + widths[i + rank] for i, d in enumerate(x.shape)]
    if not n.fits(shape):
        return None
    value = n.constant(draws.pick(0.0, 1.0, -0.7), "float32")
    y = n.node("Pad", [n.real(x), n.constant(widths, "int64"), value])
    return n.quantized(y, shape, *requantized(n, x))


def resize(n: OnnxNetwork, x: Activation) -> Made:
    x = image(n, x)
    shape = (*x.shape[:2], 2 * x.shape[2], n.draws.pick(2, 1, 3) * x.shape[3])
    if not n.fits(shape):
        return None
    factors = n.constant([o / i for o, i in zip(shape, x.shape, strict=True)], "float32")
    mode: dict[str, Any] = {"mode": "linear"}
    if n.draws.one_in(2):
        mode = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    roi = "" if n.opset >= 13 else n.constant(np.zeros(8), "float32")
    return n.quantized(n.node("Resize", [n.real(x), roi, factors], **mode), shape, x.scale, x.zero_point)


def split(n: OnnxNetwork, x: Activation) -> list[Activation] | None:
    """In equal parts, by the number of outputs."""
    axis = n.draws.below(len(x.shape))
    parts = n.draws.pick(*(d for d in divisors(x.shape[axis]) if d <= 3))
    if parts == 1 or n.opset >= 18:
        return None
    shape = (*x.shape[:axis], x.shape[axis] // parts, *x.shape[axis + 1 :])
    first = n.node("Split", [n.real(x)], parts, axis=axis)
    names = [first, *(f"{first}_{i}" for i in range(1, parts))]
    return [n.quantized(name, shape, x.scale, x.zero_point) for name in names]


def squeezed(n: OnnxNetwork, x: Activation) -> Made:
    """A dimension of one put in, or left out."""
    rank = len(x.shape)
    ones = [i for i, d in enumerate(x.shape) if d == 1]
    leave_out = bool(ones) and rank > 1 and n.draws.one_in(2)
    if not leave_out and rank > 4:
        return None
    axis = n.draws.pick(*ones) if leave_out else n.draws.below(rank + 1)
    rest = x.shape[axis + 1 :] if leave_out else (1, *x.shape[axis:])
    operator = "Squeeze" if leave_out else "Unsqueeze"

    def make(name: str) -> tuple[str, Sequence[int]]:
        if n.opset < 13:
            return n.node(operator, [name], axes=[axis]), (*x.shape[:axis], *rest)
        return n.node(operator, [name, n.constant([axis], "int64")]), (*x.shape[:axis], *rest)

    return picked(n, x, make)
