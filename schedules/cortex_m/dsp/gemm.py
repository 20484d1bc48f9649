"""Matrix product of prepared pixels and packed int8 weights, with requantization: the heart of convolution.

A register tile is two output channels times ``pixels``; per four input values (a group) and pixel it costs two words
of prepared input and two SMLAD, per channel one word of weights and one SXTB16. How one SXTB16 serves four weights: a
packed word holds two signed halfwords H = 256 * odd + even (see packing), a prepared pixel the halfword pairs
``o`` = x_odd - 127 and ``e`` = 256 * x_even - o. Then H * o + even * e = 256 * (odd * o + even * x_even), and SXTB16 of
H is ``even``. The accumulators are 256 times the sum, which is what requantization wants.

Sizes are arguments, so that one function serves many layers: the unrolled inner loop is entered where the rest of
the division by the unrolling leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import (
    from_zero_lines,
    naked_function,
    requantize_lines,
    requantize_twin,
    unsigned_lines,
    unsigned_twin,
)

PARAMETERS = "const int8_t* stream, const uint32_t* x, int8_t* out, const tinyml_conv* conv"


@dataclass(frozen=True)
class GemmTile:
    """One tile function: some output channels of ``pixels`` neighbouring output pixels.

    pixels : 1 to 4; 5 are gemm5's
    unroll : groups per turn of the inner loop, a power of two
    shift, zero_based, signed : see requantization.LayerRequantization
    low, high : clamp, unless ``zero_based``: then ``conv->addend`` has the bytes of ``assembly.from_zero``, both twice
    single : the odd last channel instead of all pairs
    """

    pixels: int
    unroll: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    signed: bool = False
    single: bool = False

    @property
    def width(self) -> int:
        """Output channels at once."""
        return 1 if self.single else 2


def gemm_function(name: str, tile: GemmTile) -> str:
    """C text of ``void name(stream, x, out, conv)``.

    ``stream`` per pair of channels: 2 offsets, groups times 2 words of weights, then multipliers (and signs) as
    M0 M1, or M0 S0 M1 S1 if signed; a last single channel likewise. ``x`` per group: ``pixels`` words o, as many e.
    ``out``: the first pixel; pixels are ``conv->out_channels`` apart.
    """
    n, m = tile.pixels, tile.width
    x, w, acc = _registers(tile)
    end = "lr" if n < 4 else None  # with four pixels all registers are taken
    group = _group(tile, x, w, acc)
    # stack: 0 end of x, 4 end of stream, 8 entry, 12 addend, 16 channels, 20 x, 24 out
    body = ["push {r1, r2, r4-r11, lr}", "mov r4, r1", "mov r1, r0", "ldm r3, {r5, r6, r7, r8}"]
    if tile.single:
        body += ["add r1, r1, r5", "add r2, r2, r7", "subs r2, #1", "str r2, [sp, #4]"]
    else:
        body += ["add r5, r5, r1"]
    body += ["add r9, r8, r8, lsl #1", "add r3, r4, r9, lsl #3"] if n == 3 else [f"add r3, r4, r8, lsl #{_log(n) + 3}"]
    body += ["rsb r8, r8, #0", f"and r8, r8, #{tile.unroll - 1}", f"movw r9, #{sum(map(_bytes, group))}"]
    body += ["mul r8, r8, r9", "adr.w r9, 3f + 1", "add r9, r9, r8", "push {r6, r7}", "push {r3, r5, r9}"]
    body += [f"mov {end}, r3", "1:"] if end else ["1:"]
    body += ["ldr r0, [sp, #20]", f"ldmia r1!, {{{', '.join(acc[0])}}}" if m > 1 else f"ldr {acc[0][0]}, [r1], #4"]
    body += [f"mov {acc[p][o]}, {acc[0][o]}" for p in range(1, n) for o in range(m)]
    body += ["ldr pc, [sp, #8]", ".balign 4", "3:"] + group * tile.unroll
    body += ([f"cmp r0, {end}"] if end else [f"ldr {x[0]}, [sp]", f"cmp r0, {x[0]}"]) + [
        "bne.w 3b",
        *_finish(tile, acc),
    ]
    if not tile.single:
        body += ["ldr r0, [sp, #24]", "adds r0, #2", "str r0, [sp, #24]", "ldr r2, [sp, #4]", "cmp r1, r2", "bne.w 1b"]
    body += ["add sp, sp, #28", "pop {r4-r11, pc}"]
    return naked_function(name, PARAMETERS, body, twin(tile))


def _registers(tile: GemmTile) -> tuple[list[str], list[str], list[list[str]]]:
    """Input words, weight words, accumulators [pixel][channel].

    Low registers for what LDM loads: such an LDM is two bytes. r0 and r1 are the pointers.
    """
    words, m = 3 if tile.pixels == 3 else 2, tile.width
    x = [f"r{2 + i}" for i in range(words)]
    w = [f"r{2 + words + i}" for i in range(m)]
    rest = [f"r{i}" for i in range(2 + words + m, 13)] + ["lr"]
    return x, w, [[rest[p * m + o] for o in range(m)] for p in range(tile.pixels)]


def _group(tile: GemmTile, x: list[str], w: list[str], acc: list[list[str]]) -> list[str]:
    """Four values of each pixel.

    Weights are unpacked one by one where a multiplication without them follows: a Cortex-M7 issues these two together.
    """
    n, step = tile.pixels, len(x)
    lines = [f"ldmia r1!, {{{', '.join(w)}}}"] if len(w) > 1 else [f"ldr {w[0]}, [r1], #4"]
    unpack = [f"sxtb16 {r}, {r}" for r in w]
    for phase in range(2):
        for first in range(0, n, step):
            load = x[: min(step, n - first)]
            lines += [f"ldmia r0!, {{{', '.join(load)}}}"] if len(load) > 1 else [f"ldr {load[0]}, [r0], #4"]
            lines += unpack[-1:] if phase and not first else []
            for o, weight in enumerate(w):
                lines += unpack[:o] if not phase and first + step >= n else []
                lines += [f"smlad {acc[first + i][o]}, {weight}, {r}, {acc[first + i][o]}" for i, r in enumerate(load)]
    return lines


def _finish(tile: GemmTile, acc: list[list[str]]) -> list[str]:
    """Requantize and store. The registers of x and w are free."""
    n, m = tile.pixels, tile.width
    lines: list[str] = []
    columns = [[row[o] for row in acc] for o in range(m)]
    limits = (tile.shift, tile.low, tile.high, False)
    if tile.signed:
        lines += ["ldr r0, [sp, #12]"]
        for column in columns:
            lines += ["ldmia r1!, {r2, r3}"] + requantize_lines(column, "r2", *limits, signed=("r3", "r0", "r4"))
    else:
        lines += ["ldmia r1!, {r2, r3}"] if m == 2 else ["ldr r2, [r1], #4"]
        for o, column in enumerate(columns):
            factor = f"r{2 + o}"
            zero_based = tile.zero_based
            lines += (
                unsigned_lines(column, factor, tile.shift) if zero_based else requantize_lines(column, factor, *limits)
            )
    lines += [f"bfi {a}, {b}, #8, #24" for a, b in acc] if m == 2 else []
    if tile.zero_based:
        lines += ["ldr r2, [sp, #12]", "lsr r3, r2, #16"] + from_zero_lines([row[0] for row in acc], "r2", "r3")
    lines += ["ldr r0, [sp, #24]"] + (["ldr r2, [sp, #16]"] if n > 1 else [])
    lines += ["add r3, r2, r2, lsl #1"] if n == 4 else []
    places = ("[r0]", "[r0, r2]", "[r0, r2, lsl #1]", "[r0, r3]")
    store = "strh" if m == 2 else "strb"
    return lines + [f"{store}.w {row[0]}, {place}" for row, place in zip(acc, places, strict=False)]


def _bytes(line: str) -> int:
    """Encoded size of a line of a group: LDMs of low registers have two bytes, all else four."""
    low = line.startswith("ldmia") and not any(f"r{i}" in line for i in range(8, 13)) and "lr" not in line
    return 2 if low else 4


def _log(n: int) -> int:
    return n.bit_length() - 1


def twin(tile: GemmTile) -> str:
    """Body in C of a tile's function."""
    n, m = tile.pixels, tile.width
    sign, factor = ("k[2 * o + 1]", "k[2 * o]") if tile.signed else ("0", "k[o]")
    limits = (tile.shift, tile.low, tile.high, False)
    value = requantize_twin("acc", factor, *limits, sign, "conv->addend" if tile.signed else "0")
    if tile.zero_based:
        value = unsigned_twin("acc", factor, tile.shift, "(conv->addend & 0xFF)", "((conv->addend >> 16) & 0xFF)")
    record = f"{4 * m} * (groups + {3 if tile.signed else 2})"
    if tile.single:
        head = f"""    const int8_t* end = stream + conv->pair_bytes + {record};
    out += conv->out_channels - 1;
    stream += conv->pair_bytes;
"""
    else:
        head = "    const int8_t* end = stream + conv->pair_bytes;\n"
    return f"""    const int32_t groups = conv->groups;
{head}    for (; stream != end; out += {m}, stream += {record}) {{
        const int32_t* b = (const int32_t*)stream;
        const uint32_t* w = (const uint32_t*)stream + {m};
        const int32_t* k = (const int32_t*)stream + {m} + {m} * groups;
        int32_t o, p, g;
        for (o = 0; o < {m}; ++o) {{
            for (p = 0; p < {n}; ++p) {{
                int32_t acc = b[o];
                for (g = 0; g < groups; ++g) {{
                    const uint32_t v = w[g * {m} + o];
                    acc = tinyml_dot2(v, x[g * {2 * n} + p], acc);
                    acc = tinyml_dot2(tinyml_even(v), x[g * {2 * n} + {n} + p], acc);
                }}
                out[p * conv->out_channels + o] = (int8_t){value};
            }}
        }}
    }}
"""
