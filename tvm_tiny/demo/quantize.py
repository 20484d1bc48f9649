"""Turns the trained float network into int8 layers, with activation ranges from calibration images.

Weights are symmetric, per output channel for convolutions and per tensor for the dense layer; activations are
asymmetric per tensor: TFLite's int8 scheme.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .network import Array, Layer, forward

ZERO_POINT_AT_MINIMUM = -128


@dataclass(frozen=True)
class Activation:
    """Quantization of one int8 tensor: real = scale * (q - zero_point); ``scale`` is a float32 value."""

    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class QuantizedLayer:
    """One integer layer.

    Parameters
    ----------
    weight : int8; conv [C_OUT, KH, KW, C_IN]; depthwise [1, KH, KW, C]; dense [C_OUT, C_IN]
    weight_scales : float32 [C_OUT], or [1] for dense
    bias : int32 [C_OUT], scale = input scale * weight scale
    """

    kind: Literal["conv", "depthwise", "dense"]
    weight: NDArray[np.int8]
    weight_scales: NDArray[np.float32]
    bias: NDArray[np.int32]
    stride: int
    relu: bool
    output: Activation


@dataclass(frozen=True)
class QuantizedNetwork:
    """All layers; the last but one's output is averaged over space before the dense layer, softmax comes behind it."""

    input: Activation
    layers: tuple[QuantizedLayer, ...]


def quantize_images(images: Array, activation: Activation) -> NDArray[np.int8]:
    """Real values to int8, rounded half to even, saturating."""
    q = np.rint(images / activation.scale) + activation.zero_point
    int8: NDArray[np.int8] = np.clip(q, -128, 127).astype(np.int8)
    return int8


def quantize_network(layers: list[Layer], calibration: Array) -> QuantizedNetwork:
    """Quantize ``layers``; the range of each activation is what ``calibration`` [N, H, W, C] makes of it.

    Pixels are in [0, 1], whatever the calibration images hold.
    """
    network_input = Activation("image", _float32(1.0 / 255.0), ZERO_POINT_AT_MINIMUM)
    current = network_input
    quantized = []
    for i, (layer, values) in enumerate(zip(layers, forward(layers, calibration)[1:], strict=True)):
        output = _activation(f"{layer.kind}_{i}", values)
        quantized.append(_quantize_layer(layer, current, output))
        current = output
    return QuantizedNetwork(network_input, tuple(quantized))


def _activation(name: str, values: Array) -> Activation:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = _float32((high - low) / 255.0)
    return Activation(name, scale, int(np.rint(ZERO_POINT_AT_MINIMUM - low / scale)))


def _quantize_layer(layer: Layer, source: Activation, output: Activation) -> QuantizedLayer:
    if layer.kind == "conv":
        weight = layer.weight.transpose(3, 0, 1, 2)
    elif layer.kind == "depthwise":
        weight = layer.weight[np.newaxis]
    else:
        weight = layer.weight.T
    axes = {"conv": (1, 2, 3), "depthwise": (0, 1, 2), "dense": (0, 1)}[layer.kind]
    peaks = np.abs(weight).max(axis=axes, keepdims=True)
    scales = (peaks / 127.0).astype(np.float32)
    # float64 throughout: what a float32 product would round away shows up as a bias of one off.
    exact = scales.astype(np.float64)
    bias = np.rint(layer.bias / (source.scale * exact.reshape(-1)))
    return QuantizedLayer(
        kind=layer.kind,
        weight=np.clip(np.rint(weight / exact), -127, 127).astype(np.int8),
        weight_scales=scales.reshape(-1),
        bias=bias.astype(np.int32),
        stride=layer.stride,
        relu=layer.relu,
        output=output,
    )


def _float32(value: float) -> float:
    return float(np.float32(value))
