"""Which vector kernels a convolution gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.schedules.cortex_m.dsp.limits import scratch_limit
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer
from tvm_tiny.schedules.cortex_m.mve.conv_row import (
    ConvColumns,
    columns_functions,
    entry_function,
    gathered_windows,
    pointwise_function,
)
from tvm_tiny.schedules.cortex_m.mve.cost import conv_terms, depthwise_terms
from tvm_tiny.schedules.cortex_m.mve.depthwise import GROUP, WORDS, Depthwise, depthwise_constants
from tvm_tiny.schedules.cortex_m.mve.depthwise_row import DepthwiseColumns, depthwise_functions
from tvm_tiny.schedules.cortex_m.mve.gemm import gemm_constants, gemm_of, product_function
from tvm_tiny.schedules.cortex_m.mve.requantization import VectorRequantization, vector_requantization
from tvm_tiny.schedules.cortex_m.window import Axis

LONGEST_STEP = 7
"""Words from one window to the next one's, whose distance is an immediate offset of at most 508 bytes."""

_STRIPS = (16, 12, 8, 4)
_GATHERED = (2, 4, 6, 8)

_SHORT = 16
"""Columns of a short row."""


def mve_conv2d(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """A convolution without groups and dilation.

    Choice: ``gathered`` (windows copied together at a time; 0 reads their rows in place).
    """
    p, (vertical, horizontal) = layer.params, layer.axes
    if p.groups != 1 or p.dilation != (1, 1):
        return None
    channels, (outputs, kernel_h, kernel_w, _) = layer.input_shape[3], layer.weight.shape
    limit = scratch_limit(math.prod(layer.input_shape[1:]), vertical.outputs * horizontal.outputs * outputs)
    default = gathered_windows(kernel_h, kernel_w * channels, outputs, limit)
    window = kernel_h * kernel_w * channels
    several = [n for n in _GATHERED if kernel_h > 1 and n * window <= limit]
    gathered = choose.pick("gathered", sorted({0, default, *several}), default)
    columns = ConvColumns(
        (vertical.size, horizontal.size),
        (kernel_h, kernel_w),
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        horizontal.outputs,
        (channels, outputs),
        p.input_zero_point,
        _in_pairs(horizontal, gathered=gathered > 0),
        gathered,
    )
    if not _worth(layer, choose, "vector_conv", conv_terms(vertical.outputs, columns)):
        return None
    solution = _solve(layer)
    if solution is None:
        return None
    plan, vector = solution
    runs = 1 if gathered else kernel_h
    weight = layer.weight.reshape(outputs, runs, -1)
    gemm = gemm_of(runs, weight.shape[2], outputs, vector.steps, compact=choose.optimize == "size")
    constants = gemm_constants(weight, p.input_zero_point, plan, vector, gemm)
    packed = np.concatenate([np.array(columns.numbers, np.int32), constants])
    product = product_function(gemm)
    if columns.pointwise:
        whole = [pointwise_function(product)]
    else:
        whole = list(columns_functions(product, gathered=gathered > 0))
    return _kernel("qconv2d", layer, [product, *whole], packed, columns.scratch_bytes)


def mve_depthwise_conv2d(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """A depthwise convolution without dilation, of at least four channels.

    Choice: ``strip`` (columns that are transposed at a time).
    """
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, (kernel_h, kernel_w) = layer.input_shape[3], layer.weight.shape[1:3]
    groups = -(-kernel_h // GROUP)
    step = horizontal.stride * groups
    if p.dilation != (1, 1) or channels < GROUP or kernel_w * groups > WORDS or step > LONGEST_STEP:
        return None
    solution = _solve(layer, uniform=kernel_w * groups > GROUP)
    if solution is None:
        return None
    plan, vector = solution
    if vector.steps.low and kernel_w * groups <= GROUP and vector.steps.signed:
        return None  # more numbers than registers
    compact = choose.optimize == "size"
    kernel = Depthwise(kernel_w * groups, step, vector.steps.general if compact else vector.steps)
    limit = scratch_limit(math.prod(layer.input_shape[1:]), vertical.outputs * horizontal.outputs * channels)
    shape = DepthwiseColumns(
        (vertical.size, horizontal.size),
        channels,
        (kernel_h, kernel_w),
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        p.input_zero_point,
        horizontal.outputs,
        _STRIPS[0],
        3 if vector.steps.signed else 2,
        compact,
    )
    shapes = []
    for longest in _STRIPS:
        count = -(-horizontal.outputs // longest)
        strip = -(-horizontal.outputs // count)
        strip = strip if kernel.by_channels else min(-(-strip // GROUP) * GROUP, longest)
        shapes.append(replace(shape, strip=strip))
    fitting = [s for s in shapes if s.scratch_bytes <= limit] or shapes[-1:]
    shape = replace(shape, strip=choose.pick("strip", [s.strip for s in fitting], fitting[0].strip))
    if not _worth(layer, choose, "vector_depthwise", depthwise_terms(vertical.outputs, shape, kernel)):
        return None
    arrays, words = depthwise_constants(layer.weight[..., 0].transpose(1, 2, 0), p.input_zero_point, plan)
    head = np.array([*shape.numbers, *vector.numbers], np.int32)
    packed = np.concatenate([head, arrays.reshape(-1), words.reshape(-1)])
    return _kernel("qdepthwise_conv2d", layer, list(depthwise_functions(shape, kernel)), packed, shape.scratch_bytes)


def _in_pairs(horizontal: Axis, *, gathered: bool) -> tuple[int, int]:
    """The interior, less a column at either end if that lets pairs of pixels cover the border.

    Where windows are gathered anyway, short rows are all border: that saves two parts of three.
    """
    start, stop = horizontal.interior
    if not horizontal.has_border:
        return start, stop
    left, right = start + start % 2, horizontal.outputs - stop
    right += right % 2
    if left + right >= horizontal.outputs or (gathered and horizontal.outputs <= _SHORT):
        return horizontal.outputs, horizontal.outputs
    return left, horizontal.outputs - right


def _kernel(name: str, layer: ConvLayer, functions: list[CFunction], packed: NDArray[np.int32], scratch: int) -> Kernel:
    """The last of ``functions`` as a row kernel, and for parts of rows.

    All sizes are in the constants, so that layers share functions, and the sizes of buffers say nothing.
    """

    def write(b: KernelBuilder) -> Kernel:
        segment = b.granularity == "segment"
        buffers = [b.input("data", 1, "int8"), b.output(1, "int8"), b.constant("packed", packed, sized=False)]
        buffers.append(b.scratch("work", scratch, "uint8", sized=False))
        numbers = [b.x0, b.x1, *b.row_address(0)] if segment else [b.ring_length(0)]
        entry = entry_function(functions[-1], segment=segment)
        b.call(entry.name, *(address(each, 0) for each in buffers), b.y, *numbers)
        return b.finish(name, macs=layer.macs, c_functions=[*functions, entry])

    return with_segment(write)


def _worth(layer: ConvLayer, choose: Chooser, kind: str, terms: Sequence[float]) -> bool:
    return choose.forced or choose.optimize == "size" or cost.worth(layer, kind, terms)


def _solve(layer: ConvLayer, *, uniform: bool | None = None) -> tuple[LayerRequantization, VectorRequantization] | None:
    """Constants, in both forms; ``uniform`` as for ``vector_requantization``."""
    p = layer.params
    reach = accumulator_reach(layer.weight.reshape(len(layer.weight), -1), layer.bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    single = p.rounding == "single"
    plan = solve_layer(layer.multiplier, layer.shift, layer.bias, reach, p.output_zero_point, clamp, single)
    vector = vector_requantization(plan, layer.bias, reach, uniform=uniform) if plan else None
    return (plan, vector) if plan and vector else None
