"""Some columns of one output row of a depthwise convolution: strips of columns, groups of four channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp import depthwise3x3, depthwise_any, depthwise_any_fill
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function, from_zero
from tvm_tiny.schedules.cortex_m.dsp.conv_part import HIGHEST_KERNEL, entry_text
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3 import Depthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3_narrow import NarrowDepthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import Depthwise
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS


@dataclass(frozen=True)
class DepthwiseShape:
    """Shape of the layer; fields as in ``conv_part.ConvShape``."""

    input_size: tuple[int, int]
    channels: int
    columns: int
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int

    def header(self, layer: Depthwise | Depthwise3x3 | NarrowDepthwise3x3) -> NDArray[np.int32]:
        """``tinyml_depthwise``."""
        numbers = [*self.input_size, self.channels, self.columns, *self.strides, *self.before]
        numbers += [self.zero_point, layer.strip]
        if isinstance(layer, Depthwise):
            numbers += [*layer.kernel, layer.tile, layer.record, layer.plane_bytes, layer.pair_bytes]
        else:
            numbers += [3, 3, 0, layer.record, 0, 0]
        numbers += from_zero(layer.low, layer.high)
        return np.array(numbers, np.int16).view(np.int32)


def depthwise_functions(layer: Depthwise | Depthwise3x3, *, segment: bool) -> tuple[CFunction, ...]:
    """As ``conv_part.conv_functions``."""
    if isinstance(layer, Depthwise):
        fill = c_function("dw_fill", depthwise_any_fill.fill_function)
        sums = c_function("dw", partial(depthwise_any.row_function, layer=layer))
        driver = c_function("dw_part", _any_text)
    else:
        fill = c_function("dw3x3_fill", depthwise3x3.fill_function)
        sums = c_function("dw3x3", partial(depthwise3x3.row_function, layer=layer))
        driver = c_function("dw3x3_part", _text3x3)
    declaration = "const tinyml_depthwise* layer = (const tinyml_depthwise*)packed"
    text = entry_text(declaration, f"{fill.name}, {sums.name}, layer", driver.name, segment)
    return (fill, sums, driver, c_function("dw_columns" if segment else "dw_row", text))


_DRIVER = (
    "tinyml_depthwise_fill* fill, tinyml_depthwise_sum* sum, const tinyml_depthwise* layer, const tinyml_rows* x, "
    "int8_t* out, uint8_t* scratch, int32_t y, int32_t x0, int32_t x1"
)

_HEAD = """    const int32_t channels = layer->channels;
    const int32_t above = y * layer->stride_h - layer->top;
    const int32_t* constants = (const int32_t*)(layer + 1);
    tinyml_strip strip;
    int32_t i, n;
    strip.channels = channels;
    strip.zero = ((uint32_t)layer->zero_point & 0xFFU) * 0x01010101U;
    strip.zero_pair = layer->zero_point * 256 * 65536 + (layer->zero_point * 256 & 0xFFFF);
    strip.from_zero[0] = (uint32_t)layer->from_zero[0] * 0x01010101U;
    strip.from_zero[1] = (uint32_t)layer->from_zero[1] * 0x01010101U;
    strip.missing = 0;
    strip.fill = fill;
    strip.rows = rows;
"""

_STRIPS = """    for (; x0 < x1; x0 += n) {
        const int32_t first = x0 * layer->stride_w - layer->left;
        const int32_t inside = first > 0 ? first * channels : 0;
        const int32_t needed = (n = tinyml_tile(x1 - x0, layer->strip), (n - 1) * layer->stride_w + layer->kernel_w);
        tinyml_spans(strip.spans, first, needed, layer->width);
        strip.outputs = n;
"""

_GROUPS = f"""        strip.offset = inside;
        strip.groups = channels / {CHANNELS};
        sum((uint32_t*)scratch, constants, out + x0 * channels, &strip);
        /* The last group overlaps the one before if it must. */
        if (channels % {CHANNELS} != 0) {{
            const int32_t c = channels - {CHANNELS};
            strip.offset += c;
            strip.groups = 1;
            sum((uint32_t*)scratch, constants + layer->record_bytes / 4 * c, out + x0 * channels + c, &strip);
        }}
    }}
}}
"""


def _text3x3(name: str) -> str:
    return f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* rows[3];
{_HEAD}    for (i = 0; i < 3; ++i) {{
        const int32_t r = above + i, outside = r < 0 || r >= layer->height;
        strip.missing |= outside << i;
        /* A row outside is read from one that is there, for nothing. */
        rows[i] = tinyml_row(x, !outside ? r : above > 0 ? above : 0);
    }}
{_STRIPS}        strip.odd = layer->stride_w == 1 ? n & 1 : 0;
        strip.turns = layer->stride_w == 1 ? (n - 1) / 2 : n - 1;
{_GROUPS}"""


def _any_text(name: str) -> str:
    return f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* rows[{HIGHEST_KERNEL}];
{_HEAD}    strip.pairs = 0;
    strip.plane_bytes = layer->plane_bytes;
    strip.step = 4 * layer->stride_w;
    for (i = 0; i < layer->kernel_h; i += 2) {{
        const int32_t upper = above + i, lower = i + 1 < layer->kernel_h ? upper + 1 : upper;
        const int32_t no_upper = upper < 0 || upper >= layer->height, no_lower = lower < 0 || lower >= layer->height;
        strip.missing |= (no_upper + 2 * no_lower) << i;
        if (!no_upper || !no_lower) {{
            rows[2 * strip.pairs] = tinyml_row(x, no_upper ? lower : upper);
            rows[2 * strip.pairs + 1] = tinyml_row(x, no_lower ? upper : lower);
            ++strip.pairs;
        }}
    }}
{_STRIPS}        strip.skip = layer->pair_bytes - (needed + 1) / 2 * 8;
        strip.tiles[0] = (n + layer->tile - 1) / layer->tile;
        strip.tiles[1] = strip.tiles[0] * layer->tile - n;
        strip.tiles[1] = strip.tiles[1] < strip.tiles[0] ? strip.tiles[1] : strip.tiles[0];
        strip.tiles[0] -= strip.tiles[1];
{_GROUPS}"""
