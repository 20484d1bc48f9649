"""From float scales to the integer parameters of the operators, as TFLite Micro's Prepare functions compute them.

Scales are float32 values held in Python floats. Whether products and quotients of them are formed in float64 or float32
decides the last bit of a multiplier: that is what this module knows. TFLite Micro's builds from 13 October 2026 on form
all in float64. Those up to 9 October used float32 in the operators marked * below; ``factors="float32"`` follows them.
Bounds of activations are formed in float32 in all of them.

==================== ===================================================================
operator             source, in tflite-micro's ``tensorflow/lite``
==================== ===================================================================
convolutions         kernels/kernel_util.cc, PopulateConvolutionQuantizationParams
dense, per channel   micro/kernels/fully_connected_common.cc
dense, per tensor *  kernels/kernel_util.cc, GetQuantizedConvolutionMultipler
ADD                  micro/kernels/add_common.cc
SUB *                micro/kernels/sub_common.cc
MUL                  micro/kernels/mul_common.cc
MEAN                 micro/kernels/reduce_common.cc, kernels/internal/reference/reduce.h
SOFTMAX              micro/kernels/softmax_common.cc
RELU *               micro/kernels/activations_common.cc (``quant.lut``)
LEAKY_RELU *         micro/kernels/leaky_relu_common.cc (``quant.lut``)
HARD_SWISH *         micro/kernels/hard_swish_common.cc (``quant.lut``)
==================== ===================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .fixed_point import INT32_MAX, INT32_MIN, Int32Array, quantize_multiplier, round_half_away
from .params import AddParams, MeanParams, MulParams, PoolParams, SoftmaxParams

ACTIVATION_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "none": (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu_0_to_1": (0.0, 1.0),
}
"""Real bounds of the fused activations; None is unbounded."""

DTYPE_RANGES: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}

FACTOR_TYPES: dict[str, type[np.float64] | type[np.float32]] = {"float64": np.float64, "float32": np.float32}
"""How ``factors`` are formed: by today's TFLite Micro, and by its builds before 13 October 2026."""

ADD_LEFT_SHIFT = 20
SOFTMAX_INTEGER_BITS = 5


def quantize_multipliers(factors: Iterable[float]) -> tuple[Int32Array, Int32Array]:
    """``quantize_multiplier`` of each factor: (multipliers int32 [N], shifts int32 [N])."""
    pairs = [quantize_multiplier(float(f)) for f in factors]
    multipliers = np.array([m for m, _ in pairs], dtype=np.int32)
    return multipliers, np.array([s for _, s in pairs], dtype=np.int32)


def conv_multipliers(
    input_scale: float, weight_scales: ArrayLike, output_scale: float, channels: int | None = None
) -> tuple[Int32Array, Int32Array]:
    """Multipliers and shifts of CONV_2D and DEPTHWISE_CONV_2D, per-channel or per-tensor weights alike.

    Parameters
    ----------
    weight_scales : float32, scalar or [C_OUT]
    channels : C_OUT, to repeat a single scale

    Returns
    -------
    multiplier, shift : int32 [C_OUT]
    """
    scales = _per_channel(weight_scales, channels)
    return quantize_multipliers(input_scale * w / output_scale for w in scales)


def dense_multipliers(
    input_scale: float,
    weight_scales: ArrayLike,
    output_scale: float,
    per_tensor: bool,
    channels: int | None = None,
    factors: str = "float64",
) -> tuple[Int32Array, Int32Array]:
    """Multipliers and shifts of FULLY_CONNECTED.

    Parameters
    ----------
    weight_scales : float32, scalar or [O]
    per_tensor : the weights have one scale; only then ``factors`` matters
    channels : O, to repeat a single scale
    factors : a key of ``FACTOR_TYPES``, in which the input's scale is multiplied with the weights'

    Returns
    -------
    multiplier, shift : int32 [O]
    """
    real = FACTOR_TYPES[factors] if per_tensor else np.float64
    scales = _per_channel(weight_scales, channels)
    return quantize_multipliers(float(real(input_scale) * real(w)) / output_scale for w in scales)


def clamp_range(
    low: float | None, high: float | None, scale: float, zero_point: int, dtype: str = "int8"
) -> tuple[int, int]:
    """Integer bounds of a clamp to the real interval [low, high] (None: unbounded) at the output's quantization.

    The division is in float32 and rounds half away from zero (kernels/kernel_util.cc, Quantize).
    """
    minimum, maximum = DTYPE_RANGES[dtype]
    if low is not None:
        minimum = max(minimum, zero_point + _quantized(low, scale))
    if high is not None:
        maximum = min(maximum, zero_point + _quantized(high, scale))
    return minimum, maximum


def activation_range(activation: str, scale: float, zero_point: int, dtype: str = "int8") -> tuple[int, int]:
    """(clamp_min, clamp_max) of a fused activation: a key of ``ACTIVATION_BOUNDS``."""
    low, high = ACTIVATION_BOUNDS[activation]
    return clamp_range(low, high, scale, zero_point, dtype)


def add_params(
    a_scale: float,
    a_zero_point: int,
    b_scale: float,
    b_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    activation: str = "none",
    rounding: str = "tflm",
) -> AddParams:
    """Parameters of ADD."""
    twice_max = 2.0 * max(a_scale, b_scale)
    factors = (a_scale / twice_max, b_scale / twice_max, twice_max / (2.0**ADD_LEFT_SHIFT * output_scale))
    zero_points = (a_zero_point, b_zero_point, output_zero_point)
    return _sum_params(factors, zero_points, activation_range(activation, output_scale, output_zero_point), rounding)


def sub_params(
    a_scale: float,
    a_zero_point: int,
    b_scale: float,
    b_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    activation: str = "none",
    rounding: str = "tflm",
    factors: str = "float64",
) -> AddParams:
    """Parameters of SUB; ``factors`` : a key of ``FACTOR_TYPES``."""
    real = FACTOR_TYPES[factors]
    a, b, out = real(a_scale), real(b_scale), real(output_scale)
    twice_max = real(2) * max(a, b)
    values = (float(a / twice_max), float(b / twice_max), float(twice_max / (real(2**ADD_LEFT_SHIFT) * out)))
    zero_points = (a_zero_point, b_zero_point, output_zero_point)
    return _sum_params(values, zero_points, activation_range(activation, output_scale, output_zero_point), rounding)


def mul_params(
    a_scale: float,
    a_zero_point: int,
    b_scale: float,
    b_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    activation: str = "none",
    rounding: str = "tflm",
) -> MulParams:
    """Parameters of MUL."""
    multiplier, shift = quantize_multiplier(a_scale * b_scale / output_scale)
    clamp_min, clamp_max = activation_range(activation, output_scale, output_zero_point)
    return MulParams(a_zero_point, b_zero_point, output_zero_point, multiplier, shift, clamp_min, clamp_max, rounding)


def pool_params(
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
    scale: float,
    zero_point: int,
    activation: str = "none",
) -> PoolParams:
    """Parameters of AVERAGE_POOL_2D and MAX_POOL_2D; padding : (top, left, bottom, right)."""
    return PoolParams(pool_size, strides, padding, *activation_range(activation, scale, zero_point))


def mean_params(
    shape: Sequence[int],
    axes: Iterable[int],
    keepdims: bool,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    rounding: str = "tflm",
) -> MeanParams:
    """Parameters of MEAN; the division by the number of elements goes into the multiplier, truncated.

    Parameters
    ----------
    shape : of the input
    axes : to reduce; negative and repeated ones are allowed
    """
    resolved = tuple(sorted({axis % len(shape) for axis in axes}))
    count = math.prod(shape[axis] for axis in resolved)
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return MeanParams(
        axes=resolved,
        keepdims=keepdims,
        input_zero_point=input_zero_point,
        output_zero_point=output_zero_point,
        multiplier=(multiplier << extra) // count,
        shift=shift - extra,
        rounding=rounding,
    )


def softmax_params(input_scale: float, beta: float = 1.0) -> SoftmaxParams:
    """Parameters of SOFTMAX: input differences times beta go to Q5.26; those below ``diff_min`` count as zero.

    The factor is capped at 2**30 (TFLite Micro: 2**31, or 2**30 with single rounding): the shift then stays within
    30 bits, and no output changes, since a difference of 1 is worth exp(-16) or less in either case.
    """
    fraction_bits = 31 - SOFTMAX_INTEGER_BITS
    multiplier, shift = quantize_multiplier(min(beta * input_scale * 2.0**fraction_bits, 2.0**30 - 1.0))
    return SoftmaxParams(multiplier, shift, -input_radius(SOFTMAX_INTEGER_BITS, shift))


def input_radius(integer_bits: int, left_shift: int, total_signed_bits: int = 31) -> int:
    """Largest input that a scaling by ``2**left_shift`` keeps inside Q(integer_bits) (CalculateInputRadius)."""
    largest = (2.0**integer_bits - 1) * 2.0 ** (total_signed_bits - integer_bits)
    return min(math.floor(largest / 2.0**left_shift), INT32_MAX)


def _sum_params(
    factors: tuple[float, float, float], zero_points: tuple[int, int, int], clamp: tuple[int, int], rounding: str
) -> AddParams:
    (a_multiplier, a_shift), (b_multiplier, b_shift), (multiplier, shift) = map(quantize_multiplier, factors)
    return AddParams(
        a_zero_point=zero_points[0],
        b_zero_point=zero_points[1],
        output_zero_point=zero_points[2],
        left_shift=ADD_LEFT_SHIFT,
        a_multiplier=a_multiplier,
        a_shift=a_shift,
        b_multiplier=b_multiplier,
        b_shift=b_shift,
        output_multiplier=multiplier,
        output_shift=shift,
        clamp_min=clamp[0],
        clamp_max=clamp[1],
        rounding=rounding,
    )


def _quantized(value: float, scale: float) -> int:
    with np.errstate(over="ignore"):
        quotient = float(np.float32(value) / np.float32(scale))
    return round_half_away(min(max(quotient, INT32_MIN), INT32_MAX))


def _per_channel(scales: ArrayLike, channels: int | None) -> list[float]:
    values = [float(s) for s in np.asarray(scales, dtype=np.float32).reshape(-1)]
    return values * channels if channels is not None and len(values) == 1 else values
