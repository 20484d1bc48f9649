"""Depthwise convolution for Armv6-M: a table of where taps lie, then nothing but loads, multiplications, additions.

Taps outside the image read a line of zero points, so that all outputs are alike and the zero point is in the bias.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.schedules.cortex_m.split_scale import SplitScale, split_scale
from tvm_tiny.schedules.cortex_m.window import Rows, split_columns

_MOST_TAPS = 25
"""The table is on the stack."""

_FREE_SCRATCH = 512
"""Bytes of zero points, for four pixels at once, that are always worth it."""


def depthwise_taps(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """The kernel, or None where there are too many taps or requantization takes another form."""
    vertical, horizontal = layer.axes
    if vertical.kernel * horizontal.kernel > _MOST_TAPS or layer.input_shape[3] < 2:
        return None
    if not choose.forced and not cost.worth(layer, "taps", cost.tap_terms(layer, _at_once(layer)), cost.ARMV6M):
        return None
    scale = split_scale(layer)
    return None if scale is None else with_segment(partial(_write, layer, scale))


def _padding(layer: ConvLayer) -> int:
    """Bytes of zero points that four pixels at once read: inside the image, or all in a row outside."""
    vertical, horizontal = layer.axes
    return layer.input_shape[3] * (1 + 3 * horizontal.stride * vertical.has_border)


def _at_once(layer: ConvLayer) -> int:
    """Pixels per call away from the image's sides."""
    vertical, horizontal = layer.axes
    held = (layer.input_shape[1] * horizontal.size + vertical.outputs * horizontal.outputs) * layer.input_shape[3]
    return 4 if _padding(layer) <= max(_FREE_SCRATCH, held // 8) else 1


def _write(layer: ConvLayer, scale: SplitScale, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, taps = layer.input_shape[3], vertical.kernel * horizontal.kernel
    step = horizontal.stride * channels

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * channels, "int8")
    weights = b.constant("weight", layer.weight.reshape(channels, taps).T)
    table = b.constant("scale", scale.table)
    rows = Rows(b, vertical, horizontal.size * channels)
    has_border = vertical.has_border or horizontal.has_border
    at_once = _at_once(layer)
    size = _padding(layer) if at_once == 4 else channels
    padding = b.scratch("padding", size, "int8") if has_border else data
    if has_border:
        b.call("tinyml_fill", address(padding, 0), p.input_zero_point, size)
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

    def compute(pixel: Any, pixels: int) -> None:
        b.call(
            ("tinyml_depthwise_four" if pixels == 4 else "tinyml_depthwise_one") + "_signed" * scale.signed,
            address(out, pixel * channels),
            address(window, 0),
            address(table, 0),
            step,
            taps,
            channels,
            channels,
            scale.shift,
            scale.low,
            scale.high,
        )

    split = split_columns(b, horizontal, at_once)
    if split.groups != 0:
        place(horizontal.origin(split.start))
    with b.loop(split.groups, "x") as x:
        compute(split.start + x * at_once, at_once)
        first, count = rows.first * horizontal.kernel, rows.count * horizontal.kernel
        b.call("tinyml_advance_taps", address(window, 0), first, count, at_once * step)
    with b.loop(split.singles, "edge") as edge:
        pixel = b.bind("pixel", split.single(edge))
        place(horizontal.origin(pixel))
        compute(pixel, 1)
    return b.finish(layer.name, macs=layer.macs)
