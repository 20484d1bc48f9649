"""Columns of an output row of a depthwise convolution: the C functions around ``depthwise``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.mve.conv_row import POINTER_BYTES, fill_function
from tvm_tiny.schedules.cortex_m.mve.depthwise import (
    CHANNELS,
    COLUMN,
    GROUP,
    Depthwise,
    interleave_function,
    sums_function,
)

OFFSETS = 20
"""Words in front of the offsets: fifteen of shape, five of the requantization."""


@dataclass(frozen=True)
class DepthwiseColumns:
    """Shape of a depthwise convolution without dilation; pairs are (vertical, horizontal).

    outputs : columns of the output
    strip : how many of them are made from one filling of the scratch memory
    arrays : of offsets and what else the requantization has for each channel
    compact : layers of all sizes share the code, for which rows of zero points fill the last word
    """

    input_size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int
    outputs: int
    strip: int
    arrays: int
    compact: bool

    @property
    def groups(self) -> int:
        """Words of a column."""
        return -(-self.kernel[0] // GROUP)

    @property
    def tables_bytes(self) -> int:
        """Addresses of rows, and of rows of the strip; a row of zero points."""
        runs = self.groups * GROUP if self.compact else self.kernel[0]
        return (self.kernel[0] + runs) * 2 * POINTER_BYTES + CHANNELS

    @property
    def scratch_bytes(self) -> int:
        words = self.kernel[1] * self.groups
        pixels = self.strip if words <= GROUP else -(-self.strip // GROUP) * GROUP
        read = (pixels - 1) * self.strides[1] * self.groups + -(-words // GROUP) * GROUP
        return self.tables_bytes + COLUMN * read

    @property
    def numbers(self) -> tuple[int, ...]:
        arrays = self.arrays * self.channels
        head = (*self.input_size, self.channels, arrays, *self.kernel, *self.strides, *self.before)
        return (*head, self.zero_point, self.outputs, self.strip, self.groups * COLUMN, self.tables_bytes)


def depthwise_functions(layer: DepthwiseColumns, kernel: Depthwise) -> tuple[CFunction, ...]:
    """``void name(const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1)`` as
    ``conv_row.columns_functions``; callees first."""
    sums = sums_function(kernel)
    if not layer.compact:
        rows = [min(GROUP, layer.kernel[0] - first) for first in range(0, layer.kernel[0], GROUP)]
        interleave = {n: interleave_function(n) for n in sorted(set(rows))}
        inner = "\n".join(
            " " * 12
            + f"{interleave[n].name}(runs + {GROUP * g}, at + {COLUMN * g}, packed[13], end - begin, c, lanes);"
            for g, n in enumerate(rows)
        )
        sizes = str(layer.kernel[0]), str(layer.kernel[0]), str(kernel.words)
        return (fill_function(), *interleave.values(), sums, _columns(sums.name, "", sizes, inner))
    four = interleave_function(GROUP)
    inner = f"""            for (i = 0; i < packed[13] / {COLUMN}; ++i) {{
                {four.name}(runs + {GROUP} * i, at + {COLUMN} * i, packed[13], end - begin, c, lanes);
            }}"""
    sizes = "packed[4]", f"packed[13] / {CHANNELS}", f"(packed[13] / {COLUMN} * packed[5])"
    shared = _columns("sums", _SUMS, sizes, inner)
    columns = c_function(
        "mve_depthwise_compact",
        lambda name: (
            f"""static void {name}(
    const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1) {{
    {shared.name}(rows, out, packed, work, x0, x1, {sums.name});
}}
"""
        ),
    )
    return (fill_function(), four, sums, shared, columns)


_SUMS = """,
    void (*sums)(const int32_t*, const int8_t*, int8_t*, int32_t, const int32_t*, const int32_t*, int32_t)"""


def _columns(sums: str, more: str, sizes: tuple[str, str, str], inner: str) -> CFunction:
    """All but the arithmetic.

    Parameters
    ----------
    more : parameters
    sizes : C expressions: rows of the kernel; runs, of which those beyond the rows are zero points; words of a window
    inner : C statements that fill the words of sixteen channels
    """
    rows, runs, words = sizes
    fill = fill_function()
    return c_function(
        "mve_depthwise_columns",
        lambda name: (
            f"""static void {name}(
    const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1{more}) {{
    tinyml_run* runs = (tinyml_run*)work + {rows};
    int8_t* words = (int8_t*)work + packed[14];
    int8_t* zero = words - {CHANNELS};
    const int32_t channels = packed[2];
    const int32_t* offsets = packed + {OFFSETS};
    const int32_t* weights = offsets + packed[3];
    int32_t c, i, x, some;
    {fill.name}(zero, packed[10], {CHANNELS});
    for (x = x0; x < x1; x += some) {{
        const int32_t first = x * packed[7] - packed[9];
        int32_t width, begin, end;
        int8_t* at;
        some = x1 - x < packed[12] ? x1 - x : packed[12];
        width = (some - 1) * packed[7] + packed[5];
        begin = first > 0 ? 0 : -first < width ? -first : width;
        end = first + width > packed[1] ? packed[1] - first : width;
        end = end > begin ? end : begin;
        at = words + begin * packed[13];
        if (begin > 0) {{
            {fill.name}(words, packed[10], begin * packed[13]);
        }}
        if (end < width) {{
            {fill.name}(words + end * packed[13], packed[10], (width - end) * packed[13]);
        }}
        for (i = 0; i < {runs}; ++i) {{
            const int8_t* row = {"rows[i].at" if rows == runs else f"i < {rows} ? rows[i].at : NULL"};
            runs[i].at = row != NULL ? row + (first + begin) * channels : zero;
            runs[i].step = row != NULL ? channels : 0;
        }}
        for (c = 0; c < channels; c += {CHANNELS}) {{
            int32_t lanes;
            c = channels - c < {GROUP} ? channels - {GROUP} : c;
            lanes = channels - c;
{inner}
            {sums}(packed, words, out + x * channels + c, some, offsets + c, weights + c * {words}, lanes);
        }}
    }}
}}
"""
        ),
    )
