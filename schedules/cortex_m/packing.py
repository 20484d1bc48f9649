"""Weights in the order in which the multiply-accumulate helpers read them, and bounds of what they add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.quant.fixed_point import wrap_int32
from tvm_tiny.schedules.cortex_m.builder import blocks

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]


def pack_runs(weights: Int8, widths: tuple[int, ...]) -> Int8:
    """Pack for ``tinyml_mac_*``.

    Parameters
    ----------
    weights : [O, R, K]; for each output R runs of K weights, each run one call of a helper
    widths : output channels per block, as for ``blocks``

    Returns
    -------
    flat: block after block of channels, in it run after run, in it per four k the channels' four weights, then per
    remaining k one weight of each channel
    """
    outputs, runs, length = weights.shape
    fours = length - length % 4
    parts: list[Int8] = []
    for start, count, width in blocks(outputs, widths):
        block = weights[start : start + count * width].reshape(count, width, runs, length)
        head = block[..., :fours].reshape(count, width, runs, fours // 4, 4).transpose(0, 2, 3, 1, 4)
        tail = block[..., fours:].transpose(0, 2, 3, 1)
        both = [head.reshape(count, runs, -1), tail.reshape(count, runs, -1)]
        parts.append(np.concatenate(both, axis=-1).reshape(-1))
    return np.concatenate(parts)


def pack_channels(weights: Int8) -> Int8:
    """Pack depthwise weights [T, C] (T taps): per four channels tap after tap, then each remaining channel."""
    channels = weights.shape[1]
    parts = [weights[:, c : c + width] for c, width in _channel_starts(channels)]
    return np.concatenate([part.reshape(-1) for part in parts])


def fold_zero_point(bias: Int32, weights: Int8, zero_point: int) -> Int32:
    """Bias for inputs whose zero point is not subtracted: bias - zero_point * sum of weights, modulo 2**32.

    Parameters
    ----------
    bias : [O]
    weights : [O, ...]
    """
    sums = weights.reshape(len(bias), -1).sum(axis=1, dtype=np.int64)
    folded = bias.astype(np.int64) - zero_point * sums
    return wrap_int32(folded).astype(np.int32)


def accumulator_bound(bias: Int32, weights: Int8, zero_point: int) -> int:
    """Largest magnitude that bias + sum of weights * (x - zero_point) can have; shapes as for ``fold_zero_point``."""
    reach = max(127 - zero_point, 128 + zero_point)
    magnitudes = np.abs(weights.reshape(len(bias), -1).astype(np.int64)).sum(axis=1)
    return int((np.abs(bias.astype(np.int64)) + reach * magnitudes).max())


def _channel_starts(channels: int) -> list[tuple[int, int]]:
    return [(start + i * width, width) for start, count, width in blocks(channels, (4, 1)) for i in range(count)]
