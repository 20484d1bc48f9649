"""One output row of a convolution as fills and matrix products: the C functions that drive the assembly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.fill import Window, fill_function, fill_one_function
from tvm_tiny.schedules.cortex_m.dsp.gemm import GemmTile, gemm_function


@dataclass(frozen=True)
class ConvRow:
    """Shape of the layer, without groups and dilation.

    input_size, output_size, kernel, strides : (vertical, horizontal)
    before : padding (top, left)
    """

    input_size: tuple[int, int]
    channels: int
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    zero_point: int

    @property
    def borders(self) -> tuple[bool, bool]:
        """Whether taps lie outside the image, per axis."""
        last = [(n - 1) * s + k - b for n, s, k, b in self._axes]
        return (
            self.before[0] > 0 or last[0] > self.input_size[0],
            self.before[1] > 0 or last[1] > self.input_size[1],
        )

    @property
    def staged(self) -> bool:
        """Rows are copied with their padding first, where there is some and a tap is no whole number of words."""
        return any(self.borders) and self.channels % 4 != 0

    @property
    def staged_bytes(self) -> int:
        """Bytes of a staged row."""
        used = ((self.output_size[1] - 1) * self.strides[1] + self.kernel[1]) * self.channels
        return -(-used // 4) * 4

    def window(self, pixels: int) -> Window:
        return Window(pixels, self.kernel[0], self.kernel[1] * self.channels, self.strides[1] * self.channels)

    def scratch_bytes(self, pixels: int) -> int:
        """Working memory with tiles of at most so many pixels."""
        return self.window(1).groups * pixels * 8 + (self.staged_bytes * self.kernel[0] if self.staged else 0)

    @property
    def _axes(self) -> list[tuple[int, int, int, int]]:
        return list(zip(self.output_size, self.strides, self.kernel, self.before, strict=True))


@dataclass(frozen=True)
class _Tile:
    """``count`` neighbouring tiles of ``pixels`` from pixel ``first`` on; ``inside``: all columns of taps are there."""

    first: int
    pixels: int
    count: int
    inside: bool


def split_row(width: int, largest: int = 4) -> list[int]:
    """Widths of the tiles of a row: as few tiles as possible, none of one pixel if that can be helped."""
    count = -(-width // largest)
    base, more = divmod(width, count)
    return [base + 1] * more + [base] * (count - more)


def conv_row_functions(conv: ConvRow, tile: GemmTile, largest: int) -> tuple[CFunction, ...]:
    """The functions of one row, callees first; the last one computes the row:

    ``void name(const int8_t* x, int8_t* out, const int8_t* stream, uint8_t* scratch, int32_t y, int32_t slots)``

    Parameters
    ----------
    tile : with any number of pixels
    largest : most pixels of a tile
    """
    tiles = _tiles(conv, split_row(conv.output_size[1], largest))
    sizes = sorted({t.pixels for t in tiles})
    products = {n: c_function(f"gemm{n}", partial(gemm_function, tile=replace(tile, pixels=n))) for n in sizes}
    inside = sorted({t.pixels for t in tiles if t.inside})
    fills = {n: c_function(f"fill{n}", partial(fill_function, window=conv.window(n))) for n in inside}
    vertical = conv.borders[0] and not conv.staged
    crossing = sorted({t.pixels for t in tiles if vertical or not t.inside})
    ones = {n: c_function(f"fill_one{n}", partial(fill_one_function, pixels=n)) for n in crossing}
    borders = {n: c_function(f"border{n}", _border_text(conv, n, ones[n].name)) for n in crossing}
    row = c_function("conv_row", _row_text(conv, tile.channels, tiles, fills, products, borders))
    return (*fills.values(), *products.values(), *ones.values(), *borders.values(), row)


def _tiles(conv: ConvRow, widths: list[int]) -> list[_Tile]:
    """The row's tiles, neighbours alike in one."""
    tiles: list[_Tile] = []
    first = 0
    for n in widths:
        start = first * conv.strides[1] - conv.before[1]
        end = start + (n - 1) * conv.strides[1] + conv.kernel[1]
        inside = conv.staged or (start >= 0 and end <= conv.input_size[1])
        if tiles and (tiles[-1].pixels, tiles[-1].inside) == (n, inside):
            tiles[-1] = replace(tiles[-1], count=tiles[-1].count + 1)
        else:
            tiles.append(_Tile(first, n, 1, inside))
        first += n
    return tiles


def _row_text(
    conv: ConvRow,
    channels: int,
    tiles: Sequence[_Tile],
    fills: Mapping[int, CFunction],
    products: Mapping[int, CFunction],
    borders: Mapping[int, CFunction],
) -> Callable[[str], str]:
    height, kernel_h = conv.input_size[0], conv.kernel[0]
    row_bytes = conv.input_size[1] * conv.channels
    lines = [f"    const int8_t* rows[{kernel_h}];", "    uint32_t* prepared = (uint32_t*)scratch;", "    int32_t i;"]
    vertical = conv.borders[0] and not conv.staged
    lines += ["    int32_t whole = 1;"] if vertical and fills else []
    lines += _stage_lines(conv, max(t.pixels for t in tiles)) if conv.staged else []
    lines += [f"    for (i = 0; i < {kernel_h}; ++i) {{"]
    lines += [f"        const int32_t r = y * {conv.strides[0]} - {conv.before[0]} + i;"]
    inside = f"r >= 0 && r < {height}"
    if conv.staged:
        left = conv.before[1]
        used = min(conv.input_size[1], (conv.output_size[1] - 1) * conv.strides[1] + conv.kernel[1] - left)
        lines += [f"        int8_t* row = staged + i * {conv.staged_bytes};", "        rows[i] = row;"]
        lines += [f"        if ({inside}) {{"]
        copied = max(used, 0) * conv.channels
        to = f"row + {left * conv.channels}"
        lines += [f"            memcpy({to}, x + r % slots * {row_bytes}, {copied});", "        }"]
    elif vertical:
        lines += [f"        rows[i] = {inside} ? x + r % slots * {row_bytes} : NULL;"]
        lines += ["        whole &= rows[i] != NULL;"] if fills else []
    else:
        lines += [f"        rows[i] = x + r % slots * {row_bytes};"]
    lines += ["    }"]
    origin = 0 if conv.staged else conv.before[1]
    for tile in tiles:
        n = tile.pixels
        at = f"i * {n * conv.strides[1]} + {tile.first * conv.strides[1] - origin}"
        lines += [f"    for (i = 0; i < {tile.count}; ++i) {{"]
        fast = [f"        {fills[n].name}(rows, prepared, ({at}) * {conv.channels});"] if tile.inside else []
        slow = [f"        {borders[n].name}(rows, prepared, {at});"] if n in borders else []
        if tile.inside and vertical:
            lines += ["        if (whole) {", *(f"    {s}" for s in fast), "        } else {"]
            lines += [*(f"    {s}" for s in slow), "        }"]
        else:
            lines += fast or slow
        to = f"out + (i * {n} + {tile.first}) * {channels}"
        lines += [f"        {products[n].name}(stream, prepared, {to});", "    }"]
    head = "(const int8_t* x, int8_t* out, const int8_t* stream, uint8_t* scratch, int32_t y, int32_t slots)"
    return lambda name: "\n".join([f"static void {name}{head} {{", *lines, "}", ""])


def _stage_lines(conv: ConvRow, largest: int) -> list[str]:
    at = conv.window(1).groups * largest * 8
    return [
        f"    int8_t* staged = (int8_t*)scratch + {at};",
        f"    memset(staged, {conv.zero_point}, {conv.staged_bytes * conv.kernel[0]});",
    ]


def _border_text(conv: ConvRow, n: int, fill_one: str) -> Callable[[str], str]:
    """Fill of a tile with taps outside the image; those get the zero point."""
    kernel_h, kernel_w = conv.kernel
    words = conv.channels // 4
    zero = ", ".join([f"0x{(conv.zero_point & 0xFF) * 0x01010101:08X}U"] * words)
    return lambda name: (
        f"""static void {name}(const int8_t* const* rows, uint32_t* x, int32_t first) {{
    static const uint32_t zero[{words}] = {{{zero}}};
    int32_t i, j, p;
    for (i = 0; i < {kernel_h}; ++i) {{
        for (j = 0; j < {kernel_w}; ++j) {{
            for (p = 0; p < {n}; ++p) {{
                const int32_t column = first + p * {conv.strides[1]} + j;
                const int8_t* tap = (const int8_t*)zero;
                if (rows[i] != NULL && column >= 0 && column < {conv.input_size[1]}) {{
                    tap = rows[i] + column * {conv.channels};
                }}
                {fill_one}(tap, x + p, {words});
            }}
            x += {2 * n * words};
        }}
    }}
}}
"""
    )
