"""Which vector kernels fully connected layers get."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import Kernel
from tvm_tiny.quant.params import DenseParams
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.packing import accumulator_reach
from tvm_tiny.schedules.cortex_m.dsp.requantization import solve_layer
from tvm_tiny.schedules.cortex_m.mve.gemm import gemm_constants, gemm_of, product_function
from tvm_tiny.schedules.cortex_m.mve.requantization import vector_requantization


def mve_dense(
    p: DenseParams,
    rows: int,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
) -> Kernel | None:
    """A fully connected layer: rows are pixels."""
    outputs, length = weight.shape
    reach = accumulator_reach(weight, bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    plan = solve_layer(multiplier, shift, bias, reach, p.output_zero_point, clamp, p.rounding == "single")
    vector = vector_requantization(plan, bias, reach) if plan else None
    if plan is None or vector is None:
        return None
    product = product_function(gemm_of(1, length, outputs, vector.steps))
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
    packed = b.constant("packed", gemm_constants(weight[:, None], p.input_zero_point, plan, vector))
    buffers = [address(each, 0) for each in (data, out, packed)]
    b.call(dense.name, *buffers, length, rows)
    return b.finish(f"qdense_{length}x{outputs}", macs=rows * length * outputs, c_functions=[product, dense])
