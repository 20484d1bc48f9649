"""fixed_point.py against scalar transcriptions of the C code and against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_tiny.errors import ModelError
from tvm_tiny.quant.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    clamp_to_int8,
    quantize_multiplier,
    requantize,
    round_half_away,
    rounding_divide_by_pot,
    saturating_left_shift,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)

FIXED_SEED = settings(derandomize=True, deadline=None, max_examples=300)

int32s = st.integers(INT32_MIN, INT32_MAX) | st.sampled_from([INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX])
multipliers = st.integers(2**30, 2**31 - 1) | st.sampled_from([0, 2**30, 2**31 - 1])
shifts = st.integers(-31, 30)


def c_divide(a: int, b: int) -> int:
    """Division that truncates, as in C."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def c_wrap(value: int) -> int:
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "little", signed=True)


def c_high_mul(a: int, b: int) -> int:
    """The saturating doubling high multiplication with its nudge by sign."""
    if a == b == INT32_MIN:
        return INT32_MAX
    product = a * b
    return c_divide(product + (2**30 if product >= 0 else 1 - 2**30), 2**31)


def half_away(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def c_requantize(x: int, multiplier: int, shift: int, rounding: str) -> int:
    if rounding == "single":
        return c_wrap(math.floor(Fraction(x) * multiplier * Fraction(2) ** (shift - 31) + Fraction(1, 2)))
    high = c_high_mul(c_wrap(x << max(shift, 0)), multiplier)
    return half_away(Fraction(high, 2 ** max(-shift, 0)))


@FIXED_SEED
@given(int32s, int32s)
def test_high_mul(a: int, b: int) -> None:
    assert saturating_rounding_doubling_high_mul(a, b) == c_high_mul(a, b)


@FIXED_SEED
@given(int32s, st.integers(0, 31))
def test_rounding_divide_by_pot(x: int, exponent: int) -> None:
    assert rounding_divide_by_pot(x, exponent) == half_away(Fraction(x, 2**exponent))


@FIXED_SEED
@given(int32s, multipliers, shifts, st.sampled_from(["tflm", "single"]))
def test_requantize(x: int, multiplier: int, shift: int, rounding: str) -> None:
    assert requantize(x, multiplier, shift, rounding) == c_requantize(x, multiplier, shift, rounding)


def test_requantize_broadcasts_channels_over_the_last_axis() -> None:
    rng = np.random.default_rng(1)
    acc = rng.integers(-(2**28), 2**28, (3, 5, 4)).astype(np.int32)
    factors, bits = rng.integers(2**30, 2**31, 4), rng.integers(-31, 3, 4)
    for rounding in ("tflm", "single"):
        result = requantize(acc, factors, bits, rounding)
        assert result.dtype == np.int32
        for index in np.ndindex(acc.shape):
            channel = index[-1]
            want = c_requantize(int(acc[index]), int(factors[channel]), int(bits[channel]), rounding)
            assert result[index] == want


def test_rounding_modes_differ_at_ties_as_documented() -> None:
    # Without a right shift there is one rounding, ties up: 1.5 becomes 2, -1.5 becomes -1.
    assert requantize([3, -3], 2**30, 0).tolist() == [2, -1]
    assert requantize([3, -3], 2**30, 0, "single").tolist() == [2, -1]
    # 0.75 becomes 2 and then 2 / 2; -0.75 becomes -1 and then -1 / 2, a tie that goes away from zero.
    assert requantize([3, -3], 2**30, -1).tolist() == [1, -1]
    # 1.5 and -1.5 by the second rounding only: away from zero.
    assert requantize([6, -6], 2**30, -1).tolist() == [2, -2]
    assert requantize([6, -6], 2**30, -1, "single").tolist() == [2, -1]


def test_share_of_outputs_where_the_modes_differ() -> None:
    # Rounding twice shows in about a quarter of the outputs at one bit of right shift, and fades with each bit more.
    rng = np.random.default_rng(2)
    acc = rng.integers(-(2**20), 2**20, 200_000)
    factors = rng.integers(2**30, 2**31, 200_000)
    shares = [np.mean(requantize(acc, factors, s) != requantize(acc, factors, s, "single")) for s in (-1, -3, -7)]
    assert shares == pytest.approx([0.25, 0.0625, 0.004], rel=0.1)


def test_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="'tflm' or 'single', not 'double'"):
        requantize(1, 2**30, 0, "double")


@FIXED_SEED
@given(st.floats(2.0**-31, 2.0**29, allow_subnormal=False))
def test_quantize_multiplier_is_the_nearest(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert -31 <= shift <= 30
    error = abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) - Fraction(real))
    assert error <= Fraction(2) ** (shift - 32)


def test_quantize_multiplier_corners() -> None:
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(0.5) == (2**30, 0)
    # Rounds up to 2**31, which is halved and shifted instead.
    assert quantize_multiplier(1.0 - 2.0**-40) == (2**30, 1)
    # Ties away from zero.
    assert quantize_multiplier(0.5 + 2.0**-32) == (2**30 + 1, 0)
    assert quantize_multiplier(2.0**-32) == (2**30, -31)
    assert quantize_multiplier(2.0**-32 * (1 - 2.0**-20)) == (0, 0)
    assert quantize_multiplier(2.0**30 - 1) == (2**31 - 2, 30)


@pytest.mark.parametrize("real", [-0.5, math.nan, math.inf])
def test_factors_that_are_no_scale_are_refused(real: float) -> None:
    with pytest.raises(ModelError, match="not a finite number >= 0") as error:
        quantize_multiplier(real)
    assert error.value.hints


def test_too_large_a_factor_is_refused() -> None:
    with pytest.raises(ModelError, match=r"reaches 2\*\*30") as error:
        quantize_multiplier(2.0**30)
    assert error.value.hints


@FIXED_SEED
@given(st.integers(-(2**62), 2**62))
def test_wrap_int32(value: int) -> None:
    assert wrap_int32(value) == c_wrap(value)


@FIXED_SEED
@given(int32s, st.integers(0, 30))
def test_saturating_left_shift(value: int, bits: int) -> None:
    assert saturating_left_shift(value, bits) == min(max(value << bits, INT32_MIN), INT32_MAX)


@pytest.mark.parametrize(
    ("value", "want"), [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49, 0), (-0.2, 0)]
)
def test_round_half_away(value: float, want: int) -> None:
    assert round_half_away(value) == want


def test_round_half_away_does_not_add_a_half() -> None:
    # 0.5 - 2**-54 plus 0.5 is 1.0 in float64.
    assert round_half_away(0.49999999999999994) == 0
    assert round_half_away(2.0**52 + 1) == 2**52 + 1


def test_clamp_to_int8_adds_before_it_clamps() -> None:
    values = np.array([-500, -131, 0, 120, INT32_MAX], dtype=np.int32)
    assert clamp_to_int8(values, 5, -128, 100).tolist() == [-128, -126, 5, 100, 100]
