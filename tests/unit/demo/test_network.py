"""The NumPy network of the bundled model: its gradients are those of its loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvm_tiny.demo.network import Array, Layer, forward, gradients, new_network, same_padding


def _loss(layers: list[Layer], images: Array, labels: np.typing.NDArray[np.int64]) -> float:
    logits = forward(layers, images)[-1]
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(labels)), labels]))


@pytest.mark.parametrize("index", range(8))
def test_gradients_match_finite_differences(index: int) -> None:
    rng = np.random.RandomState(1)
    # With zero biases some sums are exactly 0, where max(0, .) has no derivative.
    layers = [replace(layer, bias=0.1 * rng.standard_normal(layer.bias.shape)) for layer in new_network(rng)]
    images, labels = rng.rand(3, 8, 8, 1), np.array([0, 3, 9])
    grad_weight, grad_bias = gradients(layers, forward(layers, images), labels)[index]
    step = 1e-6
    for name, grad in (("weight", grad_weight), ("bias", grad_bias)):
        parameter: Array = getattr(layers[index], name)
        place = tuple(rng.randint(0, n) for n in parameter.shape)
        losses = []
        for sign in (1, -1):
            moved = parameter.copy()
            moved[place] += sign * step
            changed = replace(layers[index], **{name: moved})
            losses.append(_loss([*layers[:index], changed, *layers[index + 1 :]], images, labels))
        assert grad[place] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_same_padding_puts_the_odd_one_behind() -> None:
    assert same_padding(8, 3, 2) == (0, 1)
    assert same_padding(8, 3, 1) == (1, 1)
    assert same_padding(8, 1, 1) == (0, 0)
