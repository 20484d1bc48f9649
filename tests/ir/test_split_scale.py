"""Constants of requantization by pieces: what kernels compute of them is the reference's, for every accumulator."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_tiny.quant.fixed_point import requantize
from tvm_tiny.quant.params import Conv2DParams
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.split_scale import SplitScale, split_scale

CHANNELS = 8


def _layer(rounding: str, zero_point: int, clamp: tuple[int, int], shift: int) -> ConvLayer:
    rng = np.random.default_rng(zero_point + 200)
    params = Conv2DParams((1, 1), (0, 0, 0, 0), (1, 1), 1, -128, zero_point, *clamp, rounding)
    weight = rng.integers(-127, 128, (CHANNELS, 1, 1, 9)).astype(np.int8)
    weight[0], weight[1] = 0, 1
    bias = rng.integers(-9000, 9000, CHANNELS).astype(np.int32)
    multiplier = rng.integers(2**30, 2**31, CHANNELS).astype(np.int32)
    shifts = shift + rng.integers(-2, 1, CHANNELS)
    return ConvLayer("conv", params, (1, 4, 4, 9), weight, bias, multiplier, shifts.astype(np.int32))


def _answers(scale: SplitScale, channel: int, x: np.ndarray) -> np.ndarray:
    row = scale.table[channel].astype(np.int64)
    upper, lower = (row[1] & 0xFFFFFFFF) >> 16, row[1] & 0xFFFF
    assert lower < 2**12
    first, below = (row[4], row[5]) if scale.signed else (1, 0)
    inside = (x <= row[2]) & (x >= first)
    at = np.where(inside, x, 0)
    product = at * lower
    assert product.min() >= -(2**31)
    assert product.max() < 2**32
    total = at * upper + (product >> 12) + np.where(x > 0, row[3], below)
    assert np.abs(total).max() < 2**31
    return np.where(x > row[2], scale.high, np.where(x < first, scale.low, total >> scale.shift))


@pytest.mark.parametrize("rounding", ["tflm", "single"])
@pytest.mark.parametrize(
    ("zero_point", "clamp", "shift"),
    [(-128, (-128, 127), -8), (-20, (-20, 90), -7), (5, (-128, 127), -9), (-100, (-120, 127), -5), (0, (-128, 127), 0)],
)
def test_every_accumulator(rounding: str, zero_point: int, clamp: tuple[int, int], shift: int) -> None:
    layer = _layer(rounding, zero_point, clamp, shift)
    scale = split_scale(layer)
    assert scale is not None
    assert scale.signed == (clamp[0] < zero_point)
    flat = layer.weight.reshape(CHANNELS, -1)
    for channel, (least, most) in enumerate(accumulator_reach(flat, layer.bias, -128).tolist()):
        x = np.arange(least, most + 1)
        exact = requantize(x, layer.multiplier[channel], layer.shift[channel], rounding).astype(np.int64) + zero_point
        np.testing.assert_array_equal(_answers(scale, channel, x), np.clip(exact, *clamp), f"channel {channel}")


def test_accumulators_too_wide() -> None:
    layer = _layer("tflm", 3, (-128, 127), -17)
    layer.bias[5] = 2**24
    assert split_scale(layer) is None
