"""A 1x1 convolution in parts: products of some input channels added to int32 sums, and the sums requantized."""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import RequantizeParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, blocks, value, with_segment
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.packing import pack_runs
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, is_constant, shape_of, size_of, values_of
from tvm_tiny.targets import Cpu

CHANNELS = (4, 2, 1)
"""Output channels per block. One pixel at a time: sums are read and written in ascending order, hence in place."""


class Accumulate(CortexMScheduleRule):
    """Sums that are a constant are the bias: the first part starts from there and reads no sums."""

    operators = ("qconv2d_accumulate",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        return with_segment(partial(_write, call))


class RequantizeSums(CortexMScheduleRule):
    """Without the bound of the sums, which only their weights tell, the general form of requantization."""

    operators = ("requantize",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: RequantizeParams = params_of(call)
        # Clamping before the zero point is added cannot overflow.
        low, high = p.clamp_min - p.output_zero_point, p.clamp_max - p.output_zero_point

        def finish(acc: Any, multiplier: Any, shift: Any) -> Any:
            scaled = value(f"tinyml_requantize_{p.rounding}", acc, multiplier, shift)
            return value("tinyml_clamp", scaled, low, high) + p.output_zero_point

        return elementwise("requantize", call.args, shape_of(call), "int8", lambda _: finish)


def _write(call: relax.Call, b: KernelBuilder) -> Kernel:
    data_shape, out_shape = shape_of(call.args[0]), shape_of(call)
    width, channels, outputs = out_shape[2], data_shape[3], out_shape[3]
    weight = values_of(call.args[1])
    starts = is_constant(call.args[2])

    data = b.input("data", size_of(data_shape[1:]), "int8")
    sums: Any = None if starts else b.input("sums", size_of(out_shape[1:]), "int32")
    out = b.output(width * outputs, "int32")
    weights = b.constant("weight", pack_runs(weight.reshape(outputs, 1, channels), CHANNELS))
    before = b.constant("bias", values_of(call.args[2])) if starts else sums
    x_row = b.bind("data_at", b.row_offset(0, b.y, width * channels))
    sum_row = 0 if starts else b.bind("sums_at", b.row_offset(1, b.y, width * outputs))

    first, behind = b.columns(width)
    with b.loop(behind - first, "x") as x:
        pixel = first + x
        base = 0 if starts else sum_row + pixel * outputs
        for start, repeat, size in blocks(outputs, CHANNELS):
            with b.loop(repeat, "block") as block:
                channel = start + block * size
                acc = b.local("acc", size)
                for j in range(size):
                    b.store(acc, j, before[base + channel + j])
                x_at, w_at = address(data, x_row + pixel * channels), address(weights, channel * channels)
                b.call(f"tinyml_mac_1x{size}", address(acc, 0), x_at, w_at, channels, 0)
                for j in range(size):
                    b.store(out, pixel * outputs + channel + j, acc[j])
    macs = size_of(out_shape) * channels
    return b.finish("qconv2d_accumulate", in_place_inputs=() if starts else (1,), macs=macs)
