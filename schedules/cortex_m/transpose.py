"""Images stored plane by plane (NCHW) to images stored pixel by pixel (NHWC) and back, one row per call."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tvm import relax

from tvm_tiny.ops import Kernel, op_name
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, blocks, with_segment
from tvm_tiny.schedules.cortex_m.mve.spread import FARTHEST, spread_function
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, dtype_of, shape_of
from tvm_tiny.targets import Cpu

TO_PIXELS = (0, 2, 3, 1)
TO_PLANES = (0, 3, 1, 2)

CHANNELS = (4, 1)
"""Elements of a pixel that are moved in one turn of a loop."""


def turns_planes(call: relax.Call) -> bool:
    """Whether a call turns one layout of an image of one batch into the other."""
    return op_name(call) == "permute_dims" and shape_of(call.args[0])[0] == 1 and _axes(call) in (TO_PIXELS, TO_PLANES)


class Transpose(CortexMScheduleRule):
    """Where the planar image's rows lie is fixed: plane by plane, each one row after the other.

    In a streamed image a row is there with all its planes, one after the other, and lies in a ring.
    """

    operators = ()

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        to_pixels = _axes(call) == TO_PIXELS
        image = shape_of(call if to_pixels else call.args[0])
        dtype = dtype_of(call)
        vectors = cpu.has_mve and to_pixels and dtype == "int8" and image[3] <= FARTHEST
        write = partial(_spread, image) if vectors else partial(_write, image, dtype, to_pixels)
        kernel = with_segment(partial(write, False))
        streamed = with_segment(partial(write, True)) if to_pixels else None
        return replace(kernel, streamed=streamed)


def _axes(call: relax.Call) -> tuple[int, ...]:
    rank = len(shape_of(call.args[0]))
    axes = call.attrs.axes
    return tuple(int(a) % rank for a in axes) if axes is not None else tuple(range(rank))[::-1]


def _write(image: tuple[int, ...], dtype: str, to_pixels: bool, by_rows: bool, b: KernelBuilder) -> Kernel:
    """``image`` is the shape in NHWC; ``by_rows``: the input's rows come one by one."""
    _, height, width, channels = image
    data = b.input("data", height * width * channels, dtype)
    out = b.output(width * channels if to_pixels else height * width * channels, dtype)
    # The output's pointer is that of the row, in the first plane.
    resident = to_pixels and not by_rows
    row = b.bind("row", b.y * width if resident else b.row_offset(0, b.y, width * channels))
    plane_size = width if by_rows else height * width
    first, behind = b.columns(width)
    with b.loop(behind - first, "column") as column:
        x = first + column
        for start, repeat, lanes in blocks(channels, CHANNELS):
            with b.loop(repeat, "block") as block:
                for j in range(lanes):
                    c = start + block * lanes + j
                    pixel, plane = x * channels + c, c * plane_size + x
                    b.store(out, pixel if to_pixels else plane, _element(data, row, plane if to_pixels else pixel))
    return b.finish(("to_pixels_of_rows" if by_rows else "to_pixels") if to_pixels else "to_planes")


def _spread(image: tuple[int, ...], by_rows: bool, b: KernelBuilder) -> Kernel:
    """``_write`` to pixels, plane by plane."""
    _, height, width, channels = image
    data = b.input("data", height * width * channels, "int8")
    out = b.output(width * channels, "int8")
    row = b.row_offset(0, b.y, width * channels) if by_rows else b.bind("row", b.y * width)
    first, behind = b.columns(width)
    spread = spread_function()
    with b.loop(channels, "c") as c:
        plane = row + c * (width if by_rows else height * width)
        b.call(spread.name, address(data, plane + first), address(out, first * channels + c), behind - first, channels)
    return b.finish("to_pixels_of_rows" if by_rows else "to_pixels", c_functions=[spread])


def _element(data: Any, row: Any, index: Any) -> Any:
    return data[row + index]
