"""Which micro-kernels a convolution gets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp.conv_row import ConvRow, conv_row_functions
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3 import CHANNELS, Depthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import Depthwise, tile_widths
from tvm_tiny.schedules.cortex_m.dsp.depthwise_row import depthwise3x3_functions, depthwise_functions
from tvm_tiny.schedules.cortex_m.dsp.fill import LARGEST_OFFSET, reduction_order
from tvm_tiny.schedules.cortex_m.dsp.gemm import GemmTile
from tvm_tiny.schedules.cortex_m.dsp.limits import scratch_limit
from tvm_tiny.schedules.cortex_m.dsp.packing import (
    accumulator_reach,
    depthwise3x3_constants,
    depthwise_constants,
    gemm_stream,
)
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer

PIXELS = (4, 3, 2, 1)
"""Sizes of a tile, best first."""

_UNROLLINGS = (4, 5, 6, 3, 7, 8)
"""Groups of four values per turn of the inner loop, best first where they divide the sum."""

_STRIPS = (64, 32, 16, 8)
_WIDEST_KERNEL = 10
_HIGHEST_KERNEL = 24
_MOST_CHANNELS = 1360
"""Depthwise 3x3 stores three pixels apart at most with an immediate offset."""


def dsp_conv2d(layer: ConvLayer) -> Kernel | None:
    """A convolution as a matrix product of a few pixels at a time."""
    p, (vertical, horizontal) = layer.params, layer.axes
    if p.groups != 1 or p.dilation != (1, 1):
        return None
    channels, (outputs, kernel_h, kernel_w, _) = layer.input_shape[3], layer.weight.shape
    conv = ConvRow(
        (vertical.size, horizontal.size),
        channels,
        (vertical.outputs, horizontal.outputs),
        (kernel_h, kernel_w),
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        p.input_zero_point,
    )
    image = math.prod(layer.input_shape[1:])
    limit = scratch_limit(image, vertical.outputs * horizontal.outputs * outputs)
    window = conv.window(1)
    possible = [
        n for n in PIXELS if (n - 1) * window.step + window.run <= LARGEST_OFFSET and n * outputs <= LARGEST_OFFSET
    ]
    if not possible:
        return None
    # Tiles of one pixel read every weight for it: then rather more memory.
    small = [n for n in possible if conv.scratch_bytes(n) <= limit]
    pixels = max(small[0] if small else 1, min(2, possible[0]))
    flat = layer.weight.reshape(outputs, -1)[:, reduction_order(kernel_h, window.run)]
    plan = _solve(layer, flat)
    stream = gemm_stream(flat, p.input_zero_point, plan) if plan else None
    if plan is None or stream is None:
        return None
    groups = window.groups
    unroll = next((u for u in _UNROLLINGS if groups % u == 0), min(4, groups))
    limits = (plan.shift, plan.low, plan.high, plan.zero_based, plan.form == "signed", plan.addend)
    functions = conv_row_functions(conv, GemmTile(pixels, groups, outputs, unroll, *limits), pixels)
    return _row_kernel(layer, functions, stream, conv.scratch_bytes(min(pixels, horizontal.outputs)))


def dsp_depthwise_conv2d(layer: ConvLayer) -> Kernel | None:
    """A depthwise convolution, four channels at a time; every output at least the zero point."""
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, kernel = layer.input_shape[3], (vertical.kernel, horizontal.kernel)
    if p.dilation != (1, 1) or not CHANNELS <= channels <= _MOST_CHANNELS:
        return None
    if kernel[1] > _WIDEST_KERNEL or kernel[0] > _HIGHEST_KERNEL or not _always_inside(layer):
        return None
    plan = _solve(layer, layer.weight.reshape(channels, -1))
    if plan is None or plan.form != "positive":
        return None
    weight = layer.weight[..., 0].transpose(1, 2, 0)
    limits = (p.input_zero_point, plan.shift, plan.low, plan.high, plan.zero_based)
    first, outputs, stride = -horizontal.before, horizontal.outputs, horizontal.stride
    rows = (vertical.size, vertical.stride, vertical.before)
    if kernel == (3, 3) and stride in (1, 2):
        strip = Depthwise3x3(horizontal.size, first, outputs, stride, channels, *limits)
        image = math.prod(layer.input_shape[1:])
        limit = scratch_limit(image, vertical.outputs * outputs * channels)
        for largest in _STRIPS:
            functions, scratch = depthwise3x3_functions(strip, *rows, largest)
            if scratch <= limit:
                break
        return _row_kernel(layer, functions, depthwise3x3_constants(weight, p.input_zero_point, plan), scratch)
    whole = Depthwise(horizontal.size, first, outputs, kernel, stride, channels, *limits)
    if max(whole.plane_bytes, max(tile_widths(whole)) * channels) > LARGEST_OFFSET:
        return None
    functions, scratch = depthwise_functions(whole, *rows)
    return _row_kernel(layer, functions, depthwise_constants(weight, p.input_zero_point, plan), scratch)


def _solve(layer: ConvLayer, flat: NDArray[np.int8]) -> LayerRequantization | None:
    p = layer.params
    reach = accumulator_reach(flat, layer.bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    single = p.rounding == "single"
    return solve_layer(layer.multiplier, layer.shift, layer.bias, reach, p.output_zero_point, clamp, single)


def _always_inside(layer: ConvLayer) -> bool:
    """Every window has at least one tap in the image, along both axes."""
    return all(
        axis.before < axis.kernel and (axis.outputs - 1) * axis.stride - axis.before < axis.size for axis in layer.axes
    )


def _row_kernel(
    layer: ConvLayer, functions: Sequence[CFunction], constants: NDArray[np.generic], scratch: int
) -> Kernel:
    """The last of ``functions`` as a row kernel."""
    _, horizontal = layer.axes
    b = KernelBuilder("row")
    data = b.input("data", math.prod(layer.input_shape[1:]), "int8")
    out = b.output(horizontal.outputs * layer.weight.shape[0], "int8")
    packed = b.constant("packed", constants)
    work = b.scratch("work", scratch, "uint8")
    buffers = [address(each, 0) for each in (data, out, packed, work)]
    b.call(functions[-1].name, *buffers, b.y, b.ring_length(0))
    return b.finish(layer.name, macs=layer.macs, c_functions=functions)
