"""What makes two layers the same work for a kernel: operator and shapes, without the values of weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.schedules.cortex_m.conv_layer import window_axes
from tvm_tiny.schedules.cortex_m.rule import shape_of

_CONVOLUTIONS = ("qconv2d", "qdepthwise_conv2d")


@dataclass(frozen=True)
class Task:
    """A layer to find the best kernel for.

    Parameters
    ----------
    operator : as in ``ops.op_name``
    sizes : numbers that a kernel of the same code may have others of: image, channels
    form : all else that is fixed: kernel, strides, padding, clamp
    """

    operator: str
    sizes: tuple[int, ...]
    form: str

    @property
    def key(self) -> str:
        """For records: ``qconv2d 1x25x5x64x64 k1x1 s1x1 valid relu``."""
        return f"{self.operator} {'x'.join(map(str, self.sizes))} {self.form}"

    def distance(self, other: Task) -> float:
        """How far shapes are apart: sum of log2 of the ratios of sizes; infinite between other operators and forms.

        A depthwise convolution with several outputs per channel has one size more, and is another form.
        """
        if (self.operator, self.form, len(self.sizes)) != (other.operator, other.form, len(other.sizes)):
            return math.inf
        return sum(abs(math.log2(a / b)) for a, b in zip(self.sizes, other.sizes, strict=True))


def parse_task(key: str) -> Task:
    """The inverse of ``Task.key``.

    Raises
    ------
    ValueError : it is none
    """
    match = re.fullmatch(r"(q\w+) (\d+(?:x\d+)*) (\S.*)", key)
    if match is None:
        raise ValueError(f"no tuning task: {key!r}")
    return Task(match[1], tuple(map(int, match[2].split("x"))), match[3])


def task_of(call: relax.Call) -> Task | None:
    """The task of a call; None for operators whose kernels leave nothing to choose."""
    if not is_tinyml_call(call):
        return None
    name = op_name(call)
    if name == "qdense":
        params = params_of(call)
        rows, length = shape_of(call.args[0])
        return Task(name, (rows, length, shape_of(call.args[1])[0]), _clamp(params))
    if name not in _CONVOLUTIONS:
        return None
    params = params_of(call)
    shape, weight = shape_of(call.args[0]), shape_of(call.args[1])
    depthwise = name == "qdepthwise_conv2d"
    kernel = weight[:2] if depthwise else weight[1:3]
    outputs = weight[2] if depthwise else weight[0]
    (vertical, horizontal) = window_axes(params, shape, kernel)
    parts = [f"k{kernel[0]}x{kernel[1]}", f"s{params.strides[0]}x{params.strides[1]}"]
    # What lies outside the image behind the last window is no work.
    pads = [a.before > 0 for a in (vertical, horizontal)] + [
        (a.outputs - 1) * a.stride + a.dilation * (a.kernel - 1) + 1 - a.before > a.size for a in (vertical, horizontal)
    ]
    parts.append("".join(side for side, padded in zip("tlbr", pads, strict=True) if padded) or "valid")
    if params.dilation != (1, 1):
        parts.append(f"d{params.dilation[0]}x{params.dilation[1]}")
    if params.groups > 1 and not depthwise:
        parts.append(f"g{params.groups}")
    sizes = (vertical.outputs, horizontal.outputs, shape[3], *(() if depthwise and outputs == shape[3] else (outputs,)))
    return Task(name, (shape[0], *sizes), " ".join([*parts, _clamp(params)]))


def _clamp(params: object) -> str:
    """Which ends of int8 the activation cuts: kernels have shorter code where it starts at the zero point."""
    zero, low, high = (getattr(params, n) for n in ("output_zero_point", "clamp_min", "clamp_max"))
    return "relu" if max(low, -128) == zero else "linear" if (low, high) == (-128, 127) else "clamp"
