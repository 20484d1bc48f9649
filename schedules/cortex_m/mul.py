"""Product of two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import MulParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.requantize import Requantizer
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.targets import Cpu


class Mul(CortexMScheduleRule):
    """One requantization an element."""

    operators = ("qmul",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: MulParams = params_of(call)
        reach = [max(127 - z, 128 + z) for z in (p.a_zero_point, p.b_zero_point)]
        requantizer = Requantizer(
            np.array([p.multiplier], np.int32),
            np.array([p.shift], np.int32),
            reach[0] * reach[1],
            p.output_zero_point,
            p.clamp_min,
            p.clamp_max,
            p.rounding,
        )

        def product(a: Any, b: Any) -> Any:
            return requantizer.scalar((a.astype("int32") - p.a_zero_point) * (b.astype("int32") - p.b_zero_point))

        def prepare(_: KernelBuilder) -> Any:
            return product

        return elementwise("qmul", call.args, shape_of(call), "int8", prepare)
