"""Fixed-point scaling of integers, as TFLite Micro and gemmlowp define it.

A real factor is kept as ``multiplier * 2**(shift - 31)`` with the multiplier in [2**30, 2**31), that is Q0.31; a
positive shift goes to the left. The functions take scalars or arrays, broadcast, compute in 64 bits and return int32.

References
----------
TFLite, kernels/internal/quantization_util.cc (QuantizeMultiplier) and common.cc (MultiplyByQuantizedMultiplier);
gemmlowp, fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_tiny.errors import ModelError

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1
MIN_SHIFT = -31
MAX_SHIFT = 30


def round_half_away(value: float) -> int:
    """Nearest integer, ties away from zero: C's ``round``, not Python's."""
    magnitude = math.floor(abs(value))
    if abs(value) - magnitude >= 0.5:
        magnitude += 1
    return magnitude if value >= 0 else -magnitude


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Turn a positive real factor into Q0.31 multiplier and shift.

    Parameters
    ----------
    real : 0 or positive, below 2**30

    Returns
    -------
    multiplier : 0 or in [2**30, 2**31)
    shift : in [-31, 30]; a factor too small for -31 becomes (0, 0)
    """
    if not (math.isfinite(real) and real >= 0):
        raise ModelError(
            f"quantization scales give the factor {real}, which is not a finite number >= 0",
            hints=("check the scales of the tensors around this operator: they must be positive and finite",),
        )
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2.0**31)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < MIN_SHIFT:
        return 0, 0
    if shift > MAX_SHIFT:
        raise ModelError(
            f"quantization scales give the factor {real}; fixed-point scaling reaches 2**{MAX_SHIFT}",
            hints=("check the scales of the tensors around this operator: the output's is far too small",),
        )
    return multiplier, shift


def wrap_int32(value: ArrayLike) -> Int64Array:
    """Two's complement wrap to 32 bits, kept in int64."""
    wide = np.asarray(value, dtype=np.int64)
    wrapped: Int64Array = ((wide - INT32_MIN) & 0xFFFFFFFF) + INT32_MIN
    return wrapped


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> Int32Array:
    """High 32 bits of ``2 * a * b``, rounded to nearest with ties up; only INT32_MIN squared saturates."""
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    high: Int32Array = np.minimum((product + (1 << 30)) >> 31, INT32_MAX).astype(np.int32)
    return high


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> Int32Array:
    """``x / 2**exponent`` to nearest, ties away from zero; exponent in [0, 31]."""
    value = np.asarray(x, dtype=np.int64)
    bits = np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + (value < 0)
    rounded: Int32Array = ((value >> bits) + ((value & mask) > threshold)).astype(np.int32)
    return rounded


def saturating_left_shift(x: ArrayLike, bits: int) -> Int32Array:
    """``x * 2**bits``, saturated to int32."""
    shifted: Int64Array = np.asarray(x, dtype=np.int64) << np.int64(bits)
    return np.clip(shifted, INT32_MIN, INT32_MAX).astype(np.int32)


def requantize(acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, rounding: str = "tflm") -> Int32Array:
    """Scale int32 accumulators: ``acc * multiplier * 2**(shift - 31)``.

    Parameters
    ----------
    acc : int32, any shape
    multiplier : Q0.31, 0 or in [2**30, 2**31); the mean's may be smaller
    shift : in [-31, 30]; a left shift that overflows wraps, as the C code does
    rounding : "tflm" rounds twice (ties up, then ties away from zero); "single" rounds once, ties up

    Notes
    -----
    ``multiplier`` and ``shift`` broadcast against ``acc``: per-channel arrays go with the last axis.
    """
    values = np.asarray(acc, dtype=np.int64)
    factors = np.asarray(multiplier, dtype=np.int64)
    shifts = np.asarray(shift, dtype=np.int64)
    if rounding == "single":
        total = 31 - shifts
        return wrap_int32((values * factors + (np.int64(1) << (total - 1))) >> total).astype(np.int32)
    check_rounding(rounding)
    shifted = wrap_int32(values << np.maximum(shifts, 0))
    high = saturating_rounding_doubling_high_mul(shifted, factors)
    return rounding_divide_by_pot(high, np.maximum(-shifts, 0))


def check_rounding(rounding: str) -> None:
    """Refuse any name but "tflm" and "single"."""
    if rounding not in ("tflm", "single"):
        raise ValueError(f"rounding is 'tflm' or 'single', not {rounding!r}")


def clamp_to_int8(values: NDArray[Any], zero_point: int, clamp_min: int, clamp_max: int) -> Int8Array:
    """Add a zero point, clamp, narrow: the last steps of most integer operators."""
    return np.clip(values.astype(np.int64) + zero_point, clamp_min, clamp_max).astype(np.int8)
