"""A small depthwise-separable CNN in plain NumPy: forward, backward, training.

Everything is float64, and parameters and momenta are rounded to a fixed grid after every step: the last bits of a
matrix product differ between BLAS libraries and processors, and rounding keeps such differences from growing, so that
training gives the same network everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_GRID = 2.0**-16
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Layer:
    """One layer and its parameters.

    Parameters
    ----------
    weight : conv [KH, KW, C_IN, C_OUT]; depthwise [KH, KW, C]; dense [C_IN, C_OUT]
    bias : [C_OUT]
    stride : SAME padding throughout; odd padding goes behind, as TFLite has it
    relu : whether the output is max(0, .)
    """

    kind: Literal["conv", "depthwise", "dense"]
    weight: Array
    bias: Array
    stride: int = 1
    relu: bool = True


def new_network(rng: np.random.RandomState) -> list[Layer]:
    """The untrained network for 8x8x1 images, about 50,000 multiply-accumulates; dense takes the spatial mean."""

    def he(*shape: int, fan_in: int) -> Array:
        return _snap(rng.standard_normal(shape) * np.sqrt(2.0 / fan_in))

    layers = [Layer("conv", he(3, 3, 1, 8, fan_in=9), np.zeros(8))]
    for c_in, c_out, stride in ((8, 16, 1), (16, 32, 2), (32, 32, 1)):
        layers.append(Layer("depthwise", he(3, 3, c_in, fan_in=9), np.zeros(c_in), stride))
        layers.append(Layer("conv", he(1, 1, c_in, c_out, fan_in=c_in), np.zeros(c_out)))
    layers.append(Layer("dense", he(32, 10, fan_in=32), np.zeros(10), relu=False))
    return layers


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TFLite's SAME padding (before, after) of one axis."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def forward(layers: list[Layer], images: Array) -> list[Array]:
    """Outputs of all layers for ``images`` [N, H, W, C]: the network's input first, the logits [N, 10] last."""
    values = [images]
    for layer in layers:
        x = values[-1]
        if layer.kind == "dense":
            y = x.mean(axis=(1, 2)) @ layer.weight + layer.bias
        elif layer.kind == "conv":
            taps = np.concatenate(_taps(x, layer), axis=3)
            y = taps @ layer.weight.reshape(-1, layer.bias.size) + layer.bias
        else:
            weights = layer.weight.reshape(-1, layer.bias.size)
            y = sum((t * w for t, w in zip(_taps(x, layer), weights, strict=True)), np.zeros(())) + layer.bias
        values.append(np.maximum(y, 0.0) if layer.relu else y)
    return values


def train(
    network: list[Layer], images: Array, labels: NDArray[np.int64], rng: np.random.RandomState, *, epochs: int
) -> list[Layer]:
    """Stochastic gradient descent with momentum on the cross-entropy."""
    layers = list(network)
    batch, peak_rate = 32, 0.15
    momenta = [(np.zeros_like(layer.weight), np.zeros_like(layer.bias)) for layer in layers]
    steps = epochs * (len(images) // batch)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            chosen = order[start : start + batch]
            # A linear ramp up and down; np.cos would bring in the math library's last bits.
            rate = peak_rate * min(1.0, 10.0 * step / steps, 1.0 - step / steps)
            steps_down = gradients(layers, forward(layers, images[chosen]), labels[chosen])
            for i, (layer, (dw, db)) in enumerate(zip(layers, steps_down, strict=True)):
                mw, mb = momenta[i]
                mw = _snap(MOMENTUM * mw + dw + WEIGHT_DECAY * layer.weight)
                mb = _snap(MOMENTUM * mb + db)
                momenta[i] = (mw, mb)
                layers[i] = replace(layer, weight=_snap(layer.weight - rate * mw), bias=_snap(layer.bias - rate * mb))
            step += 1
    return layers


def gradients(layers: list[Layer], values: list[Array], labels: NDArray[np.int64]) -> list[tuple[Array, Array]]:
    """Gradients (weight, bias) of the mean cross-entropy, one pair per layer."""
    logits = values[-1]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    grad = e / e.sum(axis=1, keepdims=True)
    grad[np.arange(len(labels)), labels] -= 1.0
    grad /= len(labels)
    pairs: list[tuple[Array, Array]] = []
    for layer, x, y in reversed(list(zip(layers, values, values[1:], strict=False))):
        if layer.relu:
            grad = grad * (y > 0)
        if layer.kind == "dense":
            pooled = x.mean(axis=(1, 2))
            pairs.append((pooled.T @ grad, grad.sum(axis=0)))
            grad = np.broadcast_to((grad @ layer.weight.T)[:, None, None, :] / (x.shape[1] * x.shape[2]), x.shape)
            continue
        taps = _taps(x, layer)
        channels = layer.bias.size
        if layer.kind == "conv":
            flat = grad.reshape(-1, channels)
            dw = np.concatenate(taps, axis=3).reshape(flat.shape[0], -1).T @ flat
            d_taps = (grad @ layer.weight.reshape(-1, channels).T).reshape(*grad.shape[:3], len(taps), -1)
            grads = [d_taps[:, :, :, i] for i in range(len(taps))]
        else:
            dw = np.stack([(t * grad).sum(axis=(0, 1, 2)) for t in taps])
            grads = [grad * w for w in layer.weight.reshape(-1, channels)]
        pairs.append((dw.reshape(layer.weight.shape), grad.sum(axis=(0, 1, 2))))
        grad = _scatter_taps(grads, x.shape, layer)
    return pairs[::-1]


def _taps(x: Array, layer: Layer) -> list[Array]:
    """What each tap of the kernel sees, row by row: KH * KW arrays [N, OH, OW, C]."""
    kh, kw = layer.weight.shape[:2]
    (top, bottom), (left, right) = (same_padding(x.shape[a], k, layer.stride) for a, k in ((1, kh), (2, kw)))
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    return [padded[window] for window in _windows(x.shape, layer)]


def _scatter_taps(grads: list[Array], shape: tuple[int, ...], layer: Layer) -> Array:
    """The transpose of ``_taps``: adds each tap's gradient to where the tap looked."""
    kh, kw = layer.weight.shape[:2]
    (top, bottom), (left, right) = (same_padding(shape[a], k, layer.stride) for a, k in ((1, kh), (2, kw)))
    padded = np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3]))
    for window, grad in zip(_windows(shape, layer), grads, strict=True):
        padded[window] += grad
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _windows(shape: tuple[int, ...], layer: Layer) -> list[tuple[slice, slice, slice]]:
    """For each tap, the slice of the padded input that it meets."""
    kh, kw = layer.weight.shape[:2]
    s = layer.stride
    oh, ow = -(-shape[1] // s), -(-shape[2] // s)
    return [
        (slice(None), slice(i, i + (oh - 1) * s + 1, s), slice(j, j + (ow - 1) * s + 1, s))
        for i in range(kh)
        for j in range(kw)
    ]


def _snap(x: Array) -> Array:
    return np.rint(x / _GRID) * _GRID
