"""Depthwise convolution: four channels at once, one output row per call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import Conv2DParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, blocks, with_segment
from tvm_tiny.schedules.cortex_m.conv2d import schedule_conv
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer, stride_suffix
from tvm_tiny.schedules.cortex_m.depthwise_taps import depthwise_taps
from tvm_tiny.schedules.cortex_m.dsp import dsp_depthwise_forms
from tvm_tiny.schedules.cortex_m.mve import mve_depthwise_conv2d
from tvm_tiny.schedules.cortex_m.packing import fold_zero_point, pack_channels
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of, values_of
from tvm_tiny.schedules.cortex_m.window import Rows, each_pixel
from tvm_tiny.targets import Cpu

CHANNELS = (4, 1)
"""Channels per block: a word of activations and a word of weights."""

UNROLLED_TAPS = 7
"""Rows of at most so many taps are written out, which saves the loop and folds tap offsets into the loads."""


class DepthwiseConv2D(CortexMScheduleRule):
    """With a multiplier above 1 it is a grouped convolution (or a plain one, of a single channel)."""

    operators = ("qdepthwise_conv2d",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: Conv2DParams = params_of(call)
        weight, bias, multiplier, shift = (values_of(a) for a in call.args[1:])
        kernel_h, kernel_w, outputs = weight.shape
        input_shape = shape_of(call.args[0])
        name = f"qdepthwise_conv2d_{kernel_h}x{kernel_w}" + stride_suffix(p.strides)
        as_conv = weight.transpose(2, 0, 1)[..., None]
        layer = ConvLayer(name, replace(p, groups=input_shape[3]), input_shape, as_conv, bias, multiplier, shift)
        if outputs != input_shape[3] or outputs == 1:
            return schedule_conv(layer, cpu, choose)
        makers: dict[str, Callable[[], Kernel | None]] = {}
        if cpu.has_mve:
            makers["mve"] = partial(mve_depthwise_conv2d, layer, choose)
        if cpu.has_dsp:
            makers |= dsp_depthwise_forms(layer, choose)
        if cpu.is_armv6m:
            makers["taps"] = partial(depthwise_taps, layer, choose)
        makers["general"] = lambda: with_segment(partial(_write, layer))
        return choose.first(makers)


def _write(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels = layer.input_shape[3]
    kernel_h, kernel_w = vertical.kernel, horizontal.kernel
    folded = not (vertical.has_border or horizontal.has_border)
    bias = fold_zero_point(layer.bias, layer.weight, p.input_zero_point) if folded else layer.bias
    zero_point = 0 if folded else p.input_zero_point

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * channels, "int8")
    taps = layer.weight.reshape(channels, kernel_h * kernel_w).T
    weights = b.constant("weight", pack_channels(taps))
    biases = b.constant("bias", bias)
    finish = layer.requantizer.declare(b)
    rows = Rows(b, vertical, horizontal.size * channels)

    def compute(pixel: Any, first: Any, count: Any) -> None:
        unroll = isinstance(count, int) and count <= UNROLLED_TAPS
        for start, repeat, width in blocks(channels, CHANNELS):
            with b.loop(repeat, "block") as block:
                channel = start + block * width
                acc = b.local("acc", width)
                for j in range(width):
                    b.store(acc, j, biases[channel + j])
                with (
                    b.loop(rows.count, "tap", start=rows.first) as tap,
                    b.loop(count, "kx", start=first, unroll=unroll) as kx,
                ):
                    column = horizontal.origin(pixel) + kx * horizontal.dilation
                    x = rows.offset(tap) + column * channels + channel
                    w = channel * kernel_h * kernel_w + (tap * kernel_w + kx) * width
                    helper = f"tinyml_mac_channels_{width}"
                    b.call(helper, address(acc, 0), address(data, x), address(weights, w), zero_point)
                for j in range(width):
                    b.store(out, pixel * channels + channel + j, finish(acc[j], channel + j))

    each_pixel(b, horizontal, compute)
    return b.finish(layer.name, macs=layer.macs)
