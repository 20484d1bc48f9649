"""Images stored plane by plane (NCHW) to images stored pixel by pixel (NHWC) and back, one row per call."""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import relax

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, blocks, with_segment
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, dtype_of, shape_of
from tvm_tiny.targets import Cpu

TO_PIXELS = (0, 2, 3, 1)
TO_PLANES = (0, 3, 1, 2)

CHANNELS = (4, 1)
"""Elements of a pixel that are moved in one turn of a loop."""


def planar_axes(call: relax.Call) -> tuple[int, ...] | None:
    """``TO_PIXELS`` or ``TO_PLANES`` where a call turns one layout of an image of one batch into the other."""
    shape = shape_of(call.args[0])
    axes = tuple(int(a) % len(shape) for a in call.attrs.axes or reversed(range(len(shape))))
    return axes if axes in (TO_PIXELS, TO_PLANES) and shape[0] == 1 else None


class Transpose(CortexMScheduleRule):
    """Where the planar image's rows lie is fixed: plane by plane, each one row after the other."""

    operators = ()

    def apply(self, call: relax.Call, cpu: Cpu) -> Kernel:
        axes = planar_axes(call)
        assert axes is not None
        image = shape_of(call if axes == TO_PIXELS else call.args[0])
        return with_segment(partial(_write, image, dtype_of(call), axes == TO_PIXELS))


def _write(image: tuple[int, ...], dtype: str, to_pixels: bool, b: KernelBuilder) -> Kernel:
    """``image`` is the shape in NHWC."""
    _, height, width, channels = image
    data = b.input("data", height * width * channels, dtype)
    out = b.output(width * channels if to_pixels else height * width * channels, dtype)
    # The output's pointer is that of the row, in the first plane.
    row = b.bind("row", b.y * width if to_pixels else b.row_offset(0, b.y, width * channels))
    first, behind = b.columns(width)
    with b.loop(behind - first, "x", start=first) as x:
        for start, repeat, lanes in blocks(channels, CHANNELS):
            with b.loop(repeat, "block") as block:
                for j in range(lanes):
                    c = start + block * lanes + j
                    pixel, plane = x * channels + c, c * (height * width) + x
                    b.store(out, pixel if to_pixels else plane, _element(data, row, plane if to_pixels else pixel))
    return b.finish("to_pixels" if to_pixels else "to_planes")


def _element(data: Any, row: Any, index: Any) -> Any:
    return data[row + index]
