"""Averages over a whole image, one input row per call: the image never has to be there as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, blocks, widen
from tvm_tiny.targets import Cpu

CHANNELS = (4, 1)
"""Sums in registers at a time."""

WORDS = (16, 4)
"""The same of cores that add four bytes of a word in two instructions, with two sums in a register."""

LONGEST_WORDS = 255
"""Values that a sum of 16 bits holds for certain."""

UNROLLED = 8
"""Pixels of a row up to which they are written out."""

SMALLEST = 16
"""Pixels from which on an image is so much larger than its sums (4 bytes a channel) that they pay."""


def worthwhile(shape: tuple[int, ...]) -> bool:
    """Whether an image [N, H, W, C] is summed up row by row."""
    return shape[0] == 1 and shape[1] > 1 and shape[1] * shape[2] >= SMALLEST


def sum_rows(name: str, shape: tuple[int, ...], start: int, finish: Callable[[Any], Any], cpu: Cpu) -> Kernel:
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
    by_words = cpu.has_dsp and channels % 4 == 0 and width <= LONGEST_WORDS
    for first, repeat, lanes in blocks(channels, WORDS if by_words else CHANNELS):
        with b.loop(repeat, "block") as block:
            (_add_words if by_words else _add)(b, data, sums, base, first + block * lanes, lanes, width, channels)
    with b.when(b.y == height - 1), b.loop(channels, "c") as c:
        b.store(out, c, finish(sums[c]))
    return b.finish(name)


def _add(
    b: KernelBuilder, data: Any, sums: Any, base: Any, channel: Any, lanes: int, width: int, channels: int
) -> None:
    acc = b.local("acc", lanes)
    for j in range(lanes):
        b.store(acc, j, sums[channel + j])
    with b.loop(width, "x") as x:
        for j in range(lanes):
            b.store(acc, j, acc[j] + widen(data, base + x * channels + channel + j))
    for j in range(lanes):
        b.store(sums, channel + j, acc[j])


def _add_words(
    b: KernelBuilder, data: Any, sums: Any, base: Any, channel: Any, lanes: int, width: int, channels: int
) -> None:
    pairs = b.local("pairs", lanes // 2)
    for j in range(lanes // 2):
        b.store(pairs, j, 0)
    with b.loop(width, "x", unroll=width <= UNROLLED) as x:
        for j in range(0, lanes, 4):
            b.call("tinyml_add_word", address(pairs, j // 2), address(data, base + x * channels + channel + j))
    for j in range(0, lanes, 4):
        b.call("tinyml_add_pairs", address(sums, channel + j), address(pairs, j // 2))
