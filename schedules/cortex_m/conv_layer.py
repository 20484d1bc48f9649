"""A convolution as its schedules see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops.registry import window_output
from tvm_tiny.quant.params import Conv2DParams
from tvm_tiny.schedules.cortex_m.packing import accumulator_bound
from tvm_tiny.schedules.cortex_m.requantize import Requantizer
from tvm_tiny.schedules.cortex_m.window import Axis


@dataclass(frozen=True)
class ConvLayer:
    """A convolution's numbers; ``weight`` is int8 [O, KH, KW, C / groups], ``input_shape`` is NHWC."""

    name: str
    params: Conv2DParams
    input_shape: tuple[int, ...]
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Vertical and horizontal axis."""
        return window_axes(self.params, self.input_shape, self.weight.shape[1:3])

    @property
    def requantizer(self) -> Requantizer:
        p = self.params
        bound = accumulator_bound(self.bias, self.weight, p.input_zero_point)
        return Requantizer(
            self.multiplier, self.shift, bound, p.output_zero_point, p.clamp_min, p.clamp_max, p.rounding
        )

    @property
    def macs(self) -> int:
        vertical, horizontal = self.axes
        return self.input_shape[0] * vertical.outputs * horizontal.outputs * int(self.weight.size)


def window_axes(p: Conv2DParams, input_shape: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[Axis, Axis]:
    """Vertical and horizontal axis of a convolution over an NHWC input."""
    axes = []
    for i in range(2):
        size, before, after = input_shape[1 + i], p.padding[i], p.padding[2 + i]
        outputs = window_output(size, kernel[i], p.strides[i], p.dilation[i], before, after)
        axes.append(Axis(size, outputs, kernel[i], p.strides[i], p.dilation[i], before))
    return axes[0], axes[1]


def stride_suffix(strides: tuple[int, int]) -> str:
    """Part of a kernel's name: nothing for stride 1, "_s2" for 2 by 2, "_s2x1"."""
    if strides == (1, 1):
        return ""
    return f"_s{strides[0]}" if strides[0] == strides[1] else f"_s{strides[0]}x{strides[1]}"
