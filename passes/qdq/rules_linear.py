"""Convolutions and fully connected layers, with their bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.passes._dataflow import ints, is_call, shape_of
from tvm_tiny.passes.qdq.reader import CannotLowerError, ConstTensor, QParams
from tvm_tiny.quant import scales
from tvm_tiny.quant.params import Conv2DParams, DenseParams

if TYPE_CHECKING:
    from tvm_tiny.passes.qdq.lowering import Goal, Lowering

# TFLite Micro takes a bias as it is, whatever its scale; converters write input scale * weight scale up to rounding.
_BIAS_SCALE_TOLERANCE = 0.02


def lower_conv2d(low: Lowering, call: relax.Call, goal: Goal, bias: ConstTensor | None = None) -> relax.Expr:
    data, q = low.exact(call.args[0])
    weight = _weights(low, call.args[1])
    weight = weight.transposed([str(call.attrs.kernel_layout).index(c) for c in "OHWI"])
    layout = str(call.attrs.data_layout)
    values, groups = weight.values, int(call.attrs.groups)
    in_channels = shape_of(call.args[0])[layout.index("C")]
    channels = values.shape[0]
    if values.shape[3] * groups != in_channels or channels % groups:
        raise CannotLowerError(f"weights {values.shape} (OHWI) do not fit {groups} groups of {in_channels} channels")
    weight_scales = weight.channel_scales()
    multiplier, shift = scales.conv_multipliers(q.scale, weight_scales, goal.q.scale)
    if bias is not None:
        bias = _along_channels(bias, len(layout) - layout.index("C") - 1, channels)
    params = Conv2DParams(
        strides=ints(call.attrs.strides),
        padding=ints(call.attrs.padding),
        dilation=ints(call.attrs.dilation),
        groups=groups,
        input_zero_point=q.zero_point,
        output_zero_point=goal.q.zero_point,
        clamp_min=goal.clamp[0],
        clamp_max=goal.clamp[1],
        rounding=low.rounding,
    )
    name = "qconv2d"
    if groups == in_channels and groups > 1:
        name = "qdepthwise_conv2d"
        values = np.ascontiguousarray(values[..., 0].transpose(1, 2, 0))
        params = replace(params, groups=1)
    arrays = [values.astype(np.int8), _integer_bias(bias, q, weight_scales, channels), multiplier, shift]
    return on_nhwc(low, data, layout, goal, lambda x: make_call(name, [x, *map(relax.const, arrays)], params))


def lower_matmul(low: Lowering, call: relax.Call, goal: Goal, bias: ConstTensor | None = None) -> relax.Expr:
    data, q = low.exact(call.args[0])
    weight = _weights(low, call.args[1])
    if weight.values.ndim != 2:
        raise CannotLowerError(f"weights have {weight.values.ndim} dimensions, not 2")
    weight = weight.transposed([1, 0])
    channels, depth = weight.values.shape
    weight_scales = weight.channel_scales()
    multiplier, shift = scales.dense_multipliers(q.scale, weight_scales, goal.q.scale, weight.per_tensor)
    if bias is not None:
        bias = _along_channels(bias, 0, channels)
    params = DenseParams(
        input_zero_point=q.zero_point,
        output_zero_point=goal.q.zero_point,
        clamp_min=goal.clamp[0],
        clamp_max=goal.clamp[1],
        rounding=low.rounding,
    )
    arrays = [weight.values.astype(np.int8), _integer_bias(bias, q, weight_scales, channels), multiplier, shift]
    shape = shape_of(data)
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    flat = data if len(shape) == 2 else low.emit(relax.op.reshape(data, [rows, depth]), f"{goal.name}_rows")
    result = low.emit(make_call("qdense", [flat, *map(relax.const, arrays)], params), goal.name)
    if len(shape) == 2:
        return result
    return low.emit(relax.op.reshape(result, [*shape[:-1], channels]), goal.name)


def lower_with_bias(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr | None:
    """``add`` of a convolution or matmul and a constant; None for any other ``add``."""
    for product, constant in (call.args, reversed(call.args)):
        core = low.reader.value(product)
        bias = low.reader.constant(constant)
        if bias is not None and is_call(core, "nn.conv2d"):
            return lower_conv2d(low, core, goal, bias)
        if bias is not None and is_call(core, "matmul"):
            return lower_matmul(low, core, goal, bias)
    return None


def on_nhwc(
    low: Lowering, data: relax.Expr, layout: str, goal: Goal, make: Callable[[relax.Expr], relax.Call]
) -> relax.Expr:
    """Emit ``make(data as NHWC)`` and bring the result back to ``layout``."""
    if sorted(layout) != sorted("NHWC"):
        raise CannotLowerError(f"has the layout {layout}")
    to_nhwc = [layout.index(c) for c in "NHWC"]
    result = low.emit(make(low.permute(data, to_nhwc, f"{goal.name}_nhwc")), goal.name)
    return low.permute(result, ["NHWC".index(c) for c in layout], f"{goal.name}_{layout.lower()}")


def _weights(low: Lowering, expr: relax.Expr) -> ConstTensor:
    weight = low.reader.constant(expr)
    if weight is None:
        raise CannotLowerError("its weights are not constant")
    if weight.scales is None or weight.values.dtype != np.int8:
        raise CannotLowerError("its weights are not quantized to 8 bits")
    if np.any(weight.zero_points):
        raise CannotLowerError("its weights have a zero point other than 0 (quantize them symmetrically)")
    return weight


def _along_channels(bias: ConstTensor, axis_from_end: int, channels: int) -> ConstTensor:
    """The bias as a vector; refused where it varies along other axes than the channels."""
    shape = bias.values.shape
    position = len(shape) - 1 - axis_from_end
    if bias.values.size != 1 and (bias.values.size != channels or position < 0 or shape[position] != channels):
        raise CannotLowerError(f"adds a constant of shape {list(shape)} to {channels} channels")
    return bias


def _integer_bias(
    bias: ConstTensor | None, q: QParams, weight_scales: NDArray[np.float32], channels: int
) -> NDArray[np.int32]:
    """int32 [channels] at the scale of the accumulators, input scale times weight scale."""
    if bias is None:
        return np.zeros(channels, dtype=np.int32)
    accumulator_scales = q.scale * weight_scales.astype(np.float64)
    values = bias.values.reshape(-1)
    if bias.scales is not None and not np.any(bias.zero_points):
        deviation = np.abs(bias.scales.reshape(-1) - accumulator_scales)
        if (deviation <= _BIAS_SCALE_TOLERANCE * accumulator_scales).all():
            return np.ascontiguousarray(np.broadcast_to(values, channels)).astype(np.int32)
    real = np.broadcast_to(bias.real.reshape(-1), channels).astype(np.float64)
    scaled = np.divide(real, accumulator_scales, out=np.zeros(channels), where=accumulator_scales > 0)
    if (np.abs(scaled) >= 2.0**31).any():
        raise CannotLowerError("its bias does not fit 32 bits at input scale times weight scale")
    return np.rint(scaled).astype(np.int32)
