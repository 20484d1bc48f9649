"""Random ONNX layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.fuzz import onnx_moves as moves
from tests.fuzz import quantities
from tests.fuzz.onnx_moves import image, picked, requantized
from tests.fuzz.onnx_network import Activation, Layer, OnnxNetwork
from tests.fuzz.tflite_compute import KERNELS
from tests.fuzz.tflite_network import divisors

Made = Activation | None


def window(n: OnnxNetwork, x: Activation, *, dilated: bool) -> tuple[tuple[int, int], dict[str, Any], tuple[int, ...]]:
    """Kernel, attributes and output size; padding by numbers that keep every window on the image, or by auto_pad."""
    draws = n.draws
    kernel = draws.pick(*KERNELS, (draws.size(1, 5), draws.size(1, 5)))
    strides = draws.pick((1, 1), (2, 2), (1, 1), (1, 2), (2, 1), (3, 3))
    gaps = draws.pick((2, 2), (1, 2), (3, 1)) if dilated and draws.one_in(8) else (1, 1)
    strides = (1, 1) if gaps != (1, 1) else strides
    a: dict[str, Any] = {"strides": list(strides), "kernel_shape": list(kernel)}
    a |= {"dilations": list(gaps)} if gaps != (1, 1) else {}
    # Where windows leave out pixels, onnxruntime's auto_pad cuts off the image's border.
    if draws.one_in(4) and all(s <= k for s, k in zip(strides, kernel, strict=True)):
        a["auto_pad"] = draws.pick("SAME_UPPER", "SAME_LOWER")
        return kernel, a, tuple(-(-d // s) for d, s in zip(x.shape[2:], strides, strict=True))
    before, after, size = [], [], []
    for d, k, s, g in zip(x.shape[2:], kernel, strides, gaps, strict=True):
        reach = (k - 1) * g + 1
        before.append(draws.size(0, k - 1) if not draws.one_in(2) else (k - 1) // 2)
        after.append(max(draws.size(0, k - 1) if not draws.one_in(2) else k // 2, reach - d - before[-1]))
        size.append((d + before[-1] + after[-1] - reach) // s + 1)
    # A border as wide as the window would have windows without any pixel.
    if any(p >= k for p, k in zip((*before, *after), (*kernel, *kernel), strict=True)) and not dilated:
        a["auto_pad"] = "SAME_UPPER"
        return kernel, a, tuple(-(-d // s) for d, s in zip(x.shape[2:], strides, strict=True))
    a["pads"] = [*before, *after]
    return kernel, a, tuple(size)


def activated(n: OnnxNetwork, name: str) -> str:
    """A ReLU or a Clip behind a float operator."""
    kind = n.draws.weighted([("none", 4), ("Relu", 4), ("Clip", 3)])
    if kind == "none":
        return name
    if kind == "Relu":
        return n.node("Relu", [name])
    low, high = n.draws.pick((0.0, 6.0), (-1.0, 1.0), (0.0, 1.0))
    return n.node("Clip", [name, n.constant(low, "float32"), n.constant(high, "float32")])


def weighted(
    n: OnnxNetwork, x: Activation, operator: str, shape: tuple[int, ...], axis: int, out: Sequence[int], **a: Any
) -> Activation:
    """Conv, Gemm or MatMul; in QDQ form or with the scales inside."""
    draws = n.draws
    values, scales = quantities.weights_of(draws, shape, axis), quantities.weight_scales_of(draws, shape[axis])
    outputs = shape[axis]
    bias = quantities.bias_of(draws, outputs, values.size // outputs) if operator != "MatMul" else None
    scale = quantities.weighted_scale(draws, x.scale, values, scales, axis, most=0.99)
    zero_point = quantities.zero_point_of(draws)
    if len(scales) == 1:
        scales = scales.reshape(())
    bias_scale = np.broadcast_to(np.float32(x.scale) * scales, outputs) if scales.ndim else np.float32(x.scale) * scales
    weight = n.constant(values, "int8")
    numbers = [n.constant(scales, "float32"), n.constant(np.zeros(scales.shape), "int8")]
    names = {"Conv": "QLinearConv", "Gemm": "QGemm", "MatMul": "QLinearMatMul"}
    # QLinearMatMul's scales per column are a newer addition.
    if n.q_operators and not (operator == "MatMul" and scales.ndim):
        given = [x.name, *n.numbers(x.scale, x.zero_point), weight, *numbers]
        to = n.numbers(scale, zero_point)
        biases = [] if bias is None else [n.constant(bias, "int32")]
        given += [*(biases or [""]), *to] if operator == "Gemm" else [*to, *biases]
        return n.q_operator(names[operator], given, (out, scale, zero_point), **a)
    channel = {"axis": axis} if n.opset >= 13 and scales.ndim else {}
    if n.opset < 13 and scales.ndim:  # no scales per channel yet
        numbers = [n.constant(scales.max(), "float32"), n.constant(0, "int8")]
        bias_scale = np.float32(x.scale) * scales.max()
    inputs = [n.real(x), n.node("DequantizeLinear", [weight, *numbers], **channel)]
    if bias is not None and draws.one_in(3):
        inputs.append(n.constant(bias * np.asarray(bias_scale, np.float64), "float32"))
    elif bias is not None:
        given = [n.constant(bias, "int32"), n.constant(bias_scale, "float32")]
        inputs.append(n.node("DequantizeLinear", given, **({"axis": 0} if channel else {})))
    return n.quantized(activated(n, n.node(operator, inputs, **a)), out, scale, zero_point)


def conv(n: OnnxNetwork, x: Activation) -> Made:
    x, draws = image(n, x), n.draws
    kernel, a, size = window(n, x, dilated=True)
    channels, outputs = x.shape[1], draws.pick(4, 8, 1, 3, 16, draws.size(1, 16))
    kind = draws.weighted([("plain", 6), ("depthwise", 5), ("groups", 1)])
    groups = {"plain": 1, "depthwise": channels, "groups": draws.pick(*divisors(channels)[:3])}[kind]
    if kind != "plain":
        outputs = channels * (draws.size(2, 3) if draws.one_in(8) else 1)
    if not n.fits((x.shape[0], outputs, *size)) or outputs * channels // groups * np.prod(kernel) > 20 * n.limit:
        return None
    a |= {"group": groups} if groups > 1 else {}
    return weighted(n, x, "Conv", (outputs, channels // groups, *kernel), 0, (x.shape[0], outputs, *size), **a)


def dense(n: OnnxNetwork, x: Activation) -> Made:
    if len(x.shape) != 2:
        size = int(np.prod(x.shape))
        x = picked(n, x, lambda name: (n.node("Flatten", [name], axis=0), (1, size)))
    depth, outputs = x.shape[1], n.draws.pick(4, 10, 1, n.draws.size(1, 20))
    if depth * outputs > 20 * n.limit:
        return None
    kind = n.draws.pick("Gemm", "transposed", "MatMul")
    if kind == "transposed":
        return weighted(n, x, "Gemm", (outputs, depth), 0, (x.shape[0], outputs), transB=1)
    return weighted(n, x, kind, (depth, outputs), 1, (x.shape[0], outputs))


def binary(n: OnnxNetwork, x: Activation, operator: str) -> Made:
    draws = n.draws
    kind = draws.weighted([("same", 5), ("constant", 2), ("itself", 1)])
    other: Activation | None = x
    if kind == "same":
        other = n.other(lambda t: t.shape == x.shape and t is not x) or x
    if kind == "constant":
        shape = tuple(d if draws.one_in(2) else 1 for d in x.shape)
        scale, zero_point = quantities.quant_of(draws)
        values = draws.generator().integers(-128, 128, shape) + (128 if n.unsigned else 0)
        other = Activation(n.constant(values, "uint8" if n.unsigned else "int8"), shape, scale, zero_point)
    assert other is not None
    usual = x.scale * other.scale * 60 if operator == "Mul" else max(x.scale, other.scale)
    scale, zero_point = quantities.near_scale(draws, max(usual, 1e-30)), quantities.zero_point_of(draws)
    if n.q_operators and operator != "Sub":
        operands = [v for t in (x, other) for v in (t.name, *n.numbers(t.scale, t.zero_point))]
        to = n.numbers(scale, zero_point)
        return n.q_operator(f"QLinear{operator}", [*operands, *to], (x.shape, scale, zero_point))
    y = n.node(operator, [n.real(x), n.real(other)])
    return n.quantized(activated(n, y), x.shape, scale, zero_point)


def pool(n: OnnxNetwork, x: Activation, operator: str) -> Made:
    x = image(n, x)
    _, a, size = window(n, x, dilated=False)
    if not n.fits((*x.shape[:2], *size)):
        return None
    if operator == "MaxPool":
        return picked(n, x, lambda name: (n.node("MaxPool", [name], **a), (*x.shape[:2], *size)), int8_since=12)
    scale, zero_point = requantized(n, x)
    return n.quantized(n.node(operator, [n.real(x)], **a), (*x.shape[:2], *size), scale, zero_point)


def global_average(n: OnnxNetwork, x: Activation) -> Made:
    x = image(n, x)
    if n.draws.one_in(4):
        return picked(n, x, lambda name: (n.node("GlobalMaxPool", [name]), (*x.shape[:2], 1, 1)))
    return n.quantized(n.node("GlobalAveragePool", [n.real(x)]), (*x.shape[:2], 1, 1), *requantized(n, x))


def reduce_mean(n: OnnxNetwork, x: Activation) -> Made:
    draws, rank = n.draws, len(x.shape)
    axes = [a for a in range(rank) if draws.one_in(2)]
    keep = draws.one_in(2) or len(axes) == rank
    if not axes or n.opset >= 18:
        return None
    shape = [1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes]
    y = n.node("ReduceMean", [n.real(x)], axes=axes, keepdims=int(keep))
    return n.quantized(y, shape, *requantized(n, x))


def unary(n: OnnxNetwork, x: Activation, operator: str) -> Made:
    if operator == "HardSwish" and n.opset < 14:
        return None
    fixed = {"Sigmoid": (1 / 256, -128), "Tanh": (1 / 128, 0), "Softmax": (1 / 256, -128)}
    to = fixed.get(operator) or (quantities.near_scale(n.draws, x.scale), quantities.zero_point_of(n.draws))
    a: dict[str, Any] = {"alpha": n.draws.pick(0.1, 0.3, 0.0)} if operator == "LeakyRelu" else {}
    a |= {"axis": len(x.shape) - 1} if operator == "Softmax" else {}
    return n.quantized(n.node(operator, [n.real(x)], **a), x.shape, *to)


def _of(function: Callable[[OnnxNetwork, Activation, str], Made], operator: str) -> Layer:
    return lambda n, x: function(n, x, operator)


LAYERS: tuple[tuple[Layer, int], ...] = (
    (conv, 12),
    (dense, 5),
    *((_of(binary, name), weight) for name, weight in (("Add", 5), ("Sub", 1), ("Mul", 2))),
    *((_of(pool, name), 3) for name in ("MaxPool", "AveragePool")),
    (global_average, 2),
    *((_of(unary, name), 1) for name in ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Softmax")),
    *((_of(unary, name), 1) for name in ("Identity", "Dropout")),
    (reduce_mean, 2),
    (moves.transpose, 2),
    (moves.concat, 3),
    (moves.split, 2),
    (moves.squeezed, 1),
    (moves.cut, 2),
    (moves.pad, 2),
    (moves.resize, 2),
)
