"""Requantization for Armv6-M, whose products have 32 bits: a multiplier in two pieces, proven exact per channel.

TFLite Micro's rounding never decreases with x, so its thresholds give it completely (``dsp.requantization``). Kernels
take

    (x * (m >> 12) + (x * (m & 4095) >> 12) + addend) >> shift = (x * m + addend * 2**12) >> (12 + shift)

with one addend for x > 0 and another for x <= 0, as ties are rounded away from zero. Beyond the least x with the
highest output, and below the least with more than the lowest, x is not multiplied at all: so no product overflows.
Whether integers (m, addends) meet all thresholds within an accumulator's reach is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.quant.fixed_point import wrap_int32
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.dsp.requantization import channel_thresholds
from tvm_tiny.schedules.cortex_m.packing import fold_zero_point

_PIECE = 12
"""Bits of the lower piece of a multiplier; the upper one has 16."""
_GREATEST, _LEAST = 2 ** (32 - _PIECE) - 1, -(2 ** (31 - _PIECE))
"""Bounds of x: its product with the lower piece fits, unsigned and signed."""
_LARGEST_SHIFT = 22
"""256 output values below 2**31."""
_SPANS = (1, 16, 256)
"""Distances from the nearest multiplier at which to look for a solution, nearest first."""
_INT32 = (-(2**31), 2**31 - 1)

Thresholds = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SplitScale:
    """Constants of one layer.

    table : int32 [C_OUT, 4 or 6]; bias without the input's zero point, pieces of the multiplier (upper * 2**16 +
        lower), the least x with the highest output, addend of x > 0; ``signed``: the least x with more than the lowest
        output, addend of x <= 0
    signed : False: the output is ``low`` where x <= 0
    shift : of all channels
    low, high : the clamp
    """

    table: NDArray[np.int32]
    signed: bool
    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class _Channel:
    """What a channel's outputs are for ``least <= x <= most``: at least k exactly when x >= t, for (k, t)."""

    multiplier: int
    shift: int
    least: int
    most: int
    thresholds: Thresholds
    lowest: int

    def output(self, x: int) -> int:
        return max((k for k, t in self.thresholds if t <= x), default=self.lowest)

    @property
    def constant(self) -> bool:
        return self.output(self.least) == self.output(self.most)


def split_scale(layer: ConvLayer) -> SplitScale | None:
    """The constants, or None where none are exact."""
    p = layer.params
    flat = layer.weight.reshape(len(layer.bias), -1)
    reach = accumulator_reach(flat, layer.bias, p.input_zero_point)
    # Beyond that the operator wraps around, and then nothing is monotone.
    widest = np.abs(reach).max(axis=1) << np.maximum(layer.shift, 0).astype(np.int64)
    if widest.max() >= 2**31 or layer.multiplier.min() < 0:
        return None
    channels = []
    for m, s, (least, most) in zip(layer.multiplier.tolist(), layer.shift.tolist(), reach.tolist(), strict=True):
        clamp, single = (p.clamp_min, p.clamp_max), p.rounding == "single"
        thresholds = channel_thresholds(m, s, p.output_zero_point, clamp, (-(2**62), most), single)
        lowest = p.clamp_min if m else min(max(p.output_zero_point, p.clamp_min), p.clamp_max)
        channels.append(_Channel(m, s, least, most, thresholds, lowest))
    shift = min(_LARGEST_SHIFT, 16 - max((c.shift for c in channels if not c.constant), default=0))
    if shift < 1:
        return None
    signed = p.clamp_min < p.output_zero_point
    rows = []
    for channel in channels:
        row = _solve(channel, p.clamp_min, p.clamp_max, shift, signed)
        if row is None:
            return None
        rows.append(row if signed else row[:3])
    bias = fold_zero_point(layer.bias, layer.weight, p.input_zero_point)
    columns = wrap_int32(np.array(rows, dtype=np.int64))
    return SplitScale(np.column_stack([bias, columns]).astype(np.int32), signed, shift, p.clamp_min, p.clamp_max)


def _solve(channel: _Channel, low: int, high: int, shift: int, signed: bool) -> tuple[int, int, int, int, int] | None:
    """The row of ``SplitScale.table`` without the bias."""
    if channel.constant:
        value = channel.output(channel.most) << shift
        return 0, _INT32[1], value, _INT32[0], value
    limits = dict(channel.thresholds)
    first, last = limits.get(low + 1, _INT32[0]), limits.get(high, _INT32[1])
    above = max(channel.least, 1), min(channel.most, last)
    below = max(channel.least, first), min(channel.most, 0)
    if above[1] > _GREATEST or (signed and below[0] < _LEAST):
        return None
    exponent = _PIECE + shift + channel.shift - 31
    m = channel.multiplier
    near = m << exponent if exponent >= 0 else (m + (1 << (-exponent - 1))) >> -exponent
    for span in _SPANS:
        found = near + np.arange(1 - span, span, dtype=np.int64)
        found = found[(found > 0) & (found < 2**28)]
        least, most = _addends(channel, above, shift, found)
        least_below, most_below = _addends(channel, below, shift, found) if signed else (least, most)
        good = np.flatnonzero((least <= most) & (least_below <= most_below))
        if len(good):
            i = good[np.argmin(np.abs(found[good] - near))]
            upper, lower = divmod(int(found[i]), 2**_PIECE)
            addends = int(least[i] + most[i]) // 2, int(least_below[i] + most_below[i]) // 2
            return (upper << 16) + lower, last, addends[0], first, addends[1]
    return None


def _addends(
    channel: _Channel, part: tuple[int, int], shift: int, m: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest addend of every multiplier that meet the thresholds for part[0] <= x <= part[1]."""
    if part[0] > part[1]:
        return np.zeros_like(m), np.zeros_like(m)
    inside = [(k, t) for k, t in channel.thresholds if part[0] < t <= part[1]]
    from_x = np.array([(channel.output(part[0]), part[0]), *inside], dtype=np.int64)
    before_x = np.array([*((k, t - 1) for k, t in inside), (channel.output(part[1]) + 1, part[1])], dtype=np.int64)
    least = ((from_x[:, 0] << shift) - (m[:, None] * from_x[:, 1] >> _PIECE)).max(axis=1)
    most = ((before_x[:, 0] << shift) - (m[:, None] * before_x[:, 1] >> _PIECE)).min(axis=1) - 1
    return least, most
