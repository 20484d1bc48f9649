"""Converters of TFLite operators that move data: directly on int8, since input and output share their quantization."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm import relax

from .graph import Operator
from .tflite_support import data_of, slice_ranges

if TYPE_CHECKING:
    from .tflite_importer import TfliteConverter


def _reshape(c: TfliteConverter, op: Operator) -> Any:
    return relax.op.reshape(c.value(op.require(0)), op.outputs[0].shape)


def _pad(c: TfliteConverter, op: Operator) -> Any:
    x, value = op.require(0), op.input(2)
    if value is not None and value.data is not None:
        fill = value.data.reshape(-1)[0].item()
    else:
        fill = x.quantization.zero_point if x.dtype == "int8" and x.quantization else 0.0
    return relax.op.nn.pad(c.value(x), op.require(1).integers(), "constant", fill)


def _concatenation(c: TfliteConverter, op: Operator) -> Any:
    parts = data_of(op)
    axis = op.attributes["axis"] % len(parts[0].shape)
    return relax.op.concat(relax.Tuple([c.value(t) for t in parts]), axis)


def _strided_slice(c: TfliteConverter, op: Operator) -> Any:
    x, y = op.require(0), op.outputs[0]
    ranges = [(i, *r) for i, r in enumerate(slice_ranges(op)) if r != (0, x.shape[i], 1)]
    out = c.value(x)
    if ranges:
        axes, begin, end, strides = (list(column) for column in zip(*ranges, strict=True))
        out = c.bb.normalize(relax.op.strided_slice(out, axes, begin, end, strides))
    # Axes taken out by shrink_axis_mask have length 1 by now.
    return relax.op.reshape(out, y.shape)


def _split(c: TfliteConverter, op: Operator) -> Any:
    x = data_of(op)[0]
    axis = op.require(0 if op.kind == "SPLIT" else 2).integers()[0] % len(x.shape)
    if len(op.outputs) == 1:
        return [c.value(x)]
    ends: list[int] = []
    for part in op.outputs[:-1]:
        ends.append((ends[-1] if ends else 0) + part.shape[axis])
    parts = c.bb.emit(relax.op.split(c.value(x), ends, axis))
    return [relax.TupleGetItem(parts, i) for i in range(len(op.outputs))]


def _resize_nearest(c: TfliteConverter, op: Operator) -> Any:
    if op.attributes["align_corners"]:
        coordinates, rounding = "align_corners", "round_prefer_ceil"
    elif op.attributes["half_pixel_centers"]:
        # floor((i + 0.5) * scale), which rounds the half-pixel coordinate with ties up.
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    else:
        coordinates, rounding = "asymmetric", "floor"
    y = op.outputs[0]
    out = relax.op.image.resize2d(
        c.real(op.require(0)), y.shape[1:3], None, "NHWC", "nearest_neighbor", coordinates, rounding
    )
    return c.store(out, y)


MOVEMENT: dict[str, Callable[[TfliteConverter, Operator], Any]] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concatenation,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
}
