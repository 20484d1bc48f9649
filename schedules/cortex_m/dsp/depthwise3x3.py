"""Depthwise 3x3, four channels at a time: transpose a strip of three rows to planes, then run along the row.

Scratch holds, per channel and two columns, three words: A(x) and A(x + 1), each the rows 0 and 1 of one column, and
B(x), the columns x and x + 1 of row 2, all int8 * 256 in halfwords. An output pixel is then five multiply instructions
for nine taps: three SMLAD on A, one SMLAD and one half on B. Five registers keep the weights, and every word is loaded
once, because an output's sum is begun with one pair of columns and ended with the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function, requantize_lines, requantize_twin

CHANNELS = 4


@dataclass(frozen=True)
class Depthwise3x3:
    """A layer (or a strip of its columns).

    columns : image columns of a row
    first : image column of the first tap, negative inside the left padding
    outputs : output pixels of the strip
    stride : 1 or 2, along the row
    channels : bytes from one pixel to the next, in and out
    shift, low, high, zero_based : see requantization; form "positive" only
    """

    columns: int
    first: int
    outputs: int
    stride: int
    channels: int
    zero_point: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False

    @property
    def pairs(self) -> int:
        """Pairs of columns in scratch."""
        return ((self.outputs - 1) * self.stride + 4) // 2

    @property
    def plane_bytes(self) -> int:
        return 12 * self.pairs

    @property
    def scratch_bytes(self) -> int:
        return CHANNELS * self.plane_bytes


def fill_function(name: str, strip: Depthwise3x3) -> str:
    """C text of ``void name(const int8_t* const* rows, uint32_t* planes)``: 4 channels of 3 rows, from ``*rows`` on."""
    c = strip.channels
    word = (strip.zero_point & 0xFF) * 0x01010101
    needed = (strip.outputs - 1) * strip.stride + 3
    inside = [
        tuple(2 * g + i < needed and 0 <= strip.first + 2 * g + i < strip.columns for i in (0, 1))
        for g in range(strip.pairs)
    ]
    start = max(strip.first, 0)
    body = ["push {r4-r11, lr}", "ldmia r0, {r0, r2, r3}", "mvn r12, #0xff00ff"]
    if start:
        body += [f"add {p}, {p}, #{start * c}" for p in ("r0", "r2", "r3")] if start * c < 4096 else _far(start * c)
    g = 0
    while g < strip.pairs:
        count = 1
        while inside[g] == (True, True) and g + count < strip.pairs and inside[g + count] == (True, True):
            count += 1
        if count > 2:
            body += [f"movw r4, #{count * 12}", "add r4, r4, r1", "push {r4}", "1:"]
            body += _pair(strip, word, (True, True)) + ["ldr r4, [sp]", "cmp r1, r4", "bne.w 1b", "pop {r4}"]
        else:
            body += _pair(strip, word, inside[g]) * count
        g += count
    body += ["pop {r4-r11, pc}"]
    return naked_function(name, "const int8_t* const* rows, uint32_t* planes", body, _fill_twin(strip))


def _far(offset: int) -> list[str]:
    return [f"movw r4, #{offset}"] + [f"add {p}, {p}, r4" for p in ("r0", "r2", "r3")]


def _pair(strip: Depthwise3x3, word: int, inside: tuple[bool, ...]) -> list[str]:
    c, s = strip.channels, strip.plane_bytes
    pointers, columns = ("r0", "r2", "r3"), (("r4", "r5", "r6"), ("r7", "r8", "r9"))
    lines: list[str] = []
    step = sum(inside) * c
    post = step if step <= 255 else 0
    for i in (1, 0):
        if not inside[i]:
            one, two, three = columns[i]
            lines += [
                f"movw {one}, #{word & 0xFFFF}",
                f"movt {one}, #{word >> 16}",
                f"mov {two}, {one}",
                f"mov {three}, {one}",
            ]
            continue
        offset = c if i and inside[0] else 0
        last = i == 0 or not inside[0]
        for p, r in zip(pointers, columns[i], strict=True):
            lines += [f"ldr {r}, [{p}], #{post}" if last and post else f"ldr {r}, [{p}, #{offset}]"]
    if step and not post:
        lines += [f"add {p}, {p}, #{step}" for p in pointers]
    lines += [
        "pkhbt r10, r4, r5, lsl #16",
        "pkhtb r5, r5, r4, asr #16",
    ]  # row 0 below row 1: channels 0 1, channels 2 3
    lines += ["pkhbt r11, r7, r8, lsl #16", "pkhtb r8, r8, r7, asr #16"]
    lines += ["pkhbt lr, r6, r9, lsl #16", "pkhtb r9, r9, r6, asr #16"]  # row 2: column x below x + 1
    low, high = ("r10", "r11", "lr"), ("r5", "r8", "r9")
    free = ("r4", "r6", "r7")
    for channel, (source, target) in enumerate(((low, free), (low, low), (high, free), (high, high))):
        shift = ", lsl #8" if channel % 2 == 0 else ""
        lines += [f"and {t}, r12, {r}{shift}" for t, r in zip(target, source, strict=True)]
        if channel == 0:
            lines += [f"stmia r1!, {{{', '.join(target)}}}"]
            continue
        at = channel * s - 12
        if at <= 1020:
            lines += [f"strd {target[0]}, {target[1]}, [r1, #{at}]", f"str {target[2]}, [r1, #{at + 8}]"]
        else:  # r6 or r10 is free again by then
            spare = "r6" if channel % 2 else "r10"
            lines += [f"add {spare}, r1, #{at}", f"stmia {spare}, {{{', '.join(target)}}}"]
    return lines


def row_function(name: str, strip: Depthwise3x3) -> str:
    """C text of the function that computes ``outputs`` pixels of four channels:

    ``void name(const uint32_t* planes, const int32_t* constants, int8_t* out, int32_t missing)``

    ``constants``: per channel multiplier, offset, three words of weights as in ``packing.depthwise3x3_constants``.
    ``missing``: bit i set when kernel row i lies outside the image; its taps then count as the zero point.
    """
    c = strip.channels
    body = ["push {r1, r2, r3, r4-r11, lr}", f"mov r4, #{CHANNELS}", "push {r4}", "1:"]
    body += ["ldr r2, [sp, #4]", "ldmia r2!, {r7, r8, r9, r12, lr}", "str r2, [sp, #4]"]
    body += ["sxtb16 r10, r9, ror #8", "sxtb16 r9, r9", "sxtb16 r11, r12", "sxtb16 r12, r12, ror #8", "sxtb16 lr, lr"]
    body += [
        "ldr r2, [sp, #12]",
        "cmp r2, #0",
        "bne.w 8f",
        "7:",
        "ldr r1, [sp, #8]",
        "adds r2, r1, #1",
        "str r2, [sp, #8]",
    ]
    body += ["ldmia r0!, {r2, r3, r4}"]
    per_turn, finish = (2, _turn_one) if strip.stride == 1 else (1, _turn_two)
    body += _start(strip.stride)
    turns, odd = divmod(strip.outputs, per_turn)
    most = min(6, max((4095 - c) // (per_turn * c), 1))  # what a store's immediate offset reaches
    unroll = turns if turns <= most else next((u for u in range(most, 2, -1) if turns % u == 0), min(most, 4))
    loops, rest = divmod(turns, max(unroll, 1))
    last = turns + odd
    if loops == 1 and (turns * per_turn + odd) * c <= 4095:
        loops, rest = 0, turns
    if loops:
        body += [f"movw r2, #{12 * loops * unroll}", "add r2, r2, r0", "push {r2}", "2:"] if loops > 1 else []
        for j in range(unroll):
            body += finish(strip, j, True)
        body += [f"add r1, r1, #{unroll * per_turn * c}"]
        body += ["ldr r2, [sp]", "cmp r0, r2", "bne.w 2b", "add sp, sp, #4"] if loops > 1 else []
    done = loops * unroll
    for j in range(rest):
        body += finish(strip, j, done + j + 1 < last)
    if odd:
        body += ["ldmia r0!, {r2, r3, r4}", "smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
        body += _requantize(strip, ["r5"]) + [f"strb r5, [r1, #{rest * per_turn * c}]"]
    body += ["ldr r2, [sp]", "subs r2, r2, #1", "str r2, [sp]", "bne.w 1b", "add sp, sp, #16", "pop {r4-r11, pc}", "8:"]
    body += _missing(strip)
    parameters = "const uint32_t* planes, const int32_t* constants, int8_t* out, int32_t missing"
    return naked_function(name, parameters, body, _row_twin(strip))


# registers: r0 planes, r1 out, r2 r3 r4 = A A' B, r5 r6 sums, r7 multiplier, r8 offset,
# r9 r10 r11 weights of rows 0 and 1 by column, r12 = row 2 columns 0 and 1, lr = row 2 columns 1 and 2


def _start(stride: int) -> list[str]:
    lines = ["smlad r5, r2, r9, r8", "smlad r5, r3, r10, r5", "smlad r5, r4, r12, r5"]
    return lines if stride == 2 else lines + ["smlad r6, r3, r9, r8", "smlabt r6, r12, r4, r6"]


def _requantize(strip: Depthwise3x3, acc: list[str]) -> list[str]:
    return requantize_lines(acc, "r7", strip.shift, strip.low, strip.high, strip.zero_based)


def _turn_one(strip: Depthwise3x3, index: int, more: bool) -> list[str]:
    """End two outputs, begin two."""
    lines = ["ldmia r0!, {r2, r3, r4}", "smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
    lines += ["smlad r6, r2, r10, r6", "smlad r6, r3, r11, r6", "smlad r6, r4, lr, r6"]
    at = 2 * index * strip.channels
    lines += _requantize(strip, ["r5", "r6"]) + [f"strb r5, [r1, #{at}]", f"strb r6, [r1, #{at + strip.channels}]"]
    return lines + (_start(1) if more else [])


def _turn_two(strip: Depthwise3x3, index: int, more: bool) -> list[str]:
    lines = ["ldmia r0!, {r2, r3, r4}", "smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
    lines += _requantize(strip, ["r5"]) + [f"strb r5, [r1, #{index * strip.channels}]"]
    return lines + (_start(2) if more else [])


def _missing(strip: Depthwise3x3) -> list[str]:
    """Take rows outside the image out of the sum: their weights become 0, the zero point's share leaves the offset."""
    pair = (strip.zero_point * 256) & 0xFFFF
    lines = [f"movw r3, #{pair}", f"movt r3, #{pair}"]
    weights = ("r9", "r10", "r11")
    for bit, half, clear in ((0, "b", "bfc {0}, #0, #16"), (1, "t", "uxth {0}, {0}")):
        lines += [f"tst r2, #{1 << bit}", f"beq {3 + bit}f"]
        lines += (
            [f"smla{half}b r8, {w}, r3, r8" for w in weights] + [clear.format(w) for w in weights] + [f"{3 + bit}:"]
        )
    lines += [
        "tst r2, #4",
        "beq 5f",
        "smlad r8, r12, r3, r8",
        "smlatb r8, lr, r3, r8",
        "mov r12, #0",
        "mov lr, #0",
        "5:",
        "b.w 7b",
    ]
    return lines


def _fill_twin(strip: Depthwise3x3) -> str:
    needed = (strip.outputs - 1) * strip.stride + 3
    return f"""    int32_t c, g, i, r;
    for (c = 0; c < {CHANNELS}; ++c) {{
        for (g = 0; g < {strip.pairs}; ++g) {{
            int32_t v[2][3];
            for (i = 0; i < 2; ++i) {{
                const int32_t at = {strip.first} + 2 * g + i;
                const int32_t inside = 2 * g + i < {needed} && at >= 0 && at < {strip.columns};
                for (r = 0; r < 3; ++r) {{
                    v[i][r] = 256 * (inside ? rows[r][at * {strip.channels} + c] : {strip.zero_point});
                }}
                planes[3 * ({strip.pairs} * c + g) + i] = tinyml_pair(v[i][0], v[i][1]);
            }}
            planes[3 * ({strip.pairs} * c + g) + 2] = tinyml_pair(v[0][2], v[1][2]);
        }}
    }}
"""


def _row_twin(strip: Depthwise3x3) -> str:
    value = requantize_twin("acc", "k[0]", strip.shift, strip.low, strip.high, strip.zero_based)
    return f"""    int32_t c, x, i, j;
    for (c = 0; c < {CHANNELS}; ++c) {{
        const int32_t* k = constants + 5 * c;
        const int8_t* w = (const int8_t*)(k + 2);
        static const int8_t place[3][3] = {{{{0, 1, 4}}, {{2, 3, 6}}, {{5, 7, 10}}}};
        for (x = 0; x < {strip.outputs}; ++x) {{
            int32_t acc = k[1];
            for (i = 0; i < 3; ++i) {{
                for (j = 0; j < 3; ++j) {{
                    const int32_t at = x * {strip.stride} + j;
                    const uint32_t* p = planes + 3 * ({strip.pairs} * c + at / 2);
                    const uint32_t pair = p[i == 2 ? 2 : at % 2];
                    const int32_t v = (i == 2 ? at % 2 : i) ? tinyml_high(pair) : tinyml_low(pair);
                    acc = tinyml_mac(w[place[i][j]], (missing >> i) & 1 ? {256 * strip.zero_point} : v, acc);
                }}
            }}
            out[x * {strip.channels} + c] = (int8_t){value};
        }}
    }}
"""
