"""Where a sliding window lies in an image: which taps are inside, for which outputs that needs no asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, at_least, at_most, widen


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window.

    size, outputs : positions of the image, of the output
    kernel, stride, dilation, before : taps, steps between outputs and between taps, padding in front
    """

    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    before: int

    @property
    def interior(self) -> tuple[int, int]:
        """Outputs start .. stop - 1 have all taps inside the image."""
        start = min(-(-self.before // self.stride), self.outputs)
        last_origin = self.size - 1 - (self.kernel - 1) * self.dilation
        stop = min((last_origin + self.before) // self.stride + 1, self.outputs)
        return start, max(start, stop)

    @property
    def has_border(self) -> bool:
        return self.interior != (0, self.outputs)

    def origin(self, output: Any) -> Any:
        """Position of the first tap; negative in the padding."""
        return output * self.stride - self.before

    def taps(self, output: Any) -> tuple[Any, Any]:
        """Taps first .. first + count - 1 of ``output`` are inside the image; count may be negative."""
        if not self.has_border:
            return 0, self.kernel
        origin, gap = self.origin(output), self.dilation
        # Truncation instead of floor is right: where the numerator is negative, the other side of max or min is taken.
        first = at_least(0, _quotient(gap - 1 - origin, gap))
        if self.before > (self.kernel - 1) * gap:
            first = at_most(self.kernel, first)
        return first, at_most(self.kernel, _quotient(self.size - origin + gap - 1, gap)) - first


def skip(index: Any, start: int, stop: int, size: int) -> Any:
    """Number ``index`` of those of ``range(size)`` that are not in ``range(start, stop)``."""
    if start == stop or stop == size:
        return index
    if isinstance(index, int):
        return index if index < start else index + stop - start
    return index + stop if start == 0 else tirx.Select(index < start, index, index + (stop - start))


class Rows:
    """The input rows under the window of output row ``y``.

    Parameters
    ----------
    vertical : the axis
    row_elements : elements of an input row
    index : which input of the kernel

    Attributes
    ----------
    offsets : array of what ``offset`` gives
    """

    def __init__(self, builder: KernelBuilder, vertical: Axis, row_elements: int, index: int = 0) -> None:
        self.first, self.count = vertical.taps(builder.y)
        self.first = builder.bind("first_row", self.first)
        self.count = builder.bind("row_count", self.count)
        self.offsets = builder.local("row_at", vertical.kernel)
        with builder.loop(vertical.kernel, "tap") as tap:
            row = vertical.origin(builder.y) + tap * vertical.dilation
            row = at_least(0, row) if vertical.before else row
            builder.store(self.offsets, tap, builder.row_offset(index, row, row_elements))

    def offset(self, tap: Any) -> Any:
        """Offset of the row under vertical tap ``tap`` in the input buffer."""
        return widen(self.offsets, tap)


def row_cases(vertical: Axis, rows: Rows, tap: Any) -> tuple[Any, Any]:
    """Conditions that the row under ``tap`` is inside the image, that it is not."""
    if not vertical.has_border:
        return True, False
    inside = tirx.all(rows.first <= tap, tap < rows.first + rows.count)
    return inside, tirx.Not(inside)


@dataclass(frozen=True)
class Split:
    """The columns of a call in two parts: groups of neighbours inside the image, and single ones.

    start, groups : ``groups`` groups of so many neighbours as asked for, side by side from column ``start``
    singles : all the other columns
    single : from a number below ``singles`` to the column
    """

    start: Any
    groups: Any
    singles: Any
    single: Callable[[Any], Any]


def split_columns(b: KernelBuilder, horizontal: Axis, group: int = 1) -> Split:
    """The columns of a call; those of groups have all taps inside the image."""
    start, stop = horizontal.interior
    if b.granularity != "segment":
        groups = (stop - start) // group
        end = start + groups * group
        return Split(
            start, groups, horizontal.outputs - groups * group, lambda i: skip(i, start, end, horizontal.outputs)
        )
    if start == stop:
        return Split(b.x0, 0, b.x1 - b.x0, lambda i: b.x0 + i)
    first = b.bind("inner", at_most(b.x1, at_least(start, b.x0))) if start else b.x0
    behind = at_least(first, at_most(stop, b.x1)) if stop < horizontal.outputs else b.x1
    if group == 1 and not horizontal.has_border:
        return Split(first, behind - first, 0, lambda i: i)
    groups = b.bind("groups", tirx.truncdiv(behind - first, group) if group > 1 else behind - first)
    singles = b.x1 - b.x0 - groups * group
    return Split(first, groups, singles, lambda i: tirx.Select(i < first - b.x0, b.x0 + i, b.x0 + groups * group + i))


def each_pixel(b: KernelBuilder, horizontal: Axis, compute: Callable[[Any, Any, Any], None]) -> None:
    """Call ``compute(pixel, first tap, number of taps)`` for the border's pixels and, with numbers, for the rest."""
    split = split_columns(b, horizontal)
    with b.loop(split.groups, "x") as x:
        compute(split.start + x, 0, horizontal.kernel)
    with b.loop(split.singles, "edge") as edge:
        pixel = b.bind("pixel", split.single(edge))
        first, count = horizontal.taps(pixel)
        compute(pixel, b.bind("first", first), b.bind("count", count))


def _quotient(numerator: Any, denominator: int) -> Any:
    if isinstance(numerator, int):
        return int(numerator / denominator)
    return numerator if denominator == 1 else tirx.truncdiv(numerator, denominator)
