"""Bounds of each channel's values, whatever the model's input: a channel whose bounds meet is constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.passes._dataflow import array_of, dtype_of, is_call, is_const, shape_of
from tvm_tiny.passes.channels.taps import inside_axis, tap_patterns, weight_taps
from tvm_tiny.passes.channels.ties import Tie
from tvm_tiny.quant import reference
from tvm_tiny.quant.fixed_point import clamp_to_int8, requantize
from tvm_tiny.quant.params import PoolParams
from tvm_tiny.quant.scales import DTYPE_RANGES

Bounds = NDArray[np.int64]

_INT32 = np.iinfo(np.int32)
_BLOCK = 1 << 16  # weights, so that they stay in a cache


@dataclass(frozen=True)
class Range:
    """Closed bounds of a tensor's values, int64 [C], C the size of its last axis (1 for a scalar)."""

    low: Bounds
    high: Bounds

    @property
    def constant(self) -> NDArray[np.bool_]:
        """[C], which channels have one value everywhere; it is in ``low``."""
        same: NDArray[np.bool_] = self.low == self.high
        return same


def range_of_array(array: NDArray[Any]) -> Range:
    """Bounds of a constant tensor."""
    flat = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    return Range(flat.min(axis=0).astype(np.int64), flat.max(axis=0).astype(np.int64))


def full_range(tensor: Any) -> Range:
    """What a tensor's element type allows; a range that never is constant for those other than int8 and uint8."""
    shape = shape_of(tensor)
    low, high = DTYPE_RANGES.get(dtype_of(tensor), (_INT32.min, _INT32.max))
    ones = np.ones(shape[-1] if shape else 1, np.int64)
    return Range(low * ones, high * ones)


def output_ranges(
    call: relax.Call, inputs: Sequence[Range], outputs: Sequence[Any], ties: Sequence[Tie] | None
) -> list[Range]:
    """Bounds of the outputs of ``call``.

    Parameters
    ----------
    inputs : one for each activation or constant tensor (``channels.ties.tensors_of``)
    outputs : tensor expressions or types with ``.ty``
    ties : ``channels.ties.ties_of(call)``
    """
    if is_tinyml_call(call):
        rule = _RULES.get(op_name(call))
        return [full_range(outputs[0]) if rule is None else rule(call, inputs)]
    if ties is None:
        return [full_range(o) for o in outputs]
    return [_moved(call, inputs, i, o, ties) for i, o in enumerate(outputs)]


def _moved(call: relax.Call, inputs: Sequence[Range], index: int, output: Any, ties: Sequence[Tie]) -> Range:
    """Bounds behind an operator that only moves values."""
    size = shape_of(output)[-1]
    low, high = np.full(size, _INT32.max, np.int64), np.full(size, _INT32.min, np.int64)
    for tie in ties:
        if tie.output == index:
            np.minimum.at(low, tie.output_channels, inputs[tie.input].low[tie.input_channels])
            np.maximum.at(high, tie.output_channels, inputs[tie.input].high[tie.input_channels])
    if is_call(call, "nn.pad"):
        value = int(call.attrs.pad_value)
        low, high = np.minimum(low, value), np.maximum(high, value)
    return Range(low, high)


def _convolution(call: relax.Call, inputs: Sequence[Range]) -> Range:
    params = params_of(call)
    if not all(map(is_const, call.args[1:])) or getattr(params, "groups", 1) != 1:
        return _clamped(call)
    data, weight = inputs[0], weight_taps(call)
    low, high = data.low - params.input_zero_point, data.high - params.input_zero_point
    if is_tinyml_call(call, "qdepthwise_conv2d"):
        repeats = weight.shape[1] // len(low)
        low, high = np.repeat(low, repeats), np.repeat(high, repeats)
        positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
        least, most = positive * low + negative * high, positive * high + negative * low
    else:
        least, most = _extreme_sums(weight, low, high)
    patterns = tap_patterns(call)
    bias, multiplier, shift = (array_of(a) for a in call.args[2:])
    acc_low, acc_high = (patterns @ tap + bias.astype(np.int64) for tap in (least, most))
    if acc_low.min() < _INT32.min or acc_high.max() > _INT32.max:
        return _clamped(call)  # sums may wrap around
    # Requantization is monotone.
    bounds = [
        clamp_to_int8(
            requantize(acc, multiplier, shift, params.rounding),
            params.output_zero_point,
            params.clamp_min,
            params.clamp_max,
        ).astype(np.int64)
        for acc in (acc_low, acc_high)
    ]
    return Range(bounds[0].min(axis=0), bounds[1].max(axis=0))


def _extreme_sums(weight: NDArray[np.int8], low: Bounds, high: Bounds) -> tuple[Bounds, Bounds]:
    """[T, O] each: least and greatest sum of each tap of ``weight`` [O, T, C] over values between [C] bounds.

    A part at a time: a dense layer may have 100 MB.
    """
    outputs, taps, channels = weight.shape
    flat = weight.reshape(-1, channels)
    # Twice the middle of each sum, and how far it is between the ends.
    middle, span = (np.empty(len(flat), np.int64) for _ in range(2))
    step = max(1, _BLOCK // channels)
    for start in range(0, len(flat), step):
        part = slice(start, start + step)
        some = flat[part].astype(np.int64)
        middle[part] = np.einsum("oc,c->o", some, low + high)
        span[part] = np.einsum("oc,c->o", np.abs(some), high - low)
    least, most = ((ends // 2).reshape(outputs, taps).T for ends in (middle - span, middle + span))
    return least, most


def _clamped(call: relax.Call) -> Range:
    params, channels = params_of(call), shape_of(call)[-1]
    return Range(*(np.full(channels, bound, np.int64) for bound in (params.clamp_min, params.clamp_max)))


def _binary(call: relax.Call, inputs: Sequence[Range]) -> Range:
    """Sums, differences and products are monotone in each operand: their extremes are at the corners."""
    (a, b), params = inputs, params_of(call)
    values = [
        np.asarray(reference.run(op_name(call), params, x.astype(np.int8), y.astype(np.int8))).astype(np.int64)
        for x, y in product((a.low, a.high), (b.low, b.high))
    ]
    return Range(np.min(values, axis=0), np.max(values, axis=0))


def _pool(call: relax.Call, inputs: Sequence[Range]) -> Range:
    """Averages and maxima stay between the bounds of what they see."""
    params: PoolParams = params_of(call)
    for axis in range(2):
        inside = inside_axis(call, axis, params.pool_size[axis], params.strides[axis], 1, params.padding[axis])
        if not inside.any(axis=1).all():  # a window wholly in the padding
            return _clamped(call)
    return Range(*(np.clip(x, params.clamp_min, params.clamp_max) for x in (inputs[0].low, inputs[0].high)))


def _mean(call: relax.Call, inputs: Sequence[Range]) -> Range:
    shape, params = shape_of(call.args[0]), params_of(call)
    if len(shape) - 1 in params.axes:
        return full_range(call)
    low, high = (
        np.asarray(reference.run("qmean", params, np.broadcast_to(x.astype(np.int8), shape)))
        for x in (inputs[0].low, inputs[0].high)
    )
    return Range(*(x.reshape(-1, shape[-1])[0].astype(np.int64) for x in (low, high)))


def _lookup(call: relax.Call, inputs: Sequence[Range]) -> Range:
    if not is_const(call.args[1]):
        return full_range(call)
    table = array_of(call.args[1]).astype(np.int64)
    first, _ = DTYPE_RANGES[dtype_of(call.args[0])]
    seen = [table[low - first : high - first + 1] for low, high in zip(inputs[0].low, inputs[0].high, strict=True)]
    return Range(np.array([s.min() for s in seen]), np.array([s.max() for s in seen]))


def _resize(_call: relax.Call, inputs: Sequence[Range]) -> Range:
    """Values between those of the neighbours."""
    return inputs[0]


_RULES: dict[str, Callable[[relax.Call, Sequence[Range]], Range]] = {
    "qconv2d": _convolution,
    "qdepthwise_conv2d": _convolution,
    "qdense": _convolution,
    "qadd": _binary,
    "qsub": _binary,
    "qmul": _binary,
    "qavg_pool2d": _pool,
    "qmax_pool2d": _pool,
    "qmean": _mean,
    "lookup": _lookup,
    "qresize2d": _resize,
}
