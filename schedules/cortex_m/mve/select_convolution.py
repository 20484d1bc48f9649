"""Which vector kernels a convolution gets."""

from __future__ import annotations

import math

import numpy as np

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp.limits import scratch_limit
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer
from tvm_tiny.schedules.cortex_m.mve.conv_row import (
    ConvColumns,
    columns_functions,
    gathered_windows,
    pointwise_function,
    row_function,
)
from tvm_tiny.schedules.cortex_m.mve.gemm import gemm_constants, gemm_of, product_function
from tvm_tiny.schedules.cortex_m.mve.requantization import VectorRequantization, vector_requantization


def mve_conv2d(layer: ConvLayer) -> Kernel | None:
    """A convolution without groups and dilation."""
    p, (vertical, horizontal) = layer.params, layer.axes
    if p.groups != 1 or p.dilation != (1, 1):
        return None
    channels, (outputs, kernel_h, kernel_w, _) = layer.input_shape[3], layer.weight.shape
    solution = _solve(layer)
    if solution is None:
        return None
    plan, vector = solution
    limit = scratch_limit(math.prod(layer.input_shape[1:]), vertical.outputs * horizontal.outputs * outputs)
    gathered = gathered_windows(kernel_h, kernel_w * channels, outputs, limit)
    columns = ConvColumns(
        (vertical.size, horizontal.size),
        (kernel_h, kernel_w),
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        horizontal.outputs,
        (channels, outputs),
        p.input_zero_point,
        horizontal.interior,
        gathered,
    )
    runs = 1 if gathered else kernel_h
    weight = layer.weight.reshape(outputs, runs, -1)
    constants = gemm_constants(weight, p.input_zero_point, plan, vector)
    packed = np.concatenate([np.array(columns.numbers, np.int32), constants])
    product = product_function(gemm_of(runs, weight.shape[2], outputs, vector.steps))
    if columns.pointwise:
        whole = [pointwise_function(product)]
    else:
        whole = list(columns_functions(product, gathered=gathered > 0))
    functions = [product, *whole, row_function(whole[-1], kernel_h)]

    b = KernelBuilder("row")
    data = b.input("data", math.prod(layer.input_shape[1:]), "int8")
    out = b.output(horizontal.outputs * outputs, "int8")
    constant = b.constant("packed", packed)
    work = address(b.scratch("work", columns.scratch_bytes, "uint8"), 0) if columns.scratch_bytes else address(data, 0)
    b.call(
        functions[-1].name,
        address(data, 0),
        address(out, 0),
        address(constant, 0),
        work,
        b.y,
        b.ring_length(0),
        horizontal.outputs,
    )
    return b.finish(layer.name, macs=layer.macs, c_functions=functions)


def _solve(layer: ConvLayer) -> tuple[LayerRequantization, VectorRequantization] | None:
    """Constants, in both forms."""
    p = layer.params
    reach = accumulator_reach(layer.weight.reshape(len(layer.weight), -1), layer.bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    single = p.rounding == "single"
    plan = solve_layer(layer.multiplier, layer.shift, layer.bias, reach, p.output_zero_point, clamp, single)
    vector = vector_requantization(plan, layer.bias, reach) if plan else None
    return (plan, vector) if plan and vector else None
