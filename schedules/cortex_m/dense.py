"""Fully connected layer: four outputs at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import DenseParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, blocks
from tvm_tiny.schedules.cortex_m.dsp import dsp_dense
from tvm_tiny.schedules.cortex_m.mve import mve_dense
from tvm_tiny.schedules.cortex_m.packing import accumulator_bound, fold_zero_point, pack_runs
from tvm_tiny.schedules.cortex_m.requantize import Requantizer
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of, values_of
from tvm_tiny.targets import Cpu

CHANNELS = (4, 2, 1)
"""Outputs per block: there is one row of activations as a rule, so all reuse is across outputs."""


class Dense(CortexMScheduleRule):
    """Rows of the input one after another; the zero point is folded into the bias."""

    operators = ("qdense",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: DenseParams = params_of(call)
        weight, bias, multiplier, shift = (values_of(a) for a in call.args[1:])
        rows = shape_of(call.args[0])[0]
        makers: dict[str, Callable[[], Kernel | None]] = {}
        for possible, name, make in ((cpu.has_mve, "mve", mve_dense), (cpu.has_dsp, "dsp", dsp_dense)):
            if possible:
                makers[name] = partial(make, p, rows, weight, bias, multiplier, shift, choose)
        makers["general"] = partial(_general, p, rows, weight, bias, multiplier, shift)
        return choose.first(makers)


def _general(
    p: DenseParams,
    rows: int,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
) -> Kernel:
    outputs, length = weight.shape
    bound = accumulator_bound(bias, weight, p.input_zero_point)
    requantizer = Requantizer(multiplier, shift, bound, p.output_zero_point, p.clamp_min, p.clamp_max, p.rounding)

    b = KernelBuilder("tensor")
    data = b.input("data", rows * length, "int8")
    out = b.output(rows * outputs, "int8")
    weights = b.constant("weight", pack_runs(weight.reshape(outputs, 1, length), CHANNELS))
    biases = b.constant("bias", fold_zero_point(bias, weight, p.input_zero_point))
    finish = requantizer.declare(b)
    with b.loop(rows, "row") as row:
        for start, repeat, width in blocks(outputs, CHANNELS):
            with b.loop(repeat, "block") as block:
                channel = start + block * width
                acc = b.local("acc", width)
                for j in range(width):
                    b.store(acc, j, biases[channel + j])
                x, w = address(data, row * length), address(weights, channel * length)
                b.call(f"tinyml_mac_1x{width}", address(acc, 0), x, w, length, 0)
                for j in range(width):
                    b.store(out, row * outputs + channel + j, finish(acc[j], channel + j))
    return b.finish(f"qdense_{length}x{outputs}", macs=rows * length * outputs)
