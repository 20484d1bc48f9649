"""Depthwise 3x3 over rows of few columns: a whole row, four channels at a time, as code without loops.

Width, borders and distances between pixels are numbers in the code. Scratch holds per channel, for every column,
A(x), the rows 0 and 1, and for every two columns B(x), the columns x and x + 1 of row 2: int8 minus the zero point, in
halfwords. So a tap outside the image is no instruction at all, and a missing row is zeros. Weights are halfwords, too,
times 256: they need no unpacking, for 8 bytes more per channel. Outputs go right to their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function, naked_function, requantize_lines, requantize_twin
from tvm_tiny.schedules.cortex_m.dsp.conv_part import entry_text
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS, OFFSET, ROWS, SUM_PARAMETERS

RECORD = 7
"""Words of constants per channel."""

LARGEST_OFFSET = 4095
"""Of LDR and STRB with an immediate."""

_GROUPS, _ZERO = OFFSET + 4, 4
"""Offsets in ``tinyml_strip``."""


@dataclass(frozen=True)
class NarrowDepthwise3x3:
    """What is fixed in the code.

    size : columns of the input
    columns : of the output
    stride, before : along the row
    channels : bytes from a pixel to the next
    unroll : channels that are written out one after the other, 1, 2 or 4
    shift, low, high, zero_based : see requantization; form "positive" only
    """

    size: int
    columns: int
    stride: int
    before: int
    channels: int
    unroll: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False

    @property
    def used(self) -> int:
        """Columns of the input that windows reach; from the first one on."""
        return min(self.size, (self.columns - 1) * self.stride - self.before + 3)

    @property
    def reachable(self) -> bool:
        """Whether all pixels of a row are within the offsets of loads and stores."""
        return (max(self.used, self.columns) - 1) * self.channels <= LARGEST_OFFSET

    @property
    def record(self) -> int:
        """Bytes of constants per channel."""
        return 4 * RECORD

    @property
    def strip(self) -> int:
        """Outputs at a time."""
        return self.columns

    @property
    def scratch_bytes(self) -> int:
        return 4 * CHANNELS * len(_places(self.used))


def _places(columns: int) -> list[tuple[str, int]]:
    """The words of a channel: ("A", column) or ("B", first column), the three or two of a pair of columns together."""
    places = []
    for x in range(0, columns, 4):
        words = [("A", x), ("A", x + 1), ("B", x), ("B", x + 2), ("A", x + 2), ("A", x + 3)]
        places += [(plane, at) for plane, at in words if at < columns]
    return places


def narrow_functions(layer: NarrowDepthwise3x3) -> tuple[CFunction, ...]:
    """As ``conv_part.conv_functions``, for whole rows."""
    sums = c_function("dw3x3_narrow", partial(_row_function, layer=layer))
    driver = c_function("dw3x3_narrow_part", _driver_text)
    declaration = "const tinyml_depthwise* layer = (const tinyml_depthwise*)packed"
    return (sums, driver, c_function("dw_row", entry_text(declaration, f"{sums.name}, layer", driver.name, False)))


def _driver_text(name: str) -> str:
    return f"""TINYML_KERNEL static void {name}(tinyml_depthwise_sum* sum, const tinyml_depthwise* layer,
    const tinyml_rows* x, int8_t* out, uint8_t* scratch, int32_t y, int32_t x0, int32_t x1) {{
    const int32_t channels = layer->channels;
    const int32_t above = y * layer->stride_h - layer->top;
    const int32_t* constants = (const int32_t*)(layer + 1);
    const int8_t* rows[3];
    tinyml_strip strip;
    int32_t i;
    (void)x0;
    (void)x1;
    strip.zero = ((uint32_t)layer->zero_point & 0xFFU) * 0x01010101U;
    strip.missing = 0;
    strip.rows = rows;
    for (i = 0; i < 3; ++i) {{
        const int32_t r = above + i, outside = r < 0 || r >= layer->height;
        strip.missing |= outside << i;
        /* A row outside is read from one that is there, for nothing. */
        rows[i] = tinyml_row(x, !outside ? r : above > 0 ? above : 0);
    }}
    strip.offset = 0;
    strip.groups = channels / {CHANNELS};
    sum((uint32_t*)scratch, constants, out, &strip);
    /* The last group overlaps the one before if it must. */
    if (channels % {CHANNELS} != 0) {{
        strip.offset = channels - {CHANNELS};
        strip.groups = 1;
        sum((uint32_t*)scratch, constants + {RECORD} * strip.offset, out + strip.offset, &strip);
    }}
}}
"""


def _row_function(name: str, layer: NarrowDepthwise3x3) -> str:
    """C text of ``void name(planes, constants, out, strip)``.

    ``constants``: per channel as in ``packing.narrow_constants``. Of ``strip`` only zero, missing, rows, offset and
    groups are read.
    """
    # stack: 0 rows, 12 minus the zero point twice, 16 end of the first row, 20 missing rows, 24 constants, 28 end of
    # the planes
    body = ["push {r4-r11, lr}", "sub sp, #32", f"ldr r4, [r3, #{ROWS}]", "ldmia r4, {r5, r6, r7}"]
    body += [f"ldrd r8, r9, [r3, #{OFFSET}]", "add r5, r8", "add r6, r8", "add r7, r8"]
    body += [f"ldrd r10, r11, [r3, #{_ZERO}]", "sxtb16 r10, r10", "movs r4, #0", "ssub16 r8, r4, r10"]
    body += ["add r9, r5, r9, lsl #2", "mov r10, r11", "mov r11, r1"]
    body += [f"add r12, r0, #{layer.scratch_bytes}", "mov r1, r2", "stmia.w sp, {r5-r12}"]
    body += ["1:", "ldmia.w sp, {r2, r3, r4, r5, r6, r12}", "cmp r2, r6", "beq.w 9f", *_fill(layer)]
    body += ["stmia.w sp, {r2, r3, r4}", "cmp r12, #0", "bne.w 7f", "2:"]
    body += _channel(layer) * layer.unroll
    if layer.unroll < CHANNELS:
        body += ["ldr r5, [sp, #28]", "cmp r0, r5", "bne.w 2b"]
    body += [f"sub.w r0, r0, #{layer.scratch_bytes}", "b.w 1b", "7:", *_clear(layer), "b.w 2b"]
    body += ["9:", "add sp, #32", "pop {r4-r11, pc}"]
    return naked_function(name, SUM_PARAMETERS, body, _twin(layer))


def _fill(layer: NarrowDepthwise3x3) -> list[str]:
    """Planes at r0 from rows at r2, r3, r4, which go on by four channels; r5 is minus the zero point, twice."""
    started: set[str] = set()

    def load(target: str, row: str, column: int) -> str:
        if row in started:
            return f"ldr {target}, [{row}, #{column * layer.channels - CHANNELS}]"
        started.add(row)
        return f"ldr {target}, [{row}], #{CHANNELS}"

    lines: list[str] = []
    places = _places(layer.used)
    for first in range(0, len(places), 2):
        # For each of two words: what takes a channel's value, and the register it has it from and goes to.
        words: list[list[tuple[str, str]]] = []
        for (plane, x), (one, other, low) in zip(
            places[first : first + 2], (("r6", "r7", "r10"), ("r8", "r9", "r11")), strict=False
        ):
            if plane == "B" and x + 1 == layer.used:
                lines += [load(one, "r4", x)]
                words.append([(f"sxtab {other}, r5, {one}, ror #{8 * c}", other) for c in range(CHANNELS)])
                continue
            rows = (("r2", x), ("r3", x)) if plane == "A" else (("r4", x), ("r4", x + 1))
            lines += [load(r, *at) for r, at in zip((one, other), rows, strict=True)]
            lines += [f"pkhbt {low}, {one}, {other}, lsl #16", f"pkhtb {other}, {other}, {one}, asr #16"]
            words.append(
                [
                    take
                    for r in (low, other)
                    for take in ((f"sxtab16 {one}, r5, {r}", one), (f"sxtab16 {r}, r5, {r}, ror #8", r))
                ]
            )
        for c, takes in enumerate(zip(*words, strict=True)):
            at = f"[r0, #{4 * (c * len(places) + first)}]"
            lines += [line for line, _ in takes]
            lines += [f"{'strd' if len(takes) > 1 else 'str'} {', '.join(r for _, r in takes)}, {at}"]
    return lines


# registers: r0 planes, r1 out, r2 r3 r4 words of two columns, r5 r6 sums, r7 multiplier, r8 offset,
# r9 r10 r11 weights of rows 0 and 1 by column, r12 = row 2 columns 0 and 1, lr = row 2 columns 1 and 2


def _channel(layer: NarrowDepthwise3x3) -> list[str]:
    """All outputs of a channel; two columns at a time, so that at most two sums are unfinished."""
    lines = ["ldr r5, [sp, #24]", "ldmia.w r5!, {r7, r8, r9, r10, r11, r12, lr}", "str r5, [sp, #24]"]
    free, sums = ["r5", "r6"], dict[int, str]()
    # What ends an output stands between the next one's multiplications, which a Cortex-M7 issues together with it.
    ends: list[str] = []

    def end(count: int) -> None:
        for _ in range(min(count, len(ends))):
            lines.append(ends.pop(0))
            if lines[-1].startswith("strb"):
                free.append(lines[-1].split()[1].rstrip(","))

    places = _places(layer.used)
    for x in range(0, layer.used, 2):
        words = [p for p in places if p[1] in (x, x + 1)]
        register = dict(zip(words, ("r2", "r3", "r4"), strict=False))
        lines += [f"ldmia r0!, {{{', '.join(register[w] for w in words)}}}"]
        for output in range(layer.columns):
            taps = [(c, c - output * layer.stride + layer.before) for c in (x, x + 1) if c < layer.used]
            taps = [(c, j) for c, j in taps if 0 <= j < 3]
            if not taps:
                continue
            products = [("smlad", register["A", c], f"r{9 + j}") for c, j in taps]
            products.append(_row_two(register["B", x], taps, x))
            for operation, a, b in products:
                before = sums.get(output, "r8")
                if output not in sums:
                    end(0 if free else len(ends))
                    sums[output] = free.pop(0)
                lines.append(f"{operation} {sums[output]}, {a}, {b}, {before}")
                end(1)
            if taps[-1][1] == 2 or x + 2 >= layer.used:
                acc = sums[output]
                ends += requantize_lines([acc], "r7", layer.shift, layer.low, layer.high, layer.zero_based)
                # The channel's own byte is counted with the first output.
                ends += [f"strb {acc}, [r1, #{output * layer.channels - 1}]" if output else f"strb {acc}, [r1], #1"]
    end(len(ends))
    return lines


def _row_two(pair: str, taps: list[tuple[int, int]], x: int) -> tuple[str, str, str]:
    """Multiply instruction and operands for row 2: ``taps`` are (column, tap) of columns x and x + 1."""
    column, tap = taps[0]
    weights, half = ("r12", "bt"[tap]) if tap < 2 else ("lr", "t")
    if len(taps) == 2:
        return "smlad", pair, "lr" if tap else "r12"
    return f"smla{'bt'[column - x]}{half}", pair, weights


def _clear(layer: NarrowDepthwise3x3) -> list[str]:
    """Zeros in the planes for missing rows, of which r12 has the bits."""
    lines = ["sbfx r6, r12, #0, #1", "sbfx r7, r12, #1, #1", "pkhbt r6, r6, r7, lsl #16", "sbfx r7, r12, #2, #1"]
    lines += ["mov r8, r0", "ldr r9, [sp, #28]", "8:"]
    for plane, _ in _places(layer.used):
        lines += ["ldr r5, [r8]", f"bic r5, r5, {'r6' if plane == 'A' else 'r7'}", "str r5, [r8], #4"]
    return [*lines, "cmp r8, r9", "bne 8b"]


def _twin(layer: NarrowDepthwise3x3) -> str:
    places = _places(layer.used)
    at_a = ", ".join(str(places.index(("A", x))) for x in range(layer.used))
    at_b = ", ".join(str(places.index(("B", x - x % 2))) for x in range(layer.used))
    value = requantize_twin("acc", "k[0]", layer.shift, layer.low, layer.high, layer.zero_based)
    return f"""    static const int8_t at_a[] = {{{at_a}}}, at_b[] = {{{at_b}}};
    const int32_t zero = (int8_t)(strip->zero & 0xFFU);
    int32_t group, c, x, i, j;
    for (group = 0; group < strip->groups; ++group) {{
        for (c = 0; c < {CHANNELS}; ++c, ++out, constants += {RECORD}) {{
            const int32_t* k = constants;
            uint32_t* plane = planes + c * {len(places)};
            for (x = 0; x < {layer.used}; ++x) {{
                int32_t v[3];
                for (i = 0; i < 3; ++i) {{
                    const int8_t* row = strip->rows[i] + strip->offset + {CHANNELS} * group + c;
                    v[i] = (strip->missing >> i) & 1 ? 0 : row[x * {layer.channels}] - zero;
                }}
                plane[at_a[x]] = tinyml_pair(v[0], v[1]);
                plane[at_b[x]] = x % 2 ? tinyml_pair(tinyml_low(plane[at_b[x]]), v[2]) : tinyml_pair(v[2], 0);
            }}
            for (x = 0; x < {layer.columns}; ++x) {{
                int32_t acc = k[1];
                for (j = 0; j < 3; ++j) {{
                    const int32_t at = x * {layer.stride} - {layer.before} + j;
                    if (at >= 0 && at < {layer.used}) {{
                        const uint32_t below = plane[at_b[at]], w = (uint32_t)k[j < 2 ? 5 : 6];
                        acc = tinyml_dot2(plane[at_a[at]], (uint32_t)k[2 + j], acc);
                        acc = tinyml_mac(at % 2 ? tinyml_high(below) : tinyml_low(below),
                                         j ? tinyml_high(w) : tinyml_low(w), acc);
                    }}
                }}
                out[x * {layer.channels}] = (int8_t){value};
            }}
        }}
    }}
"""
