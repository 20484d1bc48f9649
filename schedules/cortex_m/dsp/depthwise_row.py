"""One output row of a depthwise convolution: strips of columns, groups of four channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp import depthwise3x3, depthwise_any, depthwise_any_fill
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3 import CHANNELS, Depthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import Depthwise

LARGEST_STRIP = 64
"""Output pixels; bounds the scratch to about 1.6 KB at stride 1."""

_HEAD = "(const int8_t* x, int8_t* out, const int32_t* constants, uint8_t* scratch, int32_t y, int32_t slots)"


def depthwise3x3_functions(
    layer: Depthwise3x3, rows: int, stride: int, top: int, largest: int = LARGEST_STRIP
) -> tuple[tuple[CFunction, ...], int]:
    """The functions of one row, callees first, and the row's scratch in bytes; the last function computes the row:

    ``void name(x, out, const int32_t* constants, uint8_t* scratch, int32_t y, int32_t slots)``

    Parameters
    ----------
    layer : with ``first`` = -left padding and all outputs of the row
    rows : image rows
    stride, top : vertical stride and padding
    largest : most outputs of a strip
    """
    count = -(-layer.outputs // largest)
    base, more = divmod(layer.outputs, count)
    strips, at = [], 0
    for width in [base + 1] * more + [base] * (count - more):
        strips.append((at, replace(layer, first=layer.first + at * layer.stride, outputs=width)))
        at += width
    fills = [c_function("dw3x3_fill", partial(depthwise3x3.fill_function, strip=s)) for _, s in strips]
    # Where a strip begins in the image makes no difference once it is in scratch.
    sums = [c_function("dw3x3", partial(depthwise3x3.row_function, strip=replace(s, first=0))) for _, s in strips]
    row_bytes = layer.columns * layer.channels
    lines = ["    const int8_t* rows[3];", "    const int8_t* taps[3];", "    int32_t i, c, missing = 0;"]
    lines += ["    for (i = 0; i < 3; ++i) {", f"        const int32_t r = y * {stride} - {top} + i;"]
    lines += [f"        const int32_t inside = r >= 0 && r < {rows};"]
    lines += ["        missing |= inside ? 0 : 1 << i;"]
    # A row outside is read from one that is there, for nothing.
    there = f"y * {stride} < {rows} ? y * {stride} : {rows - 1}"
    lines += [f"        rows[i] = x + (inside ? r : {there}) % slots * {row_bytes};"]
    lines += ["    }", f"    for (c = 0; c < {layer.channels}; c = {_next_channel(layer.channels)}) {{"]
    lines += [f"        taps[{i}] = rows[{i}] + c;" for i in range(3)]
    for fill, row, (first, _) in zip(fills, sums, strips, strict=True):
        lines += [f"        {fill.name}(taps, (uint32_t*)scratch);"]
        to = f"out + c + {first * layer.channels}"
        lines += [f"        {row.name}((const uint32_t*)scratch, constants + 5 * c, {to}, missing);"]
    lines += ["    }"]
    whole = c_function("dw3x3_row", lambda name: "\n".join([f"static void {name}{_HEAD} {{", *lines, "}", ""]))
    return (*dict.fromkeys([*fills, *sums]), whole), max(s.scratch_bytes for _, s in strips)


def depthwise_functions(layer: Depthwise, rows: int, stride: int, top: int) -> tuple[tuple[CFunction, ...], int]:
    """As ``depthwise3x3_functions`` for any kernel."""
    fill = c_function("dw_fill", partial(depthwise_any_fill.fill_function, layer=layer))
    sums = c_function("dw", partial(depthwise_any.row_function, layer=layer))
    row = c_function("dw_row", _any_row_text(layer, rows, stride, top, fill.name, sums.name))
    return (fill, sums, row), layer.scratch_bytes


def _any_row_text(layer: Depthwise, rows: int, stride: int, top: int, fill: str, sums: str) -> Callable[[str], str]:
    height, doubled, row_bytes = layer.kernel[0], 2 * layer.pairs, layer.columns * layer.channels
    upper, lower = "out_of & 1 ? r + 1 : r", f"out_of & 2 || i + 1 >= {height} ? r : r + 1"
    return lambda name: (
        f"""static void {name}{_HEAD} {{
    const int8_t* pairs[{doubled}];
    int32_t i, c, missing = 0, count = 0;
    for (i = 0; i < {doubled}; ++i) {{
        const int32_t r = y * {stride} - {top} + (i < {height} ? i : {height - 1});
        missing |= r >= 0 && r < {rows} ? 0 : 1 << i;
    }}
    for (i = 0; i < {doubled}; i += 2) {{
        const int32_t out_of = (missing >> i) & 3, r = y * {stride} - {top} + i;
        if (out_of != 3) {{
            pairs[2 * count] = x + ({upper}) % slots * {row_bytes};
            pairs[2 * count + 1] = x + ({lower}) % slots * {row_bytes};
            ++count;
        }}
    }}
    for (c = 0; c < {layer.channels}; c = {_next_channel(layer.channels)}) {{
        for (i = 0; i < count; ++i) {{
            {fill}(pairs[2 * i] + c, pairs[2 * i + 1] + c, (uint32_t*)scratch + i * {layer.pair_bytes // 4});
        }}
        {sums}((uint32_t*)scratch, constants + {layer.record // 4} * c, out + c, missing + count * (1 << 24));
    }}
}}
"""
    )


def _next_channel(channels: int) -> str:
    """C expression for the first channel of the next group; the last group overlaps the one before if it must."""
    if channels % CHANNELS == 0:
        return f"c + {CHANNELS}"
    last = channels - CHANNELS
    return f"c < {last} && c + {CHANNELS} > {last} ? {last} : c + {CHANNELS}"
