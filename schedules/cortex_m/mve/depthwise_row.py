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
    """

    input_size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int
    outputs: int
    strip: int

    @property
    def groups(self) -> int:
        """Words of a column."""
        return -(-self.kernel[0] // GROUP)

    @property
    def tables_bytes(self) -> int:
        """Addresses of rows, and of rows of the strip; a row of zero points."""
        return self.kernel[0] * 4 * POINTER_BYTES + CHANNELS

    @property
    def scratch_bytes(self) -> int:
        words = self.kernel[1] * self.groups
        pixels = self.strip if words <= GROUP else -(-self.strip // GROUP) * GROUP
        read = (pixels - 1) * self.strides[1] * self.groups + -(-words // GROUP) * GROUP
        return self.tables_bytes + COLUMN * read

    @property
    def numbers(self) -> tuple[int, ...]:
        head = (*self.input_size, self.channels, self.channels, *self.kernel, *self.strides, *self.before)
        return (*head, self.zero_point, self.outputs, self.strip, self.groups * COLUMN, self.tables_bytes)


def depthwise_functions(layer: DepthwiseColumns, kernel: Depthwise) -> tuple[CFunction, ...]:
    """``void name(const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1)`` as
    ``conv_row.columns_functions``; callees first."""
    fill, sums = fill_function(), sums_function(kernel)
    rows = [min(GROUP, layer.kernel[0] - first) for first in range(0, layer.kernel[0], GROUP)]
    interleave = {n: interleave_function(n) for n in sorted(set(rows))}
    inner = "\n".join(
        f"            {interleave[n].name}(runs + {GROUP * g}, at + {COLUMN * g}, packed[13], end - begin, c, lanes);"
        for g, n in enumerate(rows)
    )
    arrays = 3 if kernel.requantize.signed else 2
    columns = c_function(
        "mve_depthwise_columns",
        lambda name: (
            f"""static void {name}(
    const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1) {{
    tinyml_run* runs = (tinyml_run*)work + {layer.kernel[0]};
    int8_t* words = (int8_t*)work + packed[14];
    int8_t* zero = words - {CHANNELS};
    const int32_t channels = packed[2];
    const int32_t* offsets = packed + {OFFSETS};
    const int32_t* weights = offsets + {arrays} * channels;
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
        for (i = 0; i < {layer.kernel[0]}; ++i) {{
            const int8_t* row = rows[i].at;
            runs[i].at = row != NULL ? row + (first + begin) * channels : zero;
            runs[i].step = row != NULL ? channels : 0;
        }}
        for (c = 0; c < channels; c += {CHANNELS}) {{
            int32_t lanes;
            c = channels - c < {GROUP} ? channels - {GROUP} : c;
            lanes = channels - c;
{inner}
            {sums.name}(
                packed, words, out + x * channels + c, some, offsets + c, weights + c * {kernel.words}, lanes);
        }}
    }}
}}
"""
        ),
    )
    return (fill, *interleave.values(), sums, columns)
