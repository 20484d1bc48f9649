"""Depthwise convolution for Armv6-M: a table of where taps lie, then nothing but loads, multiplications, additions.

Taps outside the image read a line of zero points, so that all outputs are alike and the zero point is in the bias.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.packing import fold_zero_point
from tvm_tiny.schedules.cortex_m.window import Rows, split_columns

_MOST_TAPS = 25
"""The table is on the stack."""


def depthwise_taps(layer: ConvLayer) -> Kernel | None:
    """The kernel, or None where there are too many taps or requantization takes another form."""
    vertical, horizontal = layer.axes
    requantizer = layer.requantizer
    if vertical.kernel * horizontal.kernel > _MOST_TAPS or requantizer.rounding != "tflm":
        return None
    if requantizer.small_table is None:
        return None
    return with_segment(partial(_write, layer))


def _write(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, taps = layer.input_shape[3], vertical.kernel * horizontal.kernel
    requantizer = layer.requantizer
    table = requantizer.small_table
    assert table is not None, "the caller asked"

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * channels, "int8")
    weights = b.constant("weight", layer.weight.reshape(channels, taps).T)
    biases = b.constant("bias", fold_zero_point(layer.bias, layer.weight, p.input_zero_point))
    scales = b.constant("requantization", table)
    rows = Rows(b, vertical, horizontal.size * channels)
    has_border = vertical.has_border or horizontal.has_border
    padding = b.scratch("padding", channels, "int8") if has_border else data
    if has_border:
        b.call("tinyml_fill", address(padding, 0), p.input_zero_point, channels)
    # Two pointers per tap; a host's have eight bytes.
    window = b.local("window", 2 * taps, "int64")
    # Arrays shrink to what is seen to be used of them.
    b.store(window, 2 * taps - 1, 0)

    def place(column: Any) -> None:
        row_at = address(rows.offsets, 0)
        shape = (rows.first, rows.count, vertical.kernel, horizontal.kernel)
        at = (column, horizontal.dilation, horizontal.size, channels)
        b.call(
            "tinyml_window_taps",
            address(window, 0),
            address(data, 0),
            row_at,
            *shape,
            *at,
            address(weights, 0),
            address(padding, 0),
        )

    def compute(pixel: Any) -> None:
        b.call(
            "tinyml_depthwise_output",
            address(out, pixel * channels),
            address(window, 0),
            taps,
            address(biases, 0),
            address(scales, 0),
            2 if len(table) > 1 else 0,
            channels,
            requantizer.zero_point,
            requantizer.clamp_min,
            requantizer.clamp_max,
            requantizer.narrow,
        )

    split = split_columns(b, horizontal)
    if split.groups != 0:
        place(horizontal.origin(split.start))
    with b.loop(split.groups, "x") as x:
        compute(split.start + x)
        first, count = rows.first * horizontal.kernel, rows.count * horizontal.kernel
        b.call("tinyml_advance_taps", address(window, 0), first, count, horizontal.stride * channels)
    with b.loop(split.singles, "edge") as edge:
        pixel = b.bind("pixel", split.single(edge))
        place(horizontal.origin(pixel))
        compute(pixel)
    return b.finish(layer.name, macs=layer.macs)
