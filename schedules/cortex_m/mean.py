"""Mean over any axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import MeanParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, blocks, widen
from tvm_tiny.schedules.cortex_m.requantize import Requantizer
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of, size_of
from tvm_tiny.schedules.cortex_m.sum_rows import sum_rows, worthwhile
from tvm_tiny.targets import Cpu

CHANNELS = (4, 1)
"""Sums at a time along a last axis that is kept."""


class Mean(CortexMScheduleRule):
    """Sums in registers; the zero point is taken off once."""

    operators = ("qmean",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: MeanParams = params_of(call)
        shape = shape_of(call.args[0])
        count = size_of(tuple(shape[axis] for axis in p.axes))
        requantizer = Requantizer(
            np.array([p.multiplier], np.int32),
            np.array([p.shift], np.int32),
            count * max(127 - p.input_zero_point, 128 + p.input_zero_point),
            p.output_zero_point,
            -128,
            127,
            p.rounding,
        )
        kept = [axis for axis in range(len(shape)) if axis not in p.axes]
        # A last axis that is kept is walked in blocks; otherwise there is one sum at a time.
        lanes = shape[-1] if kept and kept[-1] == len(shape) - 1 else 1
        outer = [axis for axis in kept if axis != len(shape) - 1]

        if len(shape) == 4 and tuple(p.axes) == (1, 2) and worthwhile(shape):
            return sum_rows("qmean_rows", shape, -p.input_zero_point * count, requantizer.scalar, cpu)

        b = KernelBuilder("tensor")
        data = b.input("data", size_of(shape), "int8")
        out = b.output(size_of(tuple(shape[axis] for axis in kept)), "int8")
        for start, repeat, width in blocks(lanes, CHANNELS):
            with _loops(b, shape, outer) as (base, position), b.loop(repeat, "block") as block:
                lane = start + block * width
                acc = b.local("acc", width)
                for j in range(width):
                    b.store(acc, j, -p.input_zero_point * count)
                with _loops(b, shape, p.axes) as (inside, _):
                    for j in range(width):
                        b.store(acc, j, acc[j] + widen(data, base + inside + lane + j))
                for j in range(width):
                    b.store(out, position * lanes + lane + j, requantizer.scalar(acc[j]))
        return b.finish("qmean")


@contextmanager
def _loops(b: KernelBuilder, shape: tuple[int, ...], axes: Sequence[int]) -> Iterator[tuple[Any, Any]]:
    """Loop over ``axes`` of a tensor of ``shape``; gives (offset in it, number of the iteration)."""
    with ExitStack() as stack:
        offset: Any = 0
        position: Any = 0
        for axis in axes:
            i = stack.enter_context(b.loop(shape[axis], f"axis{axis}"))
            offset = offset + i * size_of(shape[axis + 1 :])
            position = position * shape[axis] + i
        yield offset, position
