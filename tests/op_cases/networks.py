"""Cases of several operators: float edges, residuals, several outputs; and float32 models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

from .case import OpCase

FLOAT_RTOL = 1e-5


def network_cases() -> list[OpCase]:
    """Small int8 networks."""
    return [
        OpCase("network-mobile", "NETWORK", _mobile),
        OpCase("network-residual", "NETWORK", _residual),
        OpCase("network-float-edges", "NETWORK", _float_edges),
        OpCase("network-two-outputs", "NETWORK", _two_outputs),
        OpCase("network-pad-conv", "NETWORK", _pad_conv),
        OpCase("network-upsample-concat", "NETWORK", _upsample_concat),
        OpCase("network-odd-names", "NETWORK", _odd_names),
    ]


def float_cases() -> list[OpCase]:
    """float32 models of the operators that have weights or windows, and of some more."""
    makes: dict[str, tuple[str, Callable[[TfliteWriter, np.random.Generator], TensorRef]]] = {
        "conv2d": ("CONV_2D", lambda w, r: w.conv2d(*_float_conv(w, r, (4, 3, 3, 3)), activation="relu6", name="y")),
        "conv2d-s2-valid": (
            "CONV_2D",
            lambda w, r: w.conv2d(*_float_conv(w, r, (4, 3, 3, 3)), stride=(2, 2), padding="VALID", name="y"),
        ),
        "depthwise": (
            "DEPTHWISE_CONV_2D",
            lambda w, r: w.depthwise_conv2d(*_float_conv(w, r, (1, 3, 3, 3), 3), stride=(2, 2), name="y"),
        ),
        "dense": ("FULLY_CONNECTED", _float_dense),
        "add": ("ADD", lambda w, r: w.add(_float_input(w, "a"), _float_input(w, "b"), activation="relu", name="y")),
        "sub": ("SUB", lambda w, r: w.sub(_float_input(w, "a"), _float_input(w, "b"), name="y")),
        "mul": ("MUL", lambda w, r: w.mul(_float_input(w, "a"), _float_input(w, "b"), name="y")),
        "avgpool": (
            "AVERAGE_POOL_2D",
            lambda w, r: w.avg_pool2d(_float_input(w), (3, 3), stride=(2, 2), padding="SAME", name="y"),
        ),
        "maxpool": ("MAX_POOL_2D", lambda w, r: w.max_pool2d(_float_input(w), (2, 2), name="y")),
        "mean": ("MEAN", lambda w, r: w.mean(_float_input(w), (1, 2), name="y")),
        "softmax": ("SOFTMAX", lambda w, r: w.softmax(_float_input(w), name="y")),
        "logistic": ("LOGISTIC", lambda w, r: w.logistic(_float_input(w), name="y")),
        "tanh": ("TANH", lambda w, r: w.tanh(_float_input(w), name="y")),
        "relu": ("RELU", lambda w, r: w.unary("RELU", _float_input(w), name="y")),
        "relu6": ("RELU6", lambda w, r: w.unary("RELU6", _float_input(w), name="y")),
        "leaky-relu": ("LEAKY_RELU", lambda w, r: w.leaky_relu(_float_input(w), 0.1, name="y")),
        "hard-swish": ("HARD_SWISH", lambda w, r: w.hard_swish(_float_input(w), name="y")),
        "pad": ("PAD", lambda w, r: w.pad(_float_input(w), [(0, 0), (1, 2), (0, 1), (0, 0)], name="y")),
        "transpose": ("TRANSPOSE", lambda w, r: w.transpose(_float_input(w), (0, 3, 1, 2), name="y")),
        "concatenation": (
            "CONCATENATION",
            lambda w, r: w.concatenation([_float_input(w, "a"), _float_input(w, "b")], 3, name="y"),
        ),
        "resize-nearest": (
            "RESIZE_NEAREST_NEIGHBOR",
            lambda w, r: w.resize(_float_input(w), (8, 9), "nearest", name="y"),
        ),
        "resize-bilinear": ("RESIZE_BILINEAR", lambda w, r: w.resize(_float_input(w), (8, 9), "bilinear", name="y")),
    }

    def builder(make: Callable[[TfliteWriter, np.random.Generator], TensorRef]) -> Any:
        return lambda w, rng: w.output(make(w, rng))

    return [OpCase(f"float-{name}", operator, builder(make), FLOAT_RTOL) for name, (operator, make) in makes.items()]


def _float_input(w: TfliteWriter, name: str = "x") -> TensorRef:
    return w.input(name, (1, 6, 5, 3), dtype="float32")


def _float_conv(
    w: TfliteWriter, rng: np.random.Generator, shape: tuple[int, ...], axis: int = 0
) -> tuple[TensorRef, TensorRef, TensorRef]:
    weight = w.const("weight", rng.normal(0, 0.3, shape).astype(np.float32))
    return _float_input(w), weight, w.const("bias", rng.normal(0, 1, shape[axis]).astype(np.float32))


def _float_dense(w: TfliteWriter, rng: np.random.Generator) -> TensorRef:
    weight = w.const("weight", rng.normal(0, 0.3, (7, 90)).astype(np.float32))
    bias = w.const("bias", rng.normal(0, 1, 7).astype(np.float32))
    return w.fully_connected(_float_input(w), weight, bias, activation="relu", name="y")


def _conv(
    w: TfliteWriter,
    rng: np.random.Generator,
    x: TensorRef,
    out: int,
    kernel: int = 1,
    out_scale: float = 0.05,
    out_zp: int = -20,
    **kw: Any,
) -> TensorRef:
    """A convolution whose weight scale fits ``out_scale``; ``depthwise=True`` for that kind."""
    depthwise = kw.pop("depthwise", False)
    shape = (1, kernel, kernel, out) if depthwise else (out, kernel, kernel, x.shape[3])
    values = rng.integers(-127, 128, shape).astype(np.int8)
    taps = values.size // out
    scales = (out_scale / x.scale / (120 * np.sqrt(taps)) * rng.uniform(0.5, 1.5, out)).astype(np.float32)
    weight = w.const(w._name("weight"), values, scales, axis=3 if depthwise else 0)
    bias = w.const(w._name("bias"), rng.integers(-9000, 9001, out).astype(np.int32), np.float32(x.scale) * scales)
    method = w.depthwise_conv2d if depthwise else w.conv2d
    return method(x, weight, bias, out_scale=out_scale, out_zp=out_zp, **kw)


def _dense(w: TfliteWriter, rng: np.random.Generator, x: TensorRef, out: int, **kw: Any) -> TensorRef:
    depth = int(np.prod(x.shape[1:]))
    scale = float(np.float32(0.004))
    weight = w.const(w._name("weight"), rng.integers(-127, 128, (out, depth)).astype(np.int8), scale)
    bias_scale = float(np.float32(x.scale) * np.float32(scale))
    bias = w.const(w._name("bias"), rng.integers(-3000, 3001, out).astype(np.int32), bias_scale)
    return w.fully_connected(x, weight, bias, out_scale=x.scale * 0.4 * np.sqrt(depth), out_zp=3, **kw)


def _mobile(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 12, 12, 3), 0.02, -1)
    y = _conv(w, rng, x, 8, 3, stride=(2, 2), activation="relu6", out_zp=-128, out_scale=0.0235)
    y = _conv(w, rng, y, 8, 3, depthwise=True, activation="relu6", out_zp=-128, out_scale=0.0235)
    y = _conv(w, rng, y, 12, activation="relu", out_zp=-128)
    y = w.mean(y, (1, 2), out_scale=0.04, out_zp=-120)
    w.output(w.softmax(_dense(w, rng, y, 5), name="y"))


def _residual(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 7, 6, 8), 0.04, 2)
    y = _conv(w, rng, x, 24, activation="relu6", out_zp=-128, out_scale=0.0235)
    y = _conv(w, rng, y, 24, 3, depthwise=True, activation="relu6", out_zp=-128, out_scale=0.0235)
    y = _conv(w, rng, y, 8, out_zp=5)
    y = w.add(x, y, out_scale=0.07, out_zp=1)
    y = _conv(w, rng, y, 8, 3, out_zp=-4)
    w.output(w.avg_pool2d(y, (7, 6), name="y"))


def _float_edges(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 6, 6, 2), dtype="float32")
    y = _conv(w, rng, w.quantize(x, 0.05, 3), 4, 3, activation="relu")
    w.output(w.dequantize(_dense(w, rng, y, 6), name="y"))


def _two_outputs(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 6, 6, 4), 0.05, 0)
    first, second = w.split(x, 3, 2)
    low = _conv(w, rng, first, 3, 3)
    w.output(w.logistic(low, name="probability"), w.max_pool2d(second, (2, 2), name="peak"))


def _pad_conv(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 8, 8, 3), 0.05, -7)
    y = w.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
    w.output(_conv(w, rng, y, 4, 3, stride=(2, 2), padding="VALID", activation="relu6", name="y"))


def _upsample_concat(w: TfliteWriter, rng: np.random.Generator) -> None:
    x = w.input("x", (1, 8, 6, 4), 0.05, -7)
    small = w.resize(w.max_pool2d(x, (2, 2)), (8, 6), "nearest")
    joined = w.concatenation([x, small], 3)
    w.output(w.hard_swish(_conv(w, rng, joined, 5, 3), out_scale=0.05, out_zp=-120, name="y"))


def _odd_names(w: TfliteWriter, rng: np.random.Generator) -> None:
    """Names that are no C identifiers, and two that become one when mapped without care."""
    a = w.input("serving_default:in/put;1", (1, 4, 4, 2), 0.05, -7)
    b = w.input("serving_default:in.put;1", (1, 4, 4, 2), 0.06, 7)
    w.output(w.add(a, b, out_scale=0.09, out_zp=0, name="Stateful PartitionedCall:0 é"))
