"""Some columns of one output row of a convolution as fills and matrix products: the C that drives the assembly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.fill import Window, fill_function, fixed_fill_function
from tvm_tiny.schedules.cortex_m.dsp.gemm import GemmTile, gemm_function
from tvm_tiny.schedules.cortex_m.dsp.gemm5 import PIXELS, gemm5_function

ROW_PARAMETERS = "const int8_t* x, int8_t* out, const int8_t* packed, uint8_t* scratch, int32_t y, int32_t slots"
"""Of a function that makes a row."""

SEGMENT_PARAMETERS = (
    "const int8_t* x, int8_t* out, const int8_t* packed, uint8_t* scratch, int32_t y, int32_t x0, int32_t x1, "
    "int32_t first, int32_t modulus, int32_t outer, int32_t inner, int32_t staged, int32_t line, int32_t new_row"
)
"""Of a function that makes columns x0 <= x < x1; names as in ``ops.ROW_ADDRESS``."""

USUAL_UNROLL = 8
"""Groups of a turn up to which only tiles of many pixels are unrolled so far; beyond it all are."""

HIGHEST_KERNEL = 24
"""Rows of taps; pointers to them stand on the stack."""


@dataclass(frozen=True)
class ConvShape:
    """Shape of the layer, without groups and dilation.

    input_size, output_size, kernel, strides : (vertical, horizontal)
    before : padding (top, left)
    pixels : most outputs of a tile
    strip : outputs whose input is copied at a time
    """

    input_size: tuple[int, int]
    channels: int
    output_size: tuple[int, int]
    outputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int
    pixels: int = 4
    strip: int = 1

    @property
    def borders(self) -> bool:
        """Whether taps lie outside the image."""
        axes = zip(self.output_size, self.strides, self.kernel, self.before, self.input_size, strict=True)
        return any(b > 0 or (n - 1) * s + k - b > size for n, s, k, b, size in axes)

    @property
    def copied(self) -> bool:
        """Rows are copied with their padding first, where there is some and a tap is no whole number of words."""
        return self.borders and self.channels % 4 != 0

    @property
    def copied_bytes(self) -> int:
        """Bytes of a copied row."""
        used = ((self.strip - 1) * self.strides[1] + self.kernel[1]) * self.channels
        return -(-used // 4) * 4

    @property
    def run(self) -> int:
        """Bytes of a row of taps."""
        return self.kernel[1] * self.channels

    @property
    def step(self) -> int:
        """Bytes from a window to the next."""
        return self.strides[1] * self.channels

    def window(self, pixels: int) -> Window:
        return Window(pixels, self.kernel[0], self.run, self.step)

    @property
    def fixed_fill(self) -> bool:
        """Whether ``fill_function`` does not reach."""
        return self.run < 4 or (self.run % 4 != 0 and self.kernel[0] > 1)

    @property
    def scratch_bytes(self) -> int:
        copied = self.copied_bytes * self.kernel[0] if self.copied else 0
        return self.window(1).groups * self.pixels * 8 + copied

    def header(self, pair_bytes: int, addend: int) -> NDArray[np.int8]:
        """``tinyml_conv``."""
        wide = [pair_bytes, addend, self.outputs, self.window(1).groups, self.step, self.run // 4 * 4]
        wide += [self.kernel[0], -self.run % 4 * 8]
        narrow = [*self.input_size, self.channels, self.output_size[1], self.kernel[1], *self.strides, *self.before]
        narrow += [self.zero_point, self.pixels, self.strip]
        return np.concatenate(
            [np.array(wide, np.int64).astype(np.int32).view(np.int8), np.array(narrow, np.int16).view(np.int8)]
        )


def tile_widths(columns: int, largest: int) -> set[int]:
    """Widths of the tiles of a row, as ``tinyml_tile`` cuts it."""
    widths = set()
    while columns:
        n = largest if columns >= 2 * largest else (columns + 1) // 2 if columns > largest else columns
        widths.add(n)
        columns -= n
    return widths


def conv_functions(shape: ConvShape, tile: GemmTile, *, segment: bool) -> tuple[CFunction, ...]:
    """The functions that make a row, or part of one, callees first; the last one takes ROW_ or SEGMENT_PARAMETERS.

    Parameters
    ----------
    tile : with any number of pixels
    """
    strips = tile_widths(shape.output_size[1], shape.strip) if shape.copied else {shape.output_size[1]}
    in_rows = set().union(*(tile_widths(strip, shape.pixels) for strip in strips))
    widths = set(range(1, shape.pixels + 1)) if segment else in_rows
    functions: dict[str, CFunction] = {}

    def table(make: Callable[[int], CFunction] | None) -> str:
        entries = []
        for n in range(1, PIXELS + 1):
            if make is None or n not in widths:
                entries.append("NULL")
                continue
            function = make(n)
            functions[function.name] = function
            entries.append(function.name)
        return "{" + ", ".join(entries) + "}"

    def fill(n: int) -> CFunction:
        if shape.fixed_fill:
            return c_function(f"fill{n}", partial(fixed_fill_function, window=shape.window(n)))
        return c_function(f"fill{n}", partial(fill_function, pixels=n, rest=shape.run % 4 != 0))

    def product(n: int, *, single: bool) -> CFunction:
        unroll = tile.unroll if n >= 4 or tile.unroll > USUAL_UNROLL else min(4, tile.unroll)
        whole = replace(tile, pixels=n, unroll=unroll, single=single)
        return c_function(f"gemm{n}", partial(gemm5_function if n == PIXELS else gemm_function, tile=whole))

    pairs = partial(product, single=False) if shape.outputs > 1 else None
    single = partial(product, single=True) if shape.outputs % 2 else None
    tables = [table(fill), table(pairs), table(single)]
    driver = c_function("conv_copied", _copied_text) if shape.copied else _direct(shape.borders)
    border = (c_function("border", _border_text),) if shape.borders and not shape.copied else ()
    declaration = (
        f"static const tinyml_tiles tiles = {{{', '.join(tables)}}};\n"
        "    const tinyml_conv* conv = (const tinyml_conv*)packed"
    )
    text = entry_text(declaration, "&tiles, conv", driver.name, segment)
    last = c_function("conv_columns" if segment else "conv_row", text)
    return (*functions.values(), *border, driver, last)


def entry_text(declaration: str, layer: str, driver: str, segment: bool) -> Callable[[str], str]:
    """A function of ROW_ or SEGMENT_PARAMETERS that calls ``driver(layer, rows, out, scratch, y, x0, x1)``."""
    parameters, columns = (SEGMENT_PARAMETERS, "x0, x1") if segment else (ROW_PARAMETERS, "0, head->columns")
    address = "first, modulus, outer, inner, staged, line, new_row"
    if not segment:
        address = "0, slots, head->width * head->channels, 0, 0, 0, INT32_MAX"
    names = ("data", "first", "modulus", "outer", "inner", "staged", "line", "new_row")
    lines = [f"    {declaration};", "    tinyml_rows rows;"]
    lines += [f"    rows.{n} = {v};" for n, v in zip(names, ["x", *address.split(", ")], strict=True)]
    lines += [f"    {driver}({layer}, &rows, out, scratch, y, {columns});"]
    return lambda name: "\n".join([f"static void {name}({parameters}) {{", *lines, "}", ""]).replace(
        "head", layer.split(", ")[-1]
    )


_DRIVER = (
    "const tinyml_tiles* tiles, const tinyml_conv* conv, const tinyml_rows* x, int8_t* out, uint8_t* scratch, "
    "int32_t y, int32_t x0, int32_t x1"
)

_PRODUCT = """        if (conv->pair_bytes != 0) {
            tiles->pairs[n - 1](stream, prepared, out + x0 * conv->out_channels, conv);
        }
        if ((conv->out_channels & 1) != 0) {
            tiles->single[n - 1](stream, prepared, out + x0 * conv->out_channels, conv);
        }
"""


def _direct(borders: bool) -> CFunction:
    if not borders:
        return c_function("conv_inside", _inside_text)
    return c_function("conv_border", partial(_direct_text, border=c_function("border", _border_text).name))


def _inside_text(name: str) -> str:
    """Taps are whole words, and all of them in the image."""
    return f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* stream = (const int8_t*)(conv + 1);
    const int8_t* rows[{HIGHEST_KERNEL}];
    uint32_t* prepared = (uint32_t*)scratch;
    int32_t i, n;
    for (i = 0; i < conv->kernel_h; ++i) {{
        rows[i] = tinyml_row(x, y * conv->stride_h + i);
    }}
    for (; x0 < x1; x0 += n) {{
        n = tinyml_tile(x1 - x0, conv->pixels);
        tiles->fill[n - 1](rows, prepared, x0 * conv->step, conv);
{_PRODUCT}    }}
}}
"""


def _direct_text(name: str, border: str) -> str:
    """Taps are whole words, some of them outside the image."""
    return f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* stream = (const int8_t*)(conv + 1);
    const int8_t* rows[{HIGHEST_KERNEL}];
    uint32_t* prepared = (uint32_t*)scratch;
    int32_t i, n, whole = 1;
    for (i = 0; i < conv->kernel_h; ++i) {{
        const int32_t r = y * conv->stride_h - conv->top + i;
        rows[i] = NULL;
        if (r >= 0 && r < conv->height) {{
            rows[i] = tinyml_row(x, r);
        }} else {{
            whole = 0;
        }}
    }}
    for (; x0 < x1; x0 += n) {{
        const int32_t column = x0 * conv->stride_w - conv->left;
        n = tinyml_tile(x1 - x0, conv->pixels);
        if (whole && column >= 0 && column + (n - 1) * conv->stride_w + conv->kernel_w <= conv->width) {{
            tiles->fill[n - 1](rows, prepared, column * conv->channels, conv);
        }} else {{
            {border}(rows, prepared, column, n, conv);
        }}
{_PRODUCT}    }}
}}
"""


def _border_text(name: str) -> str:
    """Fill of a tile with taps outside the image; those get the zero point."""
    return f"""TINYML_KERNEL static void {name}(const int8_t* const* rows, uint32_t* x, int32_t first, int32_t n,
                                       const tinyml_conv* conv) {{
    const uint32_t zero = ((uint32_t)conv->zero_point & 0xFFU) * 0x01010101U;
    int32_t i, j, p, c;
    for (i = 0; i < conv->kernel_h; ++i) {{
        for (j = 0; j < conv->kernel_w; ++j) {{
            for (p = 0; p < n; ++p) {{
                const int32_t column = first + p * conv->stride_w + j;
                uint32_t* to = x + p;
                if (rows[i] != NULL && column >= 0 && column < conv->width) {{
                    const int8_t* from = rows[i] + column * conv->channels;
                    for (c = conv->channels; c > 0; c -= 4, from += 4, to += 2 * n) {{
                        const uint32_t word = tinyml_load_word(from), odd = tinyml_prepared_odd(word);
                        to[0] = odd;
                        to[n] = tinyml_prepared_even(word, odd);
                    }}
                }} else {{
                    const uint32_t odd = tinyml_prepared_odd(zero), even = tinyml_prepared_even(zero, odd);
                    for (c = conv->channels; c > 0; c -= 4, to += 2 * n) {{
                        to[0] = odd;
                        to[n] = even;
                    }}
                }}
            }}
            x += n * conv->channels / 2;
        }}
    }}
}}
"""


def _copied_text(name: str) -> str:
    """Rows of a strip of outputs are copied with their padding behind the prepared pixels."""
    return f"""TINYML_KERNEL static void {name}({_DRIVER}) {{
    const int8_t* stream = (const int8_t*)(conv + 1);
    const int8_t* rows[{HIGHEST_KERNEL}];
    uint32_t* prepared = (uint32_t*)scratch;
    int8_t* copies = (int8_t*)(prepared + 2 * conv->groups * conv->pixels);
    const int32_t channels = conv->channels;
    const int32_t pitch = (((conv->strip - 1) * conv->stride_w + conv->kernel_w) * channels + 3) / 4 * 4;
    int32_t i, n, behind, column = 0;
    for (behind = x0; x0 < x1; x0 += n, column += n) {{
        if (x0 == behind) {{
            int32_t first = x0 * conv->stride_w - conv->left, needed, before, inside;
            behind += tinyml_tile(x1 - x0, conv->strip);
            needed = (behind - x0 - 1) * conv->stride_w + conv->kernel_w;
            before = first < 0 ? -first : 0;
            inside = (first + needed < conv->width ? first + needed : conv->width) - (first + before);
            for (i = 0; i < conv->kernel_h; ++i) {{
                const int32_t r = y * conv->stride_h - conv->top + i;
                int8_t* row = copies + i * pitch;
                const int32_t there = r >= 0 && r < conv->height && inside > 0;
                if (!there) {{
                    memset(row, conv->zero_point, (size_t)(needed * channels));
                }} else {{
                    for (n = 0; n < before * channels; ++n) {{
                        row[n] = (int8_t)conv->zero_point;
                    }}
                    memcpy(row + n, tinyml_row(x, r) + (first + before) * channels, (size_t)(inside * channels));
                    for (n += inside * channels; n < needed * channels; ++n) {{
                        row[n] = (int8_t)conv->zero_point;
                    }}
                }}
                rows[i] = row;
            }}
            column = 0;
        }}
        n = tinyml_tile(behind - x0, conv->pixels);
        tiles->fill[n - 1](rows, prepared, column * conv->step, conv);
{_PRODUCT}    }}
}}
"""
