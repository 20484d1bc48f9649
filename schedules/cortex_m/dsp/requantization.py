"""Exact requantization in two instructions: the constants, found and proven per channel.

TFLite Micro's ``R(x) = clamp(zero_point + RDP(SRDHM(x << left, m), right))`` never decreases with x (m >= 0). Inside
the range an accumulator can reach it is therefore given completely by its thresholds: for each output value k the least
x with R(x) >= k. The kernels hold ``acc = 256 * x + offset`` (or another power of two) and compute

    positive (SMMUL, SSAT with ASR):       y = saturate((acc * multiplier) >> 32 >> shift)
    signed (AND, SUB, SMMLA, SSAT):        t = acc - (acc < 0 ? sign : 0)
                                           y = saturate(((t * multiplier >> 32) + addend) >> shift)

``shift`` and ``addend`` are the layer's, ``multiplier``, ``offset`` and ``sign`` the channel's. Bias, zero points, both
roundings and the lower clamp of a ReLU are inside ``offset``. The rounding of ties away from zero makes thresholds of
negative x differ by a constant from those of positive x, hence the second form; outputs clamped at the zero point (any
ReLU) need only the first. Whether integers (multiplier, offset) meet all thresholds is a lattice search in two
dimensions, decided exactly here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

_SPANS = (1, 16, 256, 4096, 32768)
"""Distances from the nearest multiplier at which to look for a solution, nearest first."""


@dataclass(frozen=True)
class LayerRequantization:
    """Constants of one layer.

    form : "positive" or "signed"
    shift : of SSAT or USAT, 1..31
    addend : "signed" only, int32
    scale_bits : accumulators are 2**scale_bits times x
    offsets, multipliers, signs : int64 [C_OUT]; offsets include 2**scale_bits times the bias
    constant : bool [C_OUT], the channel's output is ``low`` .. whatever its input; give it zero weights
    low, high : clamp of the output
    zero_based : saturate to [0, 255] and add ``low`` afterwards
    uniform : all channels have one multiplier and one sign
    """

    form: str
    shift: int
    addend: int
    scale_bits: int
    offsets: Int64Array
    multipliers: Int64Array
    signs: Int64Array
    constant: NDArray[np.bool_]
    low: int
    high: int
    zero_based: bool
    uniform: bool = False


Thresholds = tuple[tuple[int, int], ...]


@lru_cache(maxsize=1 << 14)  # kernels are tried with several shifts, candidates of a layer one after the other
def channel_thresholds(
    multiplier: int, shift: int, zero_point: int, clamp: tuple[int, int], reach: tuple[int, int], single: bool = False
) -> Thresholds:
    """Pairs (k, t), ascending: the output is at least k exactly when x >= t; only t inside ``reach`` (low, high].

    Parameters
    ----------
    multiplier, shift : Q0.31 and bits, positive to the left
    clamp : output bounds, inclusive
    reach : least and greatest x, bias included
    single : rounds once, half up, instead of twice
    """
    right, factor = max(-shift, 0), multiplier << max(shift, 0)
    pairs: list[tuple[int, int]] = []
    if factor == 0:
        return ()
    for k in range(clamp[0] + 1, clamp[1] + 1):
        steps = k - zero_point
        if single:
            numerator = (2 * steps - 1) << (30 + right)
        elif right == 0:
            numerator = (steps << 31) - (1 << 30)
        else:  # RDP(h) >= steps when h >= (steps - 1/2) * 2**right, strictly for steps <= 0
            high = ((2 * steps - 1) << (right - 1)) + (1 if steps <= 0 else 0)
            numerator = (high << 31) - (1 << 30)
        t = -((-numerator) // factor)
        if reach[0] < t <= reach[1]:
            pairs.append((k, t))
    return tuple(pairs)


def solve_layer(
    multipliers: NDArray[np.integer],
    shifts: NDArray[np.integer],
    bias: NDArray[np.integer],
    reach: NDArray[np.integer],
    zero_point: int,
    clamp: tuple[int, int],
    single: bool = False,
    scale_bits: int = 8,
    wanted_shift: int | None = None,
) -> LayerRequantization | None:
    """Constants for one layer, or None when there are none (then take the general kernels).

    Parameters
    ----------
    multipliers, shifts, bias : int32 [C_OUT]
    reach : int64 [C_OUT, 2], least and greatest x with the bias
    scale_bits : log2 of what the kernel's accumulator is multiplied by
    wanted_shift : so that layers can share code; a shift one to three below the greatest costs multipliers as many bits
        and nearly always still has a solution
    """
    # Beyond that the operator wraps around, and then nothing is monotone.
    widest = np.abs(reach).max(axis=1) << np.maximum(shifts, 0).astype(np.int64)
    if np.abs(reach).max(initial=0) >= 2**31 or widest.max(initial=0) >= 2**31:
        return None
    if len(multipliers) > 1 and (multipliers == multipliers[0]).all() and (shifts == shifts[0]).all():
        # One channel with the reach of all answers for each; its offset but for the bias too.
        union = np.array([[reach[:, 0].min(), reach[:, 1].max()]])
        one = solve_layer(
            multipliers[:1],
            shifts[:1],
            np.zeros(1, np.int64),
            union,
            zero_point,
            clamp,
            single,
            scale_bits,
            wanted_shift,
        )
        if one is not None and not one.constant[0]:
            offsets = one.offsets + (bias.astype(np.int64) << scale_bits)
            found, signs = (np.repeat(a, len(multipliers)) for a in (one.multipliers, one.signs))
            constant = np.zeros(len(multipliers), dtype=np.bool_)
            return replace(one, offsets=offsets, multipliers=found, signs=signs, constant=constant, uniform=True)
    positive = clamp[0] >= zero_point or single
    tables = _tables(multipliers, shifts, reach, zero_point, clamp, single)
    if positive:
        # Counting from zero keeps offsets of channels with tiny multipliers small, for one instruction more.
        forms = [(True, 0)] if clamp[0] > -128 else [(False, 0), (True, 0)]
    else:
        forms = [(False, nudge) for nudge in (0, 1, -1, 2, -2, 3, -3, 4, -4)]
    for zero_based, nudge in forms:
        solution = _solve(
            multipliers,
            shifts,
            bias,
            reach,
            zero_point,
            clamp,
            tables,
            scale_bits,
            positive,
            zero_based,
            nudge,
            wanted_shift,
        )
        if solution is not None:
            return solution
    return None


def _tables(
    multipliers: NDArray[np.integer],
    shifts: NDArray[np.integer],
    reach: NDArray[np.integer],
    zero_point: int,
    clamp: tuple[int, int],
    single: bool,
) -> list[tuple[int, Thresholds]]:
    """Per channel the output at the least x and the thresholds above it."""
    tables = []
    for m, s, (least, most) in zip(multipliers.tolist(), shifts.tolist(), reach.tolist(), strict=True):
        pairs = channel_thresholds(m, s, zero_point, clamp, (least, most), single)
        below = channel_thresholds(m, s, zero_point, clamp, (-(2**62), least), single)
        start = below[-1][0] if below else clamp[0] if m else min(max(zero_point, clamp[0]), clamp[1])
        tables.append((start, pairs))
    return tables


def _solve(
    multipliers: NDArray[np.integer],
    shifts: NDArray[np.integer],
    bias: NDArray[np.integer],
    reach: NDArray[np.integer],
    zero_point: int,
    clamp: tuple[int, int],
    tables: list[tuple[int, Thresholds]],
    scale_bits: int,
    positive: bool,
    zero_based: bool,
    nudge: int,
    wanted_shift: int | None,
) -> LayerRequantization | None:
    count = len(multipliers)
    constant = np.array([not pairs for _, pairs in tables])
    least = min((-int(s) for s in np.asarray(shifts)[~constant]), default=1)
    shift = least - 1 + scale_bits
    if wanted_shift is not None:
        if wanted_shift > shift:
            return None
        least, shift = least - (shift - wanted_shift), wanted_shift
    if not 1 <= shift <= 31:
        return None
    base = clamp[0] if zero_based else 0
    addend = 0 if positive else (1 << (shift - 1)) + (zero_point << shift) + nudge
    offsets, found, signs = (np.zeros(count, dtype=np.int64) for _ in range(3))
    for c, (start, pairs) in enumerate(tables):
        if constant[c]:
            found[c] = 2**31 - 1
            offsets[c] = ((((2 * (start - base) + 1) << shift) // 2 - addend) << 32) // int(found[c])
            signs[c] = 0
            continue
        exponent, m = least + int(shifts[c]), int(multipliers[c])
        near = m << exponent if exponent >= 0 else (m + (1 << (-exponent - 1))) >> -exponent
        k = np.array([p[0] for p in pairs], dtype=np.int64) - base
        t = np.array([p[1] for p in pairs], dtype=np.int64)
        answer = _solve_channel(k, t, near, shift, addend, scale_bits, None if positive else zero_point)
        if answer is None:
            return None
        found[c], offsets[c], signs[c] = answer
        offsets[c] += int(bias[c]) << scale_bits
    ends = (reach.astype(np.int64) - bias.astype(np.int64)[:, None]) << scale_bits
    ends[constant] = 0
    if (offsets[:, None] + ends).max() >= 2**31 or (offsets[:, None] + ends - signs[:, None]).min() < -(2**31):
        return None
    form = "positive" if positive else "signed"
    return LayerRequantization(form, shift, addend, scale_bits, offsets, found, signs, constant, *clamp, zero_based)


def _solve_channel(
    k: Int64Array, t: Int64Array, near: int, shift: int, addend: int, bits: int, zero_point: int | None
) -> tuple[int, int, int] | None:
    """(multiplier, offset, sign) meeting all thresholds, or None."""
    unit = 1 << bits
    for span in _SPANS:
        m = near + np.arange(0 if span == 1 else -span, span, dtype=np.int64)
        m = m[(m > 0) & (m < 2**31)]
        if not len(m):
            continue
        need = -(-(((k << shift) - addend) << 32)[:, None] // m[None, :]) - (t << bits)[:, None]
        if zero_point is None:
            least, most = need.max(0), need.min(0) + unit - 1
            good = np.flatnonzero(least <= most)
            if len(good):
                i = good[np.argmin(np.abs(m[good] - near))]
                return int(m[i]), int(least[i] + most[i]) // 2, 0
            continue
        above, below = need[k > zero_point], need[k <= zero_point]
        least, most = _window(above, unit, 0, unit - 1, len(m))
        low, high = _window(below, unit, -(2**20), 0, len(m))
        good = np.flatnonzero((least <= most) & (low <= high))
        if len(good):
            i = good[np.argmin(np.abs(m[good] - near))]
            offset = (int(least[i]) + int(most[i])) // 2
            if not len(below):
                return int(m[i]), offset, 0
            return int(m[i]), offset, offset - (int(low[i]) + int(high[i])) // 2
    return None


def _window(need: Int64Array, unit: int, low: int, high: int, count: int) -> tuple[Int64Array, Int64Array]:
    """Range of offsets that meets the rows of ``need``, inside [low, high]."""
    least, most = np.full(count, low, dtype=np.int64), np.full(count, high, dtype=np.int64)
    if len(need):
        least, most = np.maximum(least, need.max(0)), np.minimum(most, need.min(0) + unit - 1)
    return least, most
