"""Which vector kernels fully connected layers and additions get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import Kernel
from tvm_tiny.quant.params import AddParams, DenseParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.dsp.requantization import solve_layer
from tvm_tiny.schedules.cortex_m.dsp.select_others import add_table
from tvm_tiny.schedules.cortex_m.mve.add import solve_vector_add, vector_add_function
from tvm_tiny.schedules.cortex_m.mve.cost import dense_terms
from tvm_tiny.schedules.cortex_m.mve.gemm import gemm_constants, gemm_of, product_function
from tvm_tiny.schedules.cortex_m.mve.requantization import vector_requantization
from tvm_tiny.schedules.cortex_m.rule import is_constant, shape_of, size_of


def mve_dense(
    p: DenseParams,
    rows: int,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    choose: Chooser,
) -> Kernel | None:
    """A fully connected layer: rows are pixels."""
    outputs, length = weight.shape
    size = rows, length, outputs
    compact = choose.optimize == "size"
    if not choose.forced and not compact and not cost.worth_dense(*size, "vector_dense", dense_terms(*size)):
        return None
    reach = accumulator_reach(weight, bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    plan = solve_layer(multiplier, shift, bias, reach, p.output_zero_point, clamp, p.rounding == "single")
    vector = vector_requantization(plan, bias, reach) if plan else None
    if plan is None or vector is None:
        return None
    gemm = gemm_of(1, length, outputs, vector.steps, compact=compact)
    product = product_function(gemm)
    dense = c_function(
        "mve_dense",
        lambda name: (
            f"""static void {name}(const int8_t* x, int8_t* out, const int32_t* packed, int32_t length, int32_t rows) {{
    tinyml_run run;
    run.at = x;
    run.step = length;
    {product.name}(packed, &run, out, rows);
}}
"""
        ),
    )
    b = KernelBuilder("tensor")
    data = b.input("data", rows * length, "int8")
    out = b.output(rows * outputs, "int8")
    packed = b.constant("packed", gemm_constants(weight[:, None], p.input_zero_point, plan, vector, gemm))
    buffers = [address(each, 0) for each in (data, out, packed)]
    b.call(dense.name, *buffers, length, rows)
    return b.finish(f"qdense_{length}x{outputs}", macs=rows * length * outputs, c_functions=[product, dense])


def mve_add(name: str, p: AddParams, args: Sequence[Any], out_shape: tuple[int, ...]) -> Kernel | None:
    """Sum or difference of two activations of one shape."""
    if any(is_constant(a) or shape_of(a) != out_shape for a in args):
        return None
    form = solve_vector_add(*add_table(name, p), p.clamp_min, p.clamp_max)
    if form is None:
        return None
    function = vector_add_function(form.steps)
    by_rows = len(out_shape) == 4
    size = size_of(out_shape[1:] if by_rows else out_shape)
    width, channels = out_shape[2:] if by_rows else (size, 1)

    def write(b: KernelBuilder) -> Kernel:
        data = [b.input(f"data_{i}", size, "int8") for i in range(2)]
        out = b.output(width * channels, "int8")
        numbers = b.constant("numbers", np.array(form.numbers, np.int32))
        x0, x1 = b.columns(width)
        rows = [b.row_offset(i, b.y, width * channels) if by_rows else 0 for i in range(2)]
        inputs = [address(each, row + x0 * channels) for each, row in zip(data, rows, strict=True)]
        to = address(out, x0 * channels)
        b.call(function.name, *inputs, to, (x1 - x0) * channels, address(numbers, 0))
        return b.finish(name, in_place_inputs=(0, 1), c_functions=[function])

    return with_segment(write) if by_rows else write(KernelBuilder("tensor"))
