"""Some columns of one output row of a depthwise convolution: strips of columns, groups of four channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp import depthwise3x3, depthwise_any, depthwise_any_fill
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.conv_part import entry_text
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3 import Depthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import Depthwise
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS, spans_function

_DRIVER = (
    "const tinyml_depthwise* layer, const tinyml_rows* x, int8_t* out, uint8_t* scratch, int32_t y, int32_t x0, "
    "int32_t x1"
)


@dataclass(frozen=True)
class DepthwiseShape:
    """Shape of the layer; fields as in ``conv_part.ConvShape``."""

    input_size: tuple[int, int]
    channels: int
    columns: int
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int
    strip: int

    def header(self) -> NDArray[np.int32]:
        """``tinyml_depthwise``."""
        numbers = [*self.input_size, self.channels, self.columns, *self.strides, *self.before]
        return np.array([*numbers, self.zero_point, self.strip], np.int16).view(np.int32)


def depthwise3x3_functions(layer: Depthwise3x3, strip: int, *, segment: bool) -> tuple[CFunction, ...]:
    """As ``conv_part.conv_functions`` for 3x3."""
    fill = c_function("dw3x3_fill", depthwise3x3.fill_function)
    sums = c_function("dw3x3", partial(depthwise3x3.row_function, layer=layer))
    spans, spread = spans_function(), c_function("spread", _spread_text)
    columns = f"{layer.scratch_bytes(strip) - CHANNELS * (strip + strip % 2)}"
    driver = c_function("dw3x3_part", _text3x3(fill.name, sums.name, spans.name, spread.name, columns, layer))
    return (fill, sums, spans, spread, driver, _entry("dw3x3", driver, segment))


def depthwise_functions(layer: Depthwise, *, segment: bool) -> tuple[CFunction, ...]:
    """As ``conv_part.conv_functions`` for any kernel."""
    fill = c_function("dw_fill", partial(depthwise_any_fill.fill_function, plane_bytes=layer.plane_bytes))
    sums = c_function("dw", partial(depthwise_any.row_function, layer=layer))
    spans, spread = spans_function(), c_function("spread", _spread_text)
    driver = c_function("dw_part", _any_text(layer, fill.name, sums.name, spans.name, spread.name))
    return (fill, sums, spans, spread, driver, _entry("dw", driver, segment))


def _entry(kind: str, driver: CFunction, segment: bool) -> CFunction:
    text = entry_text("const tinyml_depthwise* layer = (const tinyml_depthwise*)packed", "layer", driver.name, segment)
    return c_function(f"{kind}_columns" if segment else f"{kind}_row", text)


_HEAD = """    const int32_t channels = layer->channels;
    const int32_t above = y * layer->stride_h - layer->top, there = above > 0 ? above : 0;
    const int32_t* constants = (const int32_t*)(layer + 1);
    tinyml_columns columns;
    int32_t i, c, n, missing = 0;
    columns.channels = channels;
    columns.zero = ((uint32_t)layer->zero_point & 0xFFU) * 0x01010101U;
"""

# The last group of channels overlaps the one before if it must.
_NEXT_CHANNEL = f"""            if (c + {CHANNELS} >= channels) {{
                break;
            }}
            c = c + {2 * CHANNELS} <= channels ? c + {CHANNELS} : channels - {CHANNELS};
"""


def _strips(kernel_w: str, turns: str) -> str:
    return f"""    for (; x0 < x1; x0 += n) {{
        const int32_t first = x0 * layer->stride_w - layer->left;
        const int32_t inside = first > 0 ? first * channels : 0;
        n = tinyml_tile(x1 - x0, layer->strip);
        SPANS(columns.spans, first, (n - 1) * layer->stride_w + {kernel_w}, layer->width);
{turns}        for (c = 0;;) {{
"""


def _text3x3(fill: str, sums: str, spans: str, spread: str, columns: str, layer: Depthwise3x3) -> Callable[[str], str]:
    turns = "(n + 1) / 2" if layer.per_turn == 2 else "n"
    loop = _strips("3", "").replace("SPANS", spans)
    return lambda name: (
        f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* rows[3];
    uint32_t* planes = (uint32_t*)scratch;
    int8_t* outputs = (int8_t*)scratch + {columns};
{_HEAD}    for (i = 0; i < 3; ++i) {{
        const int32_t r = above + i, outside = r < 0 || r >= layer->height;
        missing |= outside << i;
        /* A row outside is read from one that is there, for nothing. */
        rows[i] = tinyml_row(x, outside ? there : r);
    }}
{loop}            {fill}(&columns, planes, inside + c, rows);
            {sums}(planes, constants + 5 * c, outputs, {turns} * 8 + missing);
            {spread}(outputs, out + x0 * channels + c, channels, n);
{_NEXT_CHANNEL}        }}
    }}
}}
"""
    )


def _any_text(layer: Depthwise, fill: str, sums: str, spans: str, spread: str) -> Callable[[str], str]:
    height, doubled, tile = layer.kernel[0], 2 * layer.pairs, layer.tile
    upper, lower = "out_of & 1 ? r + 1 : r", f"out_of & 2 || i + 1 >= {height} ? r : r + 1"
    turns = f"""        extent[2] = (n + {tile - 1}) / {tile} * {tile} - n;
        extent[1] = (n + {tile - 1}) / {tile};
        extent[2] = extent[2] < extent[1] ? extent[2] : extent[1];
        extent[1] -= extent[2];
"""
    loop = _strips(str(layer.kernel[1]), turns).replace("SPANS", spans)
    return lambda name: (
        f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* pairs[{doubled}];
    int8_t* outputs = (int8_t*)scratch + {layer.out_at};
    int32_t count = 0, extent[3];
{_HEAD}    for (i = 0; i < {doubled}; ++i) {{
        const int32_t r = above + (i < {height} ? i : {height - 1});
        missing |= r >= 0 && r < layer->height ? 0 : 1 << i;
    }}
    for (i = 0; i < {doubled}; i += 2) {{
        const int32_t out_of = (missing >> i) & 3, r = above + i;
        if (out_of != 3) {{
            pairs[2 * count] = tinyml_row(x, {upper});
            pairs[2 * count + 1] = tinyml_row(x, {lower});
            ++count;
        }}
    }}
    (void)there;
    extent[0] = missing + count * (1 << 24);
{loop}            for (i = 0; i < count; ++i) {{
                {fill}(&columns, (uint32_t*)scratch + i * {layer.pair_bytes // 4}, inside + c, pairs + 2 * i);
            }}
            {sums}((uint32_t*)scratch, constants + {layer.record // 4} * c, outputs, extent);
            {spread}(outputs, out + x0 * channels + c, channels, n);
{_NEXT_CHANNEL}        }}
    }}
}}
"""
    )


def _spread_text(name: str) -> str:
    """Words next to each other to where the pixels of an image lie."""
    return f"""TINYML_KERNEL static void {name}(const int8_t* from, int8_t* to, int32_t channels, int32_t n) {{
    for (; n >= 2; n -= 2) {{
        memcpy(to, from, {CHANNELS});
        memcpy(to + channels, from + {CHANNELS}, {CHANNELS});
        to += 2 * channels;
        from += {2 * CHANNELS};
    }}
    if (n != 0) {{
        memcpy(to, from, {CHANNELS});
    }}
}}
"""
