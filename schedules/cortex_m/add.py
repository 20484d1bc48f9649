"""Addition and subtraction of tensors with different scales."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import Kernel, op_name, params_of
from tvm_tiny.quant.params import AddParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, with_general_segment
from tvm_tiny.schedules.cortex_m.dsp import dsp_add
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.mve import mve_add
from tvm_tiny.schedules.cortex_m.requantize import Requantizer, rescale
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.targets import Cpu


class Add(CortexMScheduleRule):
    """Three requantizations an element; multipliers are numbers in the code."""

    operators = ("qadd", "qsub")

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: AddParams = params_of(call)
        name = op_name(call)

        def prepare(_: KernelBuilder) -> Any:
            return lambda a, b: _sum(p, a, b, subtract=name == "qsub")

        def general() -> Kernel:
            return elementwise(name, call.args, shape_of(call), "int8", prepare)

        micro_kernel = mve_add(name, p, call.args, shape_of(call)) if cpu.has_mve else None
        if micro_kernel is None and cpu.has_dsp:
            micro_kernel = dsp_add(name, p, call.args, shape_of(call))
        return general() if micro_kernel is None else with_general_segment(micro_kernel, general)


def _sum(p: AddParams, a: Any, b: Any, *, subtract: bool) -> Any:
    a_scaled, a_bound = _common_scale(p, a, p.a_zero_point, p.a_multiplier, p.a_shift)
    b_scaled, b_bound = _common_scale(p, b, p.b_zero_point, p.b_multiplier, p.b_shift)
    total = a_scaled - b_scaled if subtract else a_scaled + b_scaled
    multiplier, shift = np.array([p.output_multiplier], np.int32), np.array([p.output_shift], np.int32)
    clamp = (p.output_zero_point, p.clamp_min, p.clamp_max, p.rounding)
    return Requantizer(multiplier, shift, a_bound + b_bound, *clamp).scalar(total)


def _common_scale(p: AddParams, x: Any, zero_point: int, multiplier: int, shift: int) -> tuple[Any, int]:
    bound = max(127 - zero_point, 128 + zero_point) << p.left_shift
    return rescale((x.astype("int32") - zero_point) * (1 << p.left_shift), multiplier, shift, bound, p.rounding)
