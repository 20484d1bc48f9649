"""Parameters of the integer operators: plain numbers, no TVM.

One frozen dataclass per operator. They are the attributes of the ``relax.tinyml.*`` operators (``tvm_tiny.ops``), the
arguments of the NumPy reference (``quant.reference``) and what the schedules specialise on. A zero point is subtracted
from an input and added to an output; multipliers are Q0.31, shifts are positive to the left. Activations are NHWC.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDINGS = ("tflm", "single")


@dataclass(frozen=True)
class Conv2DParams:
    """Convolution, int8 NHWC x int8 OHWI; also depthwise (weights [KH, KW, C_OUT]).

    padding : (top, left, bottom, right), taps there contribute nothing
    groups : input channels are split in so many groups; 1 for depthwise, which has an operator of its own
    """

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    input_zero_point: int
    output_zero_point: int
    clamp_min: int
    clamp_max: int
    rounding: str


@dataclass(frozen=True)
class AccumulateParams:
    """Part of a 1x1 convolution, int8 NHWC x int8 [O, C], added to int32 sums.

    No parameter: the data's zero point is taken into account once, by the bias that the sums begin with.
    """


@dataclass(frozen=True)
class RequantizeParams:
    """int32 sums to int8, a multiplier and a shift per channel."""

    output_zero_point: int
    clamp_min: int
    clamp_max: int
    rounding: str


@dataclass(frozen=True)
class DenseParams:
    """Fully connected, int8 [M, K] x int8 [O, K]."""

    input_zero_point: int
    output_zero_point: int
    clamp_min: int
    clamp_max: int
    rounding: str


@dataclass(frozen=True)
class AddParams:
    """ADD and SUB: both inputs are brought to a common scale, shifted left by ``left_shift`` bits."""

    a_zero_point: int
    b_zero_point: int
    output_zero_point: int
    left_shift: int
    a_multiplier: int
    a_shift: int
    b_multiplier: int
    b_shift: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int
    rounding: str


@dataclass(frozen=True)
class MulParams:
    """MUL: (a - za) * (b - zb), requantized once."""

    a_zero_point: int
    b_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp_min: int
    clamp_max: int
    rounding: str


@dataclass(frozen=True)
class PoolParams:
    """AVERAGE_POOL_2D and MAX_POOL_2D; input and output share scale and zero point.

    Only taps inside the image count, in the divisor too; padding : (top, left, bottom, right)
    """

    pool_size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True)
class MeanParams:
    """MEAN over ``axes`` (non-negative, ascending); the division is folded into the multiplier."""

    axes: tuple[int, ...]
    keepdims: bool
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    rounding: str


@dataclass(frozen=True)
class SoftmaxParams:
    """SOFTMAX over the last axis; output scale 1/256, zero point -128."""

    input_multiplier: int
    input_left_shift: int
    diff_min: int


@dataclass(frozen=True)
class ResizeParams:
    """RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR, NHWC; same quantization in and out.

    method : "nearest" or "bilinear"
    size : (output height, output width)
    """

    size: tuple[int, int]
    method: str
    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True)
class LookupParams:
    """Any function of one int8 (or uint8) value, as a table of 256; ``function`` is for reports."""

    function: str
    out_dtype: str


@dataclass(frozen=True)
class QuantizeParams:
    """QUANTIZE float32 -> ``dtype`` and DEQUANTIZE back; ``scale`` is a float32 value, exactly."""

    scale: float
    zero_point: int
    dtype: str


Params = (
    Conv2DParams
    | AccumulateParams
    | RequantizeParams
    | DenseParams
    | AddParams
    | MulParams
    | PoolParams
    | MeanParams
    | SoftmaxParams
    | ResizeParams
    | LookupParams
    | QuantizeParams
)
