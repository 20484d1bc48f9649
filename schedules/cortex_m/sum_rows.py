"""Averages over a whole image, one input row per call: the image never has to be there as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, blocks, widen

CHANNELS = (4, 1)
"""Sums in registers at a time."""

SMALLEST = 16
"""Pixels from which on an image is so much larger than its sums (4 bytes a channel) that they pay."""


def worthwhile(shape: tuple[int, ...]) -> bool:
    """Whether an image [N, H, W, C] is summed up row by row."""
    return shape[0] == 1 and shape[1] > 1 and shape[1] * shape[2] >= SMALLEST


def sum_rows(name: str, shape: tuple[int, ...], start: int, finish: Callable[[Any], Any]) -> Kernel:
    """A kernel of granularity "sum" over the rows and columns of an int8 image.

    Parameters
    ----------
    shape : [1, H, W, C]
    start : what a channel's sum begins with
    finish : gives the int8 result (as int32) for a channel's sum
    """
    _, height, width, channels = shape
    b = KernelBuilder("sum")
    data = b.input("data", height * width * channels, "int8")
    out = b.output(channels, "int8")
    sums = b.scratch("sums", channels, "int32")
    base = b.bind("base", b.slot(0, b.y) * (width * channels))
    with b.when(b.y == 0), b.loop(channels, "c") as c:
        b.store(sums, c, start)
    for first, repeat, lanes in blocks(channels, CHANNELS):
        with b.loop(repeat, "block") as block:
            channel = first + block * lanes
            acc = b.local("acc", lanes)
            for j in range(lanes):
                b.store(acc, j, sums[channel + j])
            with b.loop(width, "x") as x:
                for j in range(lanes):
                    b.store(acc, j, acc[j] + widen(data, base + x * channels + channel + j))
            for j in range(lanes):
                b.store(sums, channel + j, acc[j])
    with b.when(b.y == height - 1), b.loop(channels, "c") as c:
        b.store(out, c, finish(sums[c]))
    return b.finish(name)
