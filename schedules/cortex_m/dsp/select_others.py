"""Which micro-kernels fully connected layers and additions get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.quant import reference
from tvm_tiny.quant.params import AddParams, DenseParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.schedules.cortex_m.dsp.add import add_function, solve_add
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.dense import BLOCK, Dense, dense_function
from tvm_tiny.schedules.cortex_m.dsp.fill import LARGEST_OFFSET, Window, fixed_fill_function
from tvm_tiny.schedules.cortex_m.dsp.limits import scratch_limit
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach, gemm_stream
from tvm_tiny.schedules.cortex_m.dsp.requantization import solve_layer
from tvm_tiny.schedules.cortex_m.rule import is_constant, shape_of, size_of

_LONGEST = 1 << 15
"""Inputs of a fully connected layer: twice as many bytes are an immediate of 16 bits."""


def dsp_dense(
    p: DenseParams,
    rows: int,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    choose: Chooser,
) -> Kernel | None:
    """A fully connected layer, row by row.

    Choice: ``prepared`` (whether the input is made into words first).
    """
    outputs, length = weight.shape
    size = rows, length, outputs
    if not choose.forced and not cost.worth_dense(*size, "dense", cost.dense_terms(*size)):
        return None
    reach = accumulator_reach(weight, bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    plan = solve_layer(multiplier, shift, bias, reach, p.output_zero_point, clamp, p.rounding == "single")
    stream = gemm_stream(weight, p.input_zero_point, plan, BLOCK, plan.uniform) if plan and length < _LONGEST else None
    if plan is None or stream is None:
        return None
    limits = (plan.shift, plan.low, plan.high, plan.zero_based, plan.form == "signed", plan.addend)
    layer = Dense(length, outputs, True, *limits, uniform=plan.uniform)
    # Preparing pays when several blocks of outputs read it.
    fits = layer.scratch_bytes <= scratch_limit(rows * length, rows * outputs) and length <= LARGEST_OFFSET
    layer = replace(layer, prepared=choose.pick("prepared", (1, 0) if fits else (0,), int(fits)) == 1)
    product = c_function("dense", partial(dense_function, layer=layer))
    functions = [product]
    if layer.prepared:
        fill = c_function("fill1", partial(fixed_fill_function, window=Window(1, 1, length, 0)))
        functions = [fill, product, _prepare_and_multiply(fill, product)]

    b = KernelBuilder("tensor")
    data = b.input("data", rows * length, "int8")
    out = b.output(rows * outputs, "int8")
    packed = address(b.constant("packed", stream), 0)
    work = address(b.scratch("work", layer.scratch_bytes, "uint8"), 0) if layer.prepared else None
    with b.loop(rows, "row") as row:
        x, y = address(data, row * length), address(out, row * outputs)
        if layer.prepared:
            b.call(functions[-1].name, x, y, packed, work)
        else:
            b.call(product.name, packed, x, y)
    return b.finish(f"qdense_{length}x{outputs}", macs=rows * length * outputs, c_functions=functions)


def _prepare_and_multiply(fill: CFunction, product: CFunction) -> CFunction:
    parameters = "const int8_t* x, int8_t* out, const int8_t* stream, uint8_t* scratch"
    return c_function(
        "dense_prepared",
        lambda name: (
            f"""static void {name}({parameters}) {{
    const int8_t* rows[1];
    rows[0] = x;
    {fill.name}(rows, (uint32_t*)scratch, 0, NULL);
    {product.name}(stream, scratch, out);
}}
"""
        ),
    )


def dsp_add(name: str, p: AddParams, args: Sequence[Any], out_shape: tuple[int, ...]) -> Kernel | None:
    """Sum or difference of two activations of one shape."""
    if any(is_constant(a) or shape_of(a) != out_shape for a in args):
        return None
    form = solve_add(*add_table(name, p), p.clamp_min, p.clamp_max)
    if form is None:
        return None
    function = c_function("add", partial(add_function, shift=form.shift, low=form.low, high=form.high))
    factors = np.array([form.factor_a, form.factor_b, form.addend], np.int32)
    by_rows = len(out_shape) == 4
    if not by_rows:
        b = KernelBuilder("tensor")
        data, out = (
            [b.input(f"data_{i}", size_of(out_shape), "int8") for i in range(2)],
            b.output(size_of(out_shape), "int8"),
        )
        constants = address(b.constant("form", factors), 0)
        b.call(function.name, *(address(each, 0) for each in (*data, out)), size_of(out_shape), constants)
        return b.finish(name, in_place_inputs=(0, 1), c_functions=[function])
    width, channels = out_shape[2:]

    def write(b: KernelBuilder) -> Kernel:
        data = [b.input(f"data_{i}", size_of(out_shape[1:]), "int8") for i in range(2)]
        out = b.output(width * channels, "int8")
        constants = address(b.constant("form", factors), 0)
        x0, x1 = b.columns(width)
        inputs = [address(each, b.row_offset(i, b.y, width * channels) + x0 * channels) for i, each in enumerate(data)]
        b.call(function.name, *inputs, address(out, x0 * channels), (x1 - x0) * channels, constants)
        return b.finish(name, in_place_inputs=(0, 1), c_functions=[function])

    return with_segment(write)


def add_table(name: str, p: AddParams) -> tuple[NDArray[np.int8], float, float]:
    """The operator's output for every pair, int8 [256, 256], and the scales of its inputs in units of the output's."""
    values = np.arange(-128, 128).astype(np.int8)
    table = reference.run(name, p, values[:, None], values[None, :])
    common = p.output_multiplier * 2.0 ** (p.output_shift - 31 + p.left_shift)
    scale_a = common * p.a_multiplier * 2.0 ** (p.a_shift - 31)
    return table, scale_a, common * p.b_multiplier * 2.0 ** (p.b_shift - 31) * (-1 if name == "qsub" else 1)
