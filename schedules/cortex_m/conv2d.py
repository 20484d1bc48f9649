"""Convolution: two output channels and two pixels at once, one output row per call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tvm import relax, tirx

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import Conv2DParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, as_expr, at_least, blocks, with_segment
from tvm_tiny.schedules.cortex_m.conv2d_pairs import conv2d_pairs
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer, stride_suffix
from tvm_tiny.schedules.cortex_m.dsp import dsp_conv2d
from tvm_tiny.schedules.cortex_m.mve import mve_conv2d
from tvm_tiny.schedules.cortex_m.packing import fold_zero_point, pack_runs
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of, values_of
from tvm_tiny.schedules.cortex_m.window import Rows, row_cases, split_columns
from tvm_tiny.targets import Cpu

CHANNELS = (2, 1)
"""Output channels per block: 2 x 2 accumulators are what 13 registers hold beside both operands' words."""


class Conv2D(CortexMScheduleRule):
    """Reads the image in place where whole rows of taps are contiguous in words of four, else gathers windows."""

    operators = ("qconv2d",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: Conv2DParams = params_of(call)
        weight, bias, multiplier, shift = (values_of(a) for a in call.args[1:])
        kernel_h, kernel_w = weight.shape[1:3]
        name = f"qconv2d_{kernel_h}x{kernel_w}" + stride_suffix(p.strides)
        return schedule_conv(ConvLayer(name, p, shape_of(call.args[0]), weight, bias, multiplier, shift), cpu, choose)


def schedule_conv(layer: ConvLayer, cpu: Cpu, choose: Chooser) -> Kernel:
    """The kernel of a convolution."""
    makers: dict[str, Callable[[], Kernel | None]] = {}
    if cpu.has_mve:
        makers["mve"] = partial(mve_conv2d, layer, choose)
    if cpu.has_dsp:
        makers["dsp"] = partial(dsp_conv2d, layer, choose)
    if cpu.is_armv6m:
        makers["pairs"] = partial(conv2d_pairs, layer, choose)
    makers["general"] = lambda: with_segment(partial(_write, layer))
    return choose.first(makers)


def _write(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    _, horizontal = layer.axes
    plain = layer.params.groups == 1 and horizontal.dilation == 1
    whole_words = layer.input_shape[3] % 4 == 0
    if plain and (whole_words or not horizontal.has_border):
        return _read_in_place(layer, b)
    return _gather_windows(layer, b)


def _read_in_place(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, (outputs, kernel_h, kernel_w, _) = layer.input_shape[3], layer.weight.shape
    # Where no tap is ever outside, the zero point needs no subtraction.
    folded = not (vertical.has_border or horizontal.has_border)
    bias = fold_zero_point(layer.bias, layer.weight, p.input_zero_point) if folded else layer.bias
    zero_point = 0 if folded else p.input_zero_point

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * outputs, "int8")
    weights = b.constant("weight", pack_runs(layer.weight.reshape(outputs, kernel_h, -1), CHANNELS))
    biases = b.constant("bias", bias)
    finish = layer.requantizer.declare(b)
    rows = Rows(b, vertical, horizontal.size * channels)

    def compute(pixel: Any, pixels: int, first: Any, count: Any) -> None:
        """Outputs of ``pixels`` neighbours, from the horizontal taps first .. first + count - 1."""
        for start, repeat, width in blocks(outputs, CHANNELS):
            with b.loop(repeat, "block") as block:
                channel = start + block * width
                acc = _start(b, biases, channel, pixels, width)
                with b.loop(rows.count, "tap", start=rows.first) as tap:
                    x = rows.offset(tap) + (horizontal.origin(pixel) + first) * channels
                    w = (channel * kernel_h + tap * width) * kernel_w * channels + first * channels * width
                    step = horizontal.stride * channels
                    _accumulate(
                        b, acc, address(data, x), step, address(weights, w), count * channels, zero_point, pixels, width
                    )
                _store(b, out, finish, acc, pixel * outputs + channel, channel, pixels, width, outputs)

    split = split_columns(b, horizontal, 2)
    with b.loop(split.groups, "pair") as pair:
        compute(split.start + pair * 2, 2, 0, kernel_w)
    with b.loop(split.singles, "single") as single:
        pixel = b.bind("pixel", split.single(single))
        first, count = horizontal.taps(pixel)
        compute(pixel, 1, b.bind("first", first), b.bind("count", count))
    return b.finish(layer.name, macs=layer.macs)


def _gather_windows(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    """Copy the window of each pixel into scratch memory, padding included; so the zero point folds into the bias."""
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, outputs = layer.input_shape[3], layer.weight.shape[0]
    length = int(layer.weight[0].size)
    window = length * p.groups
    tile = min(2, horizontal.outputs)
    pitch = -(-window // 4) * 4

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * outputs, "int8")
    group_outputs = outputs // p.groups
    per_group = np.split(layer.weight.reshape(outputs, 1, length), p.groups)
    weights = b.constant("weight", np.concatenate([pack_runs(group, CHANNELS) for group in per_group]))
    biases = b.constant("bias", fold_zero_point(layer.bias, layer.weight, p.input_zero_point))
    finish = layer.requantizer.declare(b)
    patch = b.scratch("patch", tile * pitch, "int8")
    rows = Rows(b, vertical, horizontal.size * channels)
    gather = _gather_grouped if p.groups > 1 or horizontal.dilation > 1 else _gather_rows

    def compute(pixel: Any, pixels: int) -> None:
        with b.loop(pixels, "p") as i:
            gather(b, layer, rows, data, patch, i * pitch, pixel + i)
        with b.loop(p.groups, "group") as group:
            for start, repeat, width in blocks(group_outputs, CHANNELS):
                with b.loop(repeat, "block") as block:
                    channel = group * group_outputs + start + block * width
                    acc = _start(b, biases, channel, pixels, width)
                    x, w = address(patch, group * length), address(weights, channel * length)
                    _accumulate(b, acc, x, pitch, w, length, 0, pixels, width)
                    _store(b, out, finish, acc, pixel * outputs + channel, channel, pixels, width, outputs)

    first, behind = b.columns(horizontal.outputs)
    count = behind - first
    with b.loop(count // 2 if isinstance(count, int) else tirx.truncdiv(count, 2), "pair") as pair:
        compute(as_expr(first) + pair * 2, 2)
    with b.when(count % 2 == 1 if isinstance(count, int) else tirx.truncmod(count, 2) == 1):
        compute(as_expr(behind - 1), 1)
    return b.finish(layer.name, macs=layer.macs)


def _gather_rows(b: KernelBuilder, layer: ConvLayer, rows: Rows, data: Any, patch: Any, base: Any, pixel: Any) -> None:
    """One window, a row of taps at a time: the taps of a row are neighbours."""
    (vertical, horizontal), channels = layer.axes, layer.input_shape[3]
    run, zero_point = horizontal.kernel * channels, layer.params.input_zero_point
    column = horizontal.origin(pixel)
    with b.loop(vertical.kernel, "tap") as tap:
        to = address(patch, base + tap * run)
        inside, outside = row_cases(vertical, rows, tap)
        with b.when(inside):
            if not horizontal.has_border:
                b.call("tinyml_copy", to, address(data, rows.offset(tap) + column * channels), run)
            else:
                first, count = horizontal.taps(pixel)
                count = at_least(0, count)
                source = address(data, rows.offset(tap) + (column + first) * channels)
                after = run - (first + count) * channels
                whole = tirx.all(column >= 0, column <= horizontal.size - horizontal.kernel)
                # A copy of constant length is a few instructions, a general one is a call.
                with b.when(whole):
                    b.call("tinyml_copy", to, address(data, rows.offset(tap) + column * channels), run)
                with b.when(tirx.Not(whole)):
                    b.call("tinyml_gather", to, source, first * channels, count * channels, after, zero_point)
        with b.when(outside):
            b.call("tinyml_fill", to, zero_point, run)


def _gather_grouped(
    b: KernelBuilder, layer: ConvLayer, rows: Rows, data: Any, patch: Any, base: Any, pixel: Any
) -> None:
    """One window as [groups, KH, KW, C / groups]."""
    (vertical, horizontal), p = layer.axes, layer.params
    run = layer.input_shape[3] // p.groups
    with b.loop(p.groups, "g") as group, b.loop(vertical.kernel, "tap") as tap, b.loop(horizontal.kernel, "kx") as kx:
        to = address(patch, base + ((group * vertical.kernel + tap) * horizontal.kernel + kx) * run)
        column = horizontal.origin(pixel) + kx * horizontal.dilation
        row_inside, _ = row_cases(vertical, rows, tap)
        column_inside = tirx.all(column >= 0, column < horizontal.size) if horizontal.has_border else True
        conditions = [c for c in (row_inside, column_inside) if c is not True]
        inside = tirx.all(*conditions) if conditions else True
        with b.when(inside):
            source = address(data, rows.offset(tap) + column * layer.input_shape[3] + group * run)
            b.call("tinyml_copy", to, source, run)
        with b.when(tirx.Not(inside) if conditions else False):
            b.call("tinyml_fill", to, p.input_zero_point, run)


def _start(b: KernelBuilder, biases: Any, channel: Any, pixels: int, width: int) -> Any:
    acc = b.local("acc", pixels * width)
    for i in range(pixels):
        for j in range(width):
            b.store(acc, i * width + j, biases[channel + j])
    return acc


def _accumulate(
    b: KernelBuilder, acc: Any, x: Any, step: int, w: Any, length: Any, zero_point: int, pixels: int, width: int
) -> None:
    steps = (step,) if pixels > 1 else ()
    b.call(f"tinyml_mac_{pixels}x{width}", address(acc, 0), x, *steps, w, length, zero_point)


def _store(
    b: KernelBuilder,
    out: Any,
    finish: Callable[[Any, Any], Any],
    acc: Any,
    position: Any,
    channel: Any,
    pixels: int,
    width: int,
    pixel_step: int,
) -> None:
    """Finish all accumulators, then store them: a store of bytes may alias the tables, which would be read again."""
    for j in range(width):
        for i in range(pixels):
            b.store(acc, i * width + j, finish(acc[i * width + j], channel + j))
    for i in range(pixels):
        for j in range(width):
            b.store(out, position + i * pixel_step + j, acc[i * width + j])
