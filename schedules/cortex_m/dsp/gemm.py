"""Matrix product of prepared pixels and packed int8 weights, with requantization: the heart of convolution.

A register tile is two output channels times ``pixels``; per four input values (a group) and pixel it costs two words
of prepared input and two SMLAD, per channel one word of weights and one SXTB16. How one SXTB16 serves four weights: a
packed word holds two signed halfwords H = 256 * odd + even (see packing), a prepared pixel the halfword pairs
``o`` = x_odd - 127 and ``e`` = 256 * x_even - o. Then H * o + even * e = 256 * (odd * o + even * x_even), and SXTB16 of
H is ``even``. The accumulators are 256 times the sum, which is what requantization wants.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function, requantize_lines, requantize_twin


@dataclass(frozen=True)
class GemmTile:
    """One tile function: all output channels of ``pixels`` neighbouring output pixels.

    pixels : 1 to 4
    groups : input values / 4, rounded up
    channels : output channels, and the distance between pixels of the output in bytes
    unroll : groups per turn of the inner loop
    shift, low, high, zero_based, signed, addend : see requantization.LayerRequantization
    """

    pixels: int
    groups: int
    channels: int
    unroll: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    signed: bool = False
    addend: int = 0

    @property
    def scratch_bytes(self) -> int:
        """Size of the prepared pixels."""
        return self.groups * self.pixels * 8

    def stream_bytes(self) -> int:
        """Size of the packed weights and constants of the layer."""
        return self.channels * (4 * self.groups + (12 if self.signed else 8))


def gemm_function(name: str, tile: GemmTile) -> str:
    """C text of ``void name(const int8_t* stream, const uint32_t* x, int8_t* out)``.

    ``stream`` per pair of channels: 2 offsets, groups times 2 words of weights, then multipliers (and signs) as
    M0 M1, or M0 S0 M1 S1 if signed; a last single channel likewise. ``x`` per group: ``pixels`` words o, as many e.
    """
    pairs, single = divmod(tile.channels, 2)
    body = ["push {r1, r2, r4-r11, lr}"]
    if pairs > 0:
        body += _channel_loop(tile, 2, pairs, "1", "2")
    if single:
        body += _channel_loop(tile, 1, 1, "3", "4")
    body += ["pop {r1, r2, r4-r11, pc}"]
    return naked_function(name, "const int8_t* stream, const uint32_t* x, int8_t* out", _frame(tile, body), _twin(tile))


def _frame(tile: GemmTile, body: list[str]) -> list[str]:
    """Swap r0 (stream) into r1; keep x, out and the loop ends on the stack."""
    pairs = tile.channels // 2
    pair_bytes = 2 * tile.stream_bytes() // tile.channels if tile.channels else 0
    head = [body[0], "mov r1, r0", "sub sp, sp, #8"]
    head += _constant("r2", tile.groups // tile.unroll * tile.unroll * tile.pixels * 8) + [
        "ldr r0, [sp, #8]",
        "add r2, r2, r0",
        "str r2, [sp]",
    ]
    head += _constant("r2", pairs * pair_bytes) + ["add r2, r2, r1", "str r2, [sp, #4]"]
    return head + body[1:-1] + ["add sp, sp, #8", body[-1]]


def _constant(register: str, value: int) -> list[str]:
    if value < 65536:
        return [f"movw {register}, #{value}"]
    return [f"movw {register}, #{value & 0xFFFF}", f"movt {register}, #{value >> 16}"]


def channel_registers(tile: GemmTile, m: int) -> tuple[list[str], list[str], list[list[str]], str | None]:
    """Input words, weight words, accumulators [pixel][channel], loop counter (None: compare pointers).

    Low registers for what LDM loads: such an LDM is two bytes. r0 and r1 are the pointers.
    """
    n = tile.pixels
    words = 3 if n == 3 else 2
    x = [f"r{2 + i}" for i in range(words)]
    w = [f"r{2 + words + i}" for i in range(m)]
    rest = [f"r{i}" for i in range(2 + words + m, 13)] + ["lr"]
    acc = [[rest[p * m + o] for o in range(m)] for p in range(n)]
    free = rest[n * m :]
    return x, w, acc, free[0] if free else None


def _channel_loop(tile: GemmTile, m: int, count: int, outer: str, inner: str) -> list[str]:
    x, w, acc, counter = channel_registers(tile, m)
    n = tile.pixels
    turns, rest = divmod(tile.groups, tile.unroll)
    lines = [f"{outer}:"] if count > 1 else []
    lines += ["ldr r0, [sp, #8]", f"ldmia r1!, {{{', '.join(acc[0])}}}"]
    lines += [f"mov {acc[p][o]}, {acc[0][o]}" for p in range(1, n) for o in range(m)]
    group = channel_group(tile, m, x, w, acc)
    if turns > 1:
        if counter is not None:
            lines += [f"movw {counter}, #{turns}" if turns > 255 else f"mov {counter}, #{turns}"]
        lines += [f"{inner}:"] + group * tile.unroll
        if counter is not None:
            lines += [f"subs {counter}, {counter}, #1", f"bne.w {inner}b"]
        else:
            lines += [f"ldr {x[0]}, [sp]", f"cmp r0, {x[0]}", f"bne.w {inner}b"]
    else:
        lines += group * (turns * tile.unroll)
    lines += group * rest
    lines += finish_lines(tile, m, acc, addend=_constant("r0", tile.addend & 0xFFFFFFFF), out=12)
    lines += [f"strb {a}, [r0, #{p * tile.channels + o}]" for p, row in enumerate(acc) for o, a in enumerate(row)]
    lines += ["adds r0, #2", "str r0, [sp, #12]"] if m == 2 else []
    if count > 1:
        lines += ["ldr r2, [sp, #4]", "cmp r1, r2", f"bne.w {outer}b"]
    return lines


def channel_group(tile: GemmTile, m: int, x: list[str], w: list[str], acc: list[list[str]]) -> list[str]:
    n, step = tile.pixels, len(x)
    lines = [f"ldmia r1!, {{{', '.join(w)}}}"] if m > 1 else [f"ldr {w[0]}, [r1], #4"]
    for phase in range(2):
        if phase:
            lines += [f"sxtb16 {r}, {r}" for r in w]
        for first in range(0, n, step):
            load = x[: min(step, n - first)]
            lines += [f"ldmia r0!, {{{', '.join(load)}}}"] if len(load) > 1 else [f"ldr {load[0]}, [r0], #4"]
            for o in range(m):
                for i, r in enumerate(load):
                    a = acc[first + i][o]
                    lines += [f"smlad {a}, {w[o]}, {r}, {a}"]
    return lines


def finish_lines(tile: GemmTile, m: int, acc: list[list[str]], addend: list[str], out: int) -> list[str]:
    """Requantize; then r0 is the output pointer, kept at sp + ``out``. Uses the registers of x and w.

    addend : instructions that load the signed form's addend to r0
    """
    lines: list[str] = []
    columns = [[row[o] for row in acc] for o in range(m)]
    limits = (tile.shift, tile.low, tile.high, tile.zero_based)
    if tile.signed:
        lines += addend
        for column in columns:
            lines += ["ldmia r1!, {r2, r3}"] + requantize_lines(column, "r2", *limits, signed=("r3", "r0", "r4"))
        return lines + [f"ldr r0, [sp, #{out}]"]
    lines += ["ldmia r1!, {r2, r3}"] if m == 2 else ["ldr r2, [r1], #4"]
    lines += [f"ldr r0, [sp, #{out}]"]
    for o, column in enumerate(columns):
        lines += requantize_lines(column, f"r{2 + o}", *limits)
    return lines


def _twin(tile: GemmTile) -> str:
    n, g = tile.pixels, tile.groups
    sign = "k[2 * o + 1]" if tile.signed else "0"
    factor = "k[2 * o]" if tile.signed else "k[o]"
    value = requantize_twin("acc", factor, tile.shift, tile.low, tile.high, tile.zero_based, sign, str(tile.addend))
    return f"""    int32_t c, o, p, g;
    for (c = 0; c < {tile.channels}; c += 2) {{
        const int32_t m = {tile.channels} - c > 1 ? 2 : 1;
        const int32_t* b = (const int32_t*)stream;
        const uint32_t* w = (const uint32_t*)stream + m;
        const int32_t* k = (const int32_t*)stream + m + m * {g};
        for (o = 0; o < m; ++o) {{
            for (p = 0; p < {n}; ++p) {{
                int32_t acc = b[o];
                for (g = 0; g < {g}; ++g) {{
                    const uint32_t v = w[g * m + o];
                    acc = tinyml_dot2(v, x[g * {2 * n} + p], acc);
                    acc = tinyml_dot2(tinyml_even(v), x[g * {2 * n} + {n} + p], acc);
                }}
                out[p * {tile.channels} + c + o] = (int8_t){value};
            }}
        }}
        stream += 4 * m * ({g} + {3 if tile.signed else 2});
    }}
"""
