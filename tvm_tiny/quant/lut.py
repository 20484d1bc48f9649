"""Functions of one 8-bit value as tables of 256 entries, bit for bit what TFLite Micro computes per element.

Every function returns the entry of value v at index v + 128 (int8 input) or v (uint8 input). Scales are float32 values
in Python floats. Where TFLite fixes the output's quantization (logistic 1/256 and -128, tanh 1/128 and 0) another one
has no fixed-point definition; such tables are rounded from float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.errors import ModelError

from . import gemmlowp_math
from .fixed_point import (
    Int8Array,
    Int32Array,
    Int64Array,
    quantize_multiplier,
    requantize,
    round_half_away,
    rounding_divide_by_pot,
)
from .scales import ACTIVATION_BOUNDS, DTYPE_RANGES, FACTOR_TYPES, clamp_range, input_radius

Table = NDArray[Any]
"""int8 [256] or uint8 [256]."""

LOGISTIC_OUTPUT = (1.0 / 256, -128)
"""Scale and zero point of TFLite's int8 logistic (and softmax)."""
TANH_OUTPUT = (1.0 / 128, 0)
_INPUT_INTEGER_BITS = 4


def logistic_table(
    input_scale: float,
    input_zero_point: int,
    output_scale: float = LOGISTIC_OUTPUT[0],
    output_zero_point: int = LOGISTIC_OUTPUT[1],
    rounding: str = "tflm",
) -> Int8Array:
    """LOGISTIC (kernels/internal/reference/integer_ops/logistic.h)."""
    if (output_scale, output_zero_point) != LOGISTIC_OUTPUT:
        return function_table(_sigmoid, input_scale, input_zero_point, output_scale, output_zero_point)
    inside, scaled, radius = _saturating_input(input_scale, input_zero_point, rounding)
    result = rounding_divide_by_pot(gemmlowp_math.logistic(scaled, _INPUT_INTEGER_BITS), 31 - 8) - 128
    return _saturate_outside(result, inside, radius)


def tanh_table(
    input_scale: float,
    input_zero_point: int,
    output_scale: float = TANH_OUTPUT[0],
    output_zero_point: int = TANH_OUTPUT[1],
    rounding: str = "tflm",
) -> Int8Array:
    """TANH (kernels/internal/reference/integer_ops/tanh.h)."""
    if (output_scale, output_zero_point) != TANH_OUTPUT:
        return function_table(math.tanh, input_scale, input_zero_point, output_scale, output_zero_point)
    inside, scaled, radius = _saturating_input(input_scale, input_zero_point, rounding)
    result = rounding_divide_by_pot(gemmlowp_math.tanh(scaled, _INPUT_INTEGER_BITS), 31 - 7)
    return _saturate_outside(result, inside, radius)


def requantize_table(
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    rounding: str = "tflm",
    in_dtype: str = "int8",
    out_dtype: str = "int8",
) -> Table:
    """QUANTIZE from one 8-bit quantization to another (kernels/internal/reference/requantize.h); factor in float64.

    int8 <-> uint8 of equal scale with zero points 128 apart comes out as the flip of the top bit.
    """
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    scaled = requantize(table_inputs(in_dtype) - input_zero_point, multiplier, shift, rounding)
    return _narrow(scaled.astype(np.int64) + output_zero_point, out_dtype)


def clip_table(
    low: float | None,
    high: float | None,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    rounding: str = "tflm",
    factors: str = "float64",
) -> Int8Array:
    """Clamp to the real interval [low, high] with a change of quantization; ``factors`` : see ``quant.scales``.

    RELU is micro/kernels/activations_common.cc exactly. RELU6 on its own takes input and output quantization for equal,
    without looking: where they are, this is the same; where they are not, this computes what the model says.
    """
    real = FACTOR_TYPES[factors]
    multiplier, shift = quantize_multiplier(float(real(input_scale) / real(output_scale)))
    scaled = requantize(table_inputs("int8") - input_zero_point, multiplier, shift, rounding)
    clamp_min, clamp_max = clamp_range(low, high, output_scale, output_zero_point)
    return _narrow(np.clip(scaled.astype(np.int64) + output_zero_point, clamp_min, clamp_max), "int8")


def relu_table(
    activation: str,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    rounding: str = "tflm",
    factors: str = "float64",
) -> Int8Array:
    """RELU and its kin as operators of their own; ``activation`` : a key of ``scales.ACTIVATION_BOUNDS``."""
    low, high = ACTIVATION_BOUNDS[activation]
    return clip_table(low, high, input_scale, input_zero_point, output_scale, output_zero_point, rounding, factors)


def leaky_relu_table(
    alpha: float,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    rounding: str = "tflm",
    factors: str = "float64",
) -> Int8Array:
    """LEAKY_RELU (kernels/internal/reference/leaky_relu.h); any float32 ``alpha``, negative too."""
    real = FACTOR_TYPES[factors]
    scale_in, scale_out = real(input_scale), real(output_scale)
    inputs = table_inputs("int8") - input_zero_point
    slope = float(scale_in * real(np.float32(alpha)) / scale_out)
    negative = requantize(inputs, *quantize_multiplier(abs(slope)), rounding).astype(np.int64)
    identity = requantize(inputs, *quantize_multiplier(float(scale_in / scale_out)), rounding)
    result = np.where(inputs >= 0, identity, -negative if slope < 0 else negative)
    return _narrow(result + output_zero_point, "int8")


def hard_swish_table(
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    factors: str = "float64",
) -> Int8Array:
    """HARD_SWISH, ``x * relu6(x + 3) / 6`` in 16-bit fixed point (kernels/internal/reference/hard_swish.h)."""
    real = FACTOR_TYPES[factors]
    fine_scale = real(1 / 128) * real(input_scale)
    output_multiplier, output_exponent = _multiplier_int16(float(fine_scale / real(output_scale)))
    gate_scale = real(3) / real(32768)
    gate_multiplier, gate_exponent = _multiplier_int16(float(fine_scale / gate_scale))
    if output_exponent > 0:
        raise ModelError(
            f"HARD_SWISH with input scale {input_scale} and output scale {output_scale}: the output's is too small",
            hints=("calibrate the model again: the output must reach at least 1/128 of the input's range",),
        )
    fine = (table_inputs("int8") - input_zero_point) * 128
    scaled = _high_mul_int16(fine, output_multiplier)
    # The gate is x / 3 with 32768 as 1, saturated to [-1, 1]; then moved to [0, 1].
    gate = fine
    if gate_exponent > 0:
        gate = _saturate_int16(gate << (gate_exponent - 1))
    gate = _high_mul_int16(gate, gate_multiplier)
    if gate_exponent > 0:
        gate = _saturate_int16(gate << 1)
    if gate_exponent < 0:
        gate = _divide_by_pot_int16(gate, -gate_exponent)
    gate = (gate + 32768) >> 1
    product = gate * scaled
    truncated = np.sign(product) * (np.abs(product) >> 15)
    result = _divide_by_pot_int16(truncated, -output_exponent) + output_zero_point
    return _narrow(result, "int8")


def function_table(
    function: Callable[[float], float],
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
) -> Int8Array:
    """Table of any real function, computed in float64 and rounded half away from zero."""
    inputs = (int(v) for v in table_inputs("int8"))
    real = (function(input_scale * (v - input_zero_point)) for v in inputs)
    low, high = DTYPE_RANGES["int8"]
    limit = 2.0**20
    quotients = (min(max(r / output_scale, -limit), limit) for r in real)
    values = [min(max(round_half_away(q) + output_zero_point, low), high) for q in quotients]
    return np.array(values, dtype=np.int8)


def fixed_point_fails(function: str, input_scale: float, output_scale: float) -> bool:
    """Whether TFLite Micro's own arithmetic gives no answer near the function's at scales as far apart as these.

    LOGISTIC and TANH take a zero for the least input where not even one step of it stays inside of Q4.27; HARD_SWISH
    is undefined where its output has to be shifted up.

    Parameters
    ----------
    function : "sigmoid", "tanh" or "hard_swish"
    """
    if function == "hard_swish":
        return _multiplier_int16(input_scale / 128 / output_scale)[1] > 0
    return input_radius(_INPUT_INTEGER_BITS, math.frexp(input_scale * 2.0 ** (31 - _INPUT_INTEGER_BITS))[1]) == 0


def table_inputs(dtype: str) -> Int64Array:
    """The 256 values of ``dtype`` in the order of a table's entries."""
    low, high = DTYPE_RANGES[dtype]
    return np.arange(low, high + 1, dtype=np.int64)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _saturating_input(input_scale: float, zero_point: int, rounding: str) -> tuple[Int64Array, Int32Array, int]:
    """Table inputs, the same in Q4.27, and the magnitude from which on the output saturates."""
    factor = input_scale * 2.0 ** (31 - _INPUT_INTEGER_BITS)
    radius = input_radius(_INPUT_INTEGER_BITS, math.frexp(factor)[1])
    inputs = table_inputs("int8") - zero_point
    if radius == 0:
        return inputs, np.zeros(inputs.shape, dtype=np.int32), radius
    multiplier, shift = quantize_multiplier(factor)
    inside = np.clip(inputs, -radius + 1, radius - 1)
    return inputs, requantize(inside, multiplier, shift, rounding), radius


def _saturate_outside(values: Int32Array, inputs: Int64Array, radius: int) -> Int8Array:
    saturated = np.where(inputs <= -radius, -128, np.where(inputs >= radius, 127, np.clip(values, -128, 127)))
    return saturated.astype(np.int8)


def _narrow(values: NDArray[Any], dtype: str) -> Table:
    low, high = DTYPE_RANGES[dtype]
    narrowed: Table = np.clip(values, low, high).astype(dtype)
    return narrowed


def _multiplier_int16(real: float) -> tuple[int, int]:
    """``quantize_multiplier`` with the multiplier rounded to Q0.15 (DownScaleInt32ToInt16Multiplier)."""
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), shift


def _high_mul_int16(a: Int64Array, b: int) -> Int64Array:
    """High 16 bits of ``2 * a * b``, rounded to nearest, ties up; b is not negative."""
    return (a * b + (1 << 14)) >> 15


def _saturate_int16(values: Int64Array) -> Int64Array:
    return np.clip(values, -32768, 32767)


def _divide_by_pot_int16(x: Int64Array, exponent: int) -> Int64Array:
    """Rounding shift with the mask held in int16: from exponent 16 on that is -1, which gives 1 for x >= 0, else -1."""
    mask = (1 << exponent) - 1 if exponent < 16 else -1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
