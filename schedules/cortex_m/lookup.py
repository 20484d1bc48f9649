"""Any function of one byte, from a table."""

from __future__ import annotations

from typing import Any

from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import LookupParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, dtype_of, shape_of, values_of
from tvm_tiny.targets import Cpu


class Lookup(CortexMScheduleRule):
    """int8 values index the table from its middle."""

    operators = ("lookup",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: LookupParams = params_of(call)
        data, table_values = call.args
        middle = 128 if dtype_of(data) == "int8" else 0

        def prepare(b: KernelBuilder) -> Any:
            table = b.constant("table", values_of(table_values))
            return lambda x: table[x.astype("int32") + middle]

        return elementwise("lookup", [data], shape_of(call), p.out_dtype, prepare)
