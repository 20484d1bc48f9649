"""Softmax over the last axis."""

from __future__ import annotations

from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import SoftmaxParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of, size_of
from tvm_tiny.targets import Cpu


class Softmax(CortexMScheduleRule):
    """A helper does one vector: it is small beside the layers before it."""

    operators = ("qsoftmax",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: SoftmaxParams = params_of(call)
        shape = shape_of(call.args[0])
        length = shape[-1]
        b = KernelBuilder("tensor")
        data = b.input("data", size_of(shape), "int8")
        out = b.output(size_of(shape), "int8")
        with b.loop(size_of(shape[:-1]), "row") as row:
            x, to = address(data, row * length), address(out, row * length)
            b.call("tinyml_softmax", x, to, length, p.input_multiplier, p.input_left_shift, p.diff_min)
        return b.finish(f"qsoftmax_{length}", in_place_inputs=(0,))
