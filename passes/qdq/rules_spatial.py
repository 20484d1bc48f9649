"""Pooling, mean, softmax and resizing."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.passes._dataflow import called, ints, inverse, is_call, shape_of
from tvm_tiny.passes.qdq.reader import CannotLowerError, QParams
from tvm_tiny.passes.qdq.rules_linear import on_nhwc
from tvm_tiny.quant import lut, scales
from tvm_tiny.quant.params import PoolParams, ResizeParams
from tvm_tiny.quant.resize import nearest_sources

if TYPE_CHECKING:
    from tvm_tiny.passes.qdq.lowering import Goal, Lowering

_RESIZE_MODES = {  # coordinate_transformation_mode -> (align_corners, half_pixel_centers)
    "asymmetric": (False, False),
    "align_corners": (True, False),
    "half_pixel": (False, True),
    "pytorch_half_pixel": (False, True),
}

# What TFLite's own resize amounts to; listed, since TFLite computes in float32 and may differ on ties.
_TFLITE_NEAREST = {
    ("asymmetric", "floor"): (False, False),
    ("half_pixel", "round_prefer_ceil"): (False, True),
    ("align_corners", "round_prefer_ceil"): (True, False),
}


def lower_pool2d(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    """Pooling keeps the quantization of its input; another one is reached by a lookup behind it."""
    data, q = low.operand(call.args[0], goal)
    layout, attrs = str(call.attrs.layout), call.attrs
    if ints(attrs.dilation) != (1, 1):
        raise CannotLowerError(f"has dilation {ints(attrs.dilation)}")
    size, strides, padding = ints(attrs.pool_size), ints(attrs.strides), ints(attrs.padding)
    if called(call) == "nn.avg_pool2d" and bool(attrs.count_include_pad) and any(padding):
        if bool(attrs.ceil_mode):
            raise CannotLowerError("counts padding and rounds its size up")
        data, padding = _padded(low, data, layout, padding, q, goal), (0, 0, 0, 0)
    else:
        padding = _effective_padding(call, layout, size, strides, padding)
    inner = low.step_to(goal, q)
    params = PoolParams(size, strides, padding, *inner.clamp)
    name = "qavg_pool2d" if called(call) == "nn.avg_pool2d" else "qmax_pool2d"
    result = on_nhwc(low, data, layout, inner, lambda x: make_call(name, [x], params))
    return result if inner is goal else low.requantize(result, q, goal)


def lower_mean(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    data, q = low.operand(call.args[0], goal)
    shape = shape_of(call.args[0])
    axes = range(len(shape)) if call.attrs.axis is None else ints(call.attrs.axis)
    params = scales.mean_params(
        shape,
        axes,
        bool(call.attrs.keepdims),
        q.scale,
        q.zero_point,
        goal.q.scale,
        goal.q.zero_point,
        low.rounding,
    )
    result = low.emit(make_call("qmean", [data], params), goal.name)
    return low.requantize(result, goal.q, goal, "clamp")


def lower_softmax(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    """Softmax gives scale 1/256 and zero point -128; another quantization is reached by a lookup behind it."""
    source, beta = call.args[0], 1.0
    scaled = low.reader.value(source)
    if is_call(scaled, "multiply"):
        for factor, other in (scaled.args, reversed(scaled.args)):
            value = low.reader.scalar(factor)
            if value is not None and value > 0:
                source, beta = other, value
    data, q = low.exact(source)
    probabilities = QParams(*lut.LOGISTIC_OUTPUT)
    name = low.step_to(goal, probabilities).name
    rank = len(shape_of(data))
    axis = int(call.attrs.axis) % rank
    axes = [*(i for i in range(rank) if i != axis), axis]
    params = scales.softmax_params(q.scale, beta)
    result = make_call("qsoftmax", [low.permute(data, axes, f"{name}_last")], params)
    result = low.permute(low.emit(result, name), list(inverse(axes)), name)
    return low.requantize(result, probabilities, goal)


def lower_resize2d(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    data, q = low.operand(call.args[0], goal)
    attrs, layout = call.attrs, str(call.attrs.layout)
    mode, method = str(attrs.coordinate_transformation_mode), str(attrs.method)
    if mode not in _RESIZE_MODES or method not in ("nearest_neighbor", "linear"):
        raise CannotLowerError(f"resizes by method '{method}' with coordinates '{mode}'")
    height, width = (layout.index(c) for c in "HW")
    before, after = shape_of(call.args[0]), shape_of(call)
    sizes = ((before[height], after[height]), (before[width], after[width]))
    flags = _RESIZE_MODES[mode]
    if method == "nearest_neighbor":
        flags = _nearest_flags(sizes, mode, str(attrs.rounding_method))
    params = ResizeParams(
        size=(after[height], after[width]),
        method="nearest" if method == "nearest_neighbor" else "bilinear",
        align_corners=flags[0],
        half_pixel_centers=flags[1],
    )
    inner = low.step_to(goal, q)
    result = on_nhwc(low, data, layout, inner, lambda x: make_call("qresize2d", [x], params))
    return low.requantize(result, q, goal)


def _padded(
    low: Lowering, data: relax.Expr, layout: str, padding: tuple[int, ...], q: QParams, goal: Goal
) -> relax.Expr:
    """``data`` with its padding made real: zero points that count."""
    width = [0] * 8
    for axis, before, after in ((layout.index("H"), 0, 2), (layout.index("W"), 1, 3)):
        width[2 * axis : 2 * axis + 2] = [padding[before], padding[after]]
    return low.emit(relax.op.nn.pad(data, width, "constant", q.zero_point), f"{goal.name}_padded")


def _effective_padding(
    call: relax.Call, layout: str, size: tuple[int, ...], strides: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Padding that gives the output's size when it is rounded down: covers ``ceil_mode``."""
    before, after = shape_of(call.args[0]), shape_of(call)
    ends = []
    for i, axis in enumerate("HW"):
        have, want = before[layout.index(axis)], after[layout.index(axis)]
        needed = (want - 1) * strides[i] + size[i] - have - padding[i]
        ends.append(max(needed, padding[i + 2]) if bool(call.attrs.ceil_mode) else padding[i + 2])
    return padding[0], padding[1], ends[0], ends[1]


def _nearest_flags(sizes: tuple[tuple[int, int], tuple[int, int]], mode: str, rounding: str) -> tuple[bool, bool]:
    """(align_corners, half_pixel_centers) of TFLite that picks the same elements as Relax does.

    Relax and ONNX round in more ways than TFLite; what decides is which elements are read at these sizes.
    """
    if (mode, rounding) in _TFLITE_NEAREST:
        return _TFLITE_NEAREST[mode, rounding]
    wanted = [[_nearest_source(i, *size, mode, rounding) for i in range(size[1])] for size in sizes]
    for flags in _TFLITE_NEAREST.values():
        if [nearest_sources(*size, *flags).tolist() for size in sizes] == wanted:
            return flags
    raise CannotLowerError(f"picks elements by '{mode}' and '{rounding}' as no TFLite resize does at these sizes")


def _nearest_source(i: int, before: int, after: int, mode: str, rounding: str) -> int:
    """Source element of output element ``i`` along one axis, as ``tvm.topi.image.resize`` defines it."""
    scale, half = Fraction(before, after), Fraction(1, 2)
    if mode == "align_corners":
        x = Fraction(before - 1, after - 1) * i if after > 1 else Fraction(0)
    elif mode == "asymmetric":
        x = scale * i
    else:
        x = (i + half) * scale - half if after > 1 or mode == "half_pixel" else Fraction(0)
    rounded = {
        "round": round(x),
        "round_prefer_floor": ceil(x - half),
        "round_prefer_ceil": floor(x + half),
        "floor": floor(x),
        "ceil": ceil(x),
    }
    if rounding not in rounded:
        raise CannotLowerError(f"rounds coordinates by '{rounding}'")
    return min(max(rounded[rounding], 0), before - 1)
