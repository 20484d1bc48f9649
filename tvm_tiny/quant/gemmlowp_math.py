"""exp, logistic, tanh and reciprocal in fixed point, as gemmlowp computes them.

Values are raw int32 numbers of format Qm.n with m integer bits and n = 31 - m fraction bits. All functions are exact
transcriptions, element by element, on NumPy integers.

References
----------
gemmlowp, fixedpoint/fixedpoint.h; TFLite, kernels/internal/common.h (GetReciprocal).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .fixed_point import (
    INT32_MAX,
    Int32Array,
    Int64Array,
    rounding_divide_by_pot,
    saturating_left_shift,
    wrap_int32,
)
from .fixed_point import saturating_rounding_doubling_high_mul as _mul

EXP_MINUS_ONE_EIGHTH = 1895147668
"""exp(-1/8) in Q0.31."""
ONE_THIRD = 715827883
"""1/3 in Q0.31."""
EXP_FACTORS: tuple[tuple[int, int], ...] = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
"""(k, exp(-2**k) in Q0.31)."""
FORTY_EIGHT_SEVENTEENTHS = 1515870810
"""48/17 in Q2.29, the start of Newton's division."""
MINUS_THIRTY_TWO_SEVENTEENTHS = -1010580540
"""-32/17 in Q2.29."""
NEWTON_STEPS = 3
ONE_Q2 = 1 << 29


def exp_on_negative_values(a: ArrayLike, integer_bits: int) -> Int32Array:
    """``exp(a)`` for a <= 0 in Q(integer_bits), at most 5; result in Q0.31.

    The remainder modulo 1/4 goes through a polynomial around -1/8; each bit of the rest multiplies by exp(-2**k).
    """
    values = np.asarray(a, dtype=np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    offset = (values & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(saturating_left_shift(offset, integer_bits))
    remainder = offset - values
    for exponent, factor in EXP_FACTORS:
        if exponent < integer_bits:
            bit = (remainder >> (fraction_bits + exponent)) & 1
            result = np.where(bit != 0, _mul(result, factor), result)
    return np.where(values == 0, INT32_MAX, result).astype(np.int32)


def one_over_one_plus_x(a: ArrayLike) -> Int32Array:
    """``1 / (1 + a)`` for a in [0, 1), both in Q0.31."""
    return saturating_left_shift(_newton_reciprocal(a), 1)


def one_minus_x_over_one_plus_x(a: ArrayLike) -> Int32Array:
    """``(1 - a) / (1 + a)`` for a in [0, 1], both in Q0.31."""
    return saturating_left_shift(_newton_reciprocal(a) - ONE_Q2, 2)


def logistic(a: ArrayLike, integer_bits: int) -> Int32Array:
    """``1 / (1 + exp(-a))`` of Q(integer_bits), in Q0.31."""
    values = np.asarray(a, dtype=np.int64)
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(values), integer_bits)).astype(np.int64)
    result = np.where(values > 0, positive, INT32_MAX - positive)
    return np.where(values == 0, 1 << 30, result).astype(np.int32)


def tanh(a: ArrayLike, integer_bits: int) -> Int32Array:
    """``tanh(a)`` of Q(integer_bits), in Q0.31: (1 - exp(-2|a|)) / (1 + exp(-2|a|)) with the sign of a."""
    values = np.asarray(a, dtype=np.int64)
    # The same bits read with one integer bit more are the double.
    magnitude = one_minus_x_over_one_plus_x(exp_on_negative_values(-np.abs(values), integer_bits + 1)).astype(np.int64)
    return np.where(values == 0, 0, np.where(values < 0, -magnitude, magnitude)).astype(np.int32)


def reciprocal(x: ArrayLike, integer_bits: int) -> tuple[Int32Array, Int32Array]:
    """``1 / x`` for x >= 1 in Q(integer_bits).

    Returns
    -------
    scale : Q0.31 in [1/2, 1]; the reciprocal is ``scale * 2**-bits_over_unit``
    bits_over_unit : int32
    """
    values = np.asarray(x, dtype=np.int64)
    leading_zeros = 32 - np.array([int(v).bit_length() for v in values.reshape(-1)], dtype=np.int64)
    leading_zeros = leading_zeros.reshape(values.shape)
    fraction = (values << leading_zeros) - (1 << 31)
    return one_over_one_plus_x(fraction), (integer_bits - leading_zeros).astype(np.int32)


def _exp_between_minus_quarter_and_zero(a: Int32Array) -> Int32Array:
    """``exp(a)`` for a in [-1/4, 0), both in Q0.31: Taylor's series around -1/8 up to the fourth power."""
    x = a.astype(np.int64) + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x).astype(np.int64)
    x4_over_4 = rounding_divide_by_pot(_mul(x2, x2), 2)
    higher = rounding_divide_by_pot(_mul(x4_over_4 + x3, ONE_THIRD).astype(np.int64) + x2, 1)
    return (EXP_MINUS_ONE_EIGHTH + _mul(EXP_MINUS_ONE_EIGHTH, x + higher).astype(np.int64)).astype(np.int32)


def _newton_reciprocal(a: ArrayLike) -> Int64Array:
    """``2 / (1 + a)`` for a in [0, 1], from Q0.31 to Q2.29."""
    total = np.asarray(a, dtype=np.int64) + INT32_MAX
    half_denominator = (total + 1) >> 1
    x = FORTY_EIGHT_SEVENTEENTHS + _mul(half_denominator, MINUS_THIRTY_TWO_SEVENTEENTHS).astype(np.int64)
    for _ in range(NEWTON_STEPS):
        error = ONE_Q2 - _mul(half_denominator, x).astype(np.int64)
        x = wrap_int32(x + saturating_left_shift(_mul(x, error), 2).astype(np.int64))
    return x
