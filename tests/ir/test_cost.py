"""Which kernel is taken for cheaper: layers whose counts on a Cortex-M4 or M55 are far apart."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_tiny.quant.params import Conv2DParams
from tvm_tiny.schedules import Chooser
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost, dsp_conv2d, dsp_depthwise_forms
from tvm_tiny.schedules.cortex_m.mve import mve_conv2d, mve_depthwise_conv2d
from tvm_tiny.schedules.cortex_m.mve.cost import dense_terms

Pair = tuple[int, int]


def _layer(size: Pair, channels: int, outputs: int, kernel: Pair, stride: int, pads: tuple[int, ...]) -> ConvLayer:
    """``outputs`` 0: depthwise."""
    rng = np.random.default_rng(3)
    depthwise = outputs == 0
    count = outputs or channels
    weight = rng.integers(-127, 128, (count, *kernel, 1 if depthwise else channels)).astype(np.int8)
    params = Conv2DParams(
        strides=(stride, stride),
        padding=pads,
        dilation=(1, 1),
        groups=channels if depthwise else 1,
        input_zero_point=3,
        output_zero_point=-128,
        clamp_min=-128,
        clamp_max=127,
        rounding="tflm",
    )
    bias, multiplier = np.zeros(count, np.int32), np.full(count, 1_500_000_001, np.int32)
    return ConvLayer("conv", params, (1, *size, channels), weight, bias, multiplier, np.full(count, -8, np.int32))


CASES = {
    "vww96's first": (_layer((96, 96), 3, 8, (3, 3), 2, (0, 0, 1, 1)), True),
    "vww96's depthwise": (_layer((48, 48), 8, 0, (3, 3), 1, (1, 1, 1, 1)), True),
    "kws's pointwise": (_layer((25, 5), 64, 64, (1, 1), 1, (0, 0, 0, 0)), True),
    "mcunet's 7x7": (_layer((10, 10), 240, 0, (7, 7), 1, (3, 3, 3, 3)), True),
    "7x7 over one column": (_layer((12, 2), 32, 0, (7, 7), 2, (2, 2, 3, 3)), False),
    "9x9 over a pixel": (_layer((2, 1), 32, 0, (9, 9), 1, (4, 4, 4, 4)), False),
    "one output of few": (_layer((5, 5), 3, 1, (1, 1), 1, (0, 0, 0, 0)), False),
    "1x3 over one column": (_layer((10, 1), 5, 0, (1, 3), 1, (0, 2, 0, 0)), False),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name: str) -> None:
    layer, micro = CASES[name]
    choose = Chooser()
    made = [dsp_conv2d(layer, choose)]
    if layer.params.groups > 1:
        made = [make() for make in dsp_depthwise_forms(layer, choose).values()]
    assert any(kernel is not None for kernel in made) == micro


VECTORS = {
    "vww96's first": True,
    "kws's pointwise": True,
    "mcunet's 7x7": True,
    "7x7 over one column": False,
    "one output of few": False,
    "9x9 over a pixel": False,
}


@pytest.mark.parametrize("name", VECTORS)
def test_choice_of_vectors(name: str) -> None:
    layer, _ = CASES[name]
    make = mve_depthwise_conv2d if layer.params.groups > 1 else mve_conv2d
    assert (make(layer, Chooser()) is not None) == VECTORS[name]


@pytest.mark.parametrize(
    ("rows", "length", "outputs", "micro"),
    [(1, 640, 128, True), (1, 64, 10, True), (1, 64, 12, True), (3, 130, 7, True), (1, 64, 1, False), (3, 1, 3, False)],
)
def test_dense(rows: int, length: int, outputs: int, micro: bool) -> None:
    size = rows, length, outputs
    assert cost.worth_dense(*size, "dense", cost.dense_terms(*size)) == micro


@pytest.mark.parametrize(
    ("rows", "length", "outputs", "micro"),
    [(1, 640, 128, True), (1, 64, 10, True), (3, 130, 7, True), (1, 2, 1, False), (3, 8, 1, False)],
)
def test_dense_of_vectors(rows: int, length: int, outputs: int, micro: bool) -> None:
    size = rows, length, outputs
    assert cost.worth_dense(*size, "vector_dense", dense_terms(*size)) == micro
