"""Concatenation, slices and padding of images, one output row per call."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax, tirx

from tvm_tiny.ops import Kernel, op_name
from tvm_tiny.ops.movement import row_windows, slices_of
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, as_expr, at_least, at_most, with_segment
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, dtype_of, shape_of, size_of
from tvm_tiny.targets import Cpu

Shape = tuple[int, ...]


def moves_rows(call: relax.Call) -> bool:
    """Whether ``RowMovement`` has a kernel for ``call``."""
    return row_windows(call) is not None


class RowMovement(CortexMScheduleRule):
    """Copies as long as bytes lie side by side; rows and columns of an input may lie anywhere in the output."""

    operators = ()

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        write = {"concat": _concat, "strided_slice": _strided_slice, "nn.pad": _pad}[op_name(call)]
        return with_segment(partial(write, call))


class _Row:
    """The output row of a kernel, and copies into it.

    Attributes
    ----------
    width, channels : of the output
    """

    def __init__(self, b: KernelBuilder, call: relax.Call) -> None:
        _, _, self.width, self.channels = shape_of(call)
        self.dtype = dtype_of(call)
        self._b = b
        self._itemsize = np.dtype(self.dtype).itemsize

    def declare(self) -> None:
        """Declare the output; inputs come first."""
        self._out = self._b.output(self.width * self.channels, self.dtype)

    def copy(self, at: Any, data: Any, source: Any, count: Any) -> None:
        """``count`` elements from index ``source`` of ``data`` to index ``at`` of the row."""
        self._b.call("memcpy", address(self._out, at), address(data, source), as_expr(count) * self._itemsize)

    def fill(self, at: Any, count: Any, value: float) -> None:
        """``count`` elements from index ``at`` on hold ``value``."""
        if isinstance(count, int) and count == 0:
            return
        if self._itemsize == 1:
            self._b.call("memset", address(self._out, at), int(value) & 0xFF, count)
            return
        with self._b.loop(count, "element") as i:
            self._b.store(self._out, at + i, tirx.const(value, self.dtype))

    def each_pixel(self) -> Any:
        """Loop over the columns to make; gives the column."""
        first, behind = self._b.columns(self.width)
        return self._b.loop(behind - first, "column", start=first)

    def overlap(self, start: int, width: int) -> tuple[Any, Any]:
        """Of the columns to make those in ``range(start, start + width)``: the first, and how many; may be negative."""
        first, behind = self._b.columns(self.width)
        low = at_least(start, first)
        return low, at_most(start + width, behind) - low


def _concat(call: relax.Call, b: KernelBuilder) -> Kernel:
    row = _Row(b, call)
    axis = int(call.attrs.axis) % 4
    shapes = [shape_of(p) for p in call.args[0].fields]
    parts = [b.input(f"data_{i}", size_of(shape[1:]), row.dtype) for i, shape in enumerate(shapes)]
    row.declare()
    if axis == 3:
        bases = [_base(b, i, b.y, shape) for i, shape in enumerate(shapes)]
        with row.each_pixel() as x:
            start = 0
            for part, base, shape in zip(parts, bases, shapes, strict=True):
                row.copy(x * row.channels + start, part, base + x * shape[3], shape[3])
                start += shape[3]
        return b.finish("concat_channels")
    start = 0
    for i, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        if axis == 1:
            first, count = row.overlap(0, row.width)
            with b.when(_within(b.y, start, shape[1], shape_of(call)[1])):
                _copy_columns(b, row, (first, count), part, _base(b, i, b.y - start, shape) + first * row.channels)
        else:
            first, count = row.overlap(start, shape[2])
            with b.when(True if isinstance(count, int) else count > 0):
                base = _base(b, i, b.y, shape) + (first - start) * row.channels
                _copy_columns(b, row, (first, count), part, base)
        start += shape[axis]
    return b.finish("concat_rows" if axis == 1 else "concat_columns")


def _strided_slice(call: relax.Call, b: KernelBuilder) -> Kernel:
    row, shape = _Row(b, call), shape_of(call.args[0])
    data = b.input("data", size_of(shape[1:]), row.dtype)
    row.declare()
    begins, strides = [0] * 4, [1] * 4
    for axis, begin, _, stride in slices_of(call):
        begins[axis], strides[axis] = begin, stride
    base = _base(b, 0, b.y * strides[1] + begins[1], shape)
    if strides[2] == 1 and row.channels == shape[3]:
        first, count = row.overlap(0, row.width)
        _copy_columns(b, row, (first, count), data, base + (first + begins[2]) * shape[3])
        return b.finish("slice")
    with row.each_pixel() as x:
        source = base + (x * strides[2] + begins[2]) * shape[3] + begins[3]
        if strides[3] == 1:
            row.copy(x * row.channels, data, source, row.channels)
        else:
            with b.loop(row.channels, "channel") as c:
                row.copy(x * row.channels + c, data, source + c * strides[3], 1)
    return b.finish("slice_pixels")


def _pad(call: relax.Call, b: KernelBuilder) -> Kernel:
    row, shape = _Row(b, call), shape_of(call.args[0])
    data = b.input("data", size_of(shape[1:]), row.dtype)
    row.declare()
    _, _, top, _, left, _, front, _ = (int(w) for w in call.attrs.pad_width)
    value, channels = float(call.attrs.pad_value), row.channels
    height = shape_of(call)[1]
    if height > shape[1]:
        first, count = row.overlap(0, row.width)
        with b.when(tirx.any(b.y < top, b.y >= top + shape[1])):
            row.fill(first * channels, count * channels, value)
    with b.when(_within(b.y, top, shape[1], height)):
        base = _base(b, 0, b.y - top, shape)
        for start, width in ((0, left), (left + shape[2], row.width - left - shape[2])):
            low, many = row.overlap(start, width)
            if width:
                with b.when(True if isinstance(many, int) else many > 0):
                    row.fill(low * channels, many * channels, value)
        low, many = row.overlap(left, shape[2])
        with b.when(True if isinstance(many, int) else many > 0):
            if channels == shape[3]:
                _copy_columns(b, row, (low, many), data, base + (low - left) * channels)
            else:
                with b.loop(many, "column", start=low) as x:
                    row.fill(x * channels, front, value)
                    row.copy(x * channels + front, data, base + (x - left) * shape[3], shape[3])
                    row.fill(x * channels + front + shape[3], channels - front - shape[3], value)
    return b.finish("pad")


def _copy_columns(b: KernelBuilder, row: _Row, columns: tuple[Any, Any], data: Any, source: Any) -> None:
    first, count = columns
    row.copy(first * row.channels, data, source, count * row.channels)


def _within(y: Any, start: int, size: int, total: int) -> Any:
    """Whether ``y`` of ``range(total)`` is in ``range(start, start + size)``."""
    conditions = [y >= start] if start else []
    conditions += [y < start + size] if start + size < total else []
    return tirx.all(*conditions) if conditions else True


def _base(b: KernelBuilder, index: int, y: Any, shape: Shape) -> Any:
    """Element at which row ``y`` of an input begins."""
    return b.bind("base", b.row_offset(index, y, shape[2] * shape[3]))
