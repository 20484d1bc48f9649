"""Depthwise 3x3, four channels at a time: transpose a strip of three rows to planes, then run along the row.

Scratch holds, per two columns and channel, three words: A(x) and A(x + 1), each the rows 0 and 1 of one column, and
B(x), the columns x and x + 1 of row 2, all int8 * 256 in halfwords. An output pixel is then five multiply instructions
for nine taps: three SMLAD on A, one SMLAD and one half on B. Five registers keep the weights, and every word is loaded
once, because an output's sum is begun with one pair of columns and ended with the next.

Outputs go to scratch first, four bytes apart, and from there in words: so no code depends on how many channels there
are. A strip is short enough that its turns are all unrolled; the code is entered where as many are left.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function
from tvm_tiny.schedules.cortex_m.dsp.planes import (
    CHANNELS,
    FILL,
    FILL_PARAMETERS,
    MISSING,
    OFFSET,
    ROWS,
    SPANS,
    SUM_PARAMETERS,
    TURNS,
    groups_twin,
    load_pair,
    spread_lines,
    sum_lines,
    sum_twin,
    walk_spans,
)

PAIR_BYTES = 12 * CHANNELS


@dataclass(frozen=True)
class Depthwise3x3:
    """What is fixed in the code.

    stride : 1 or 2, along the row
    shift, low, high, zero_based, signed : see requantization
    strip : most outputs at a time, even
    """

    stride: int
    strip: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    signed: bool = False

    @property
    def record(self) -> int:
        """Bytes of constants per channel, as in ``packing.depthwise3x3_constants``."""
        return 28 if self.signed else 20

    @property
    def limits(self) -> tuple[int, int, int, bool]:
        """Shift and clamp; where outputs are counted from zero, the clamp is no part of the code."""
        return (self.shift, 0, 0, True) if self.zero_based else (self.shift, self.low, self.high, False)

    @property
    def per_turn(self) -> int:
        """Outputs."""
        return 2 if self.stride == 1 else 1

    @property
    def most_turns(self) -> int:
        """But for the last."""
        return self.strip // self.per_turn - 1

    @property
    def out_at(self) -> int:
        """Bytes of the planes, which outputs follow."""
        return PAIR_BYTES * (((self.strip - 1) * self.stride + 4) // 2)

    @property
    def scratch_bytes(self) -> int:
        return self.out_at + CHANNELS * self.strip


def fill_function(name: str) -> str:
    """C text of ``void name(strip, planes, offset)``: 4 channels of 3 rows, each row from its first column
    inside the image on."""
    body = ["push {r4-r11, lr}", f"add r7, r0, #{SPANS}", "ldmia r0, {r8, r9}", "push {r7, r8, r9}", "sub sp, #4"]
    body += [f"ldr r3, [r0, #{ROWS}]"]
    body += ["ldmia r3, {r4, r5, r6}", "add r0, r4, r2", "add r3, r6, r2", "add r2, r5, r2", "mvn r12, #0xff00ff"]
    columns = ("r4", "r5", "r6"), ("r7", "r8", "r9")
    loads = load_pair(("r0", "r2", "r3"), columns, "r11")
    rest = ["pkhbt r10, r4, r5, lsl #16", "pkhtb r5, r5, r4, asr #16"]  # row 0 below row 1: channels 0 1, channels 2 3
    rest += ["pkhbt r11, r7, r8, lsl #16", "pkhtb r8, r8, r7, asr #16"]
    rest += ["pkhbt lr, r6, r9, lsl #16", "pkhtb r9, r9, r6, asr #16"]  # row 2: column x below x + 1
    low, high, free = ("r10", "r11", "lr"), ("r5", "r8", "r9"), ("r4", "r6", "r7")
    for channel, (source, target) in enumerate(((low, free), (low, low), (high, free), (high, high))):
        shift = ", lsl #8" if channel % 2 == 0 else ""
        rest += [f"and {t}, r12, {r}{shift}" for t, r in zip(target, source, strict=True)]
        rest += [f"stmia r1!, {{{', '.join(target)}}}"]
    twin = f"""    const int8_t* from[3];
    int32_t c, i, r, span;
    for (r = 0; r < 3; ++r) from[r] = strip->rows[r] + offset;
    for (span = 0; span < 5; ++span) {{
        int32_t count;
        for (count = strip->spans[span]; count > 0; --count, planes += {PAIR_BYTES // 4}) {{
            int32_t v[2][3][{CHANNELS}];
            for (i = 0; i < 2; ++i) {{
                for (r = 0; r < 3; ++r) {{
                    const int32_t inside = tinyml_inside(span, i);
                    for (c = 0; c < {CHANNELS}; ++c) {{
                        v[i][r][c] = 256 * (inside ? from[r][c] : (int8_t)(strip->zero & 0xFFU));
                    }}
                    if (inside) from[r] += strip->channels;
                }}
            }}
            for (c = 0; c < {CHANNELS}; ++c) {{
                planes[3 * c] = tinyml_pair(v[0][0][c], v[0][1][c]);
                planes[3 * c + 1] = tinyml_pair(v[1][0][c], v[1][1][c]);
                planes[3 * c + 2] = tinyml_pair(v[0][2][c], v[1][2][c]);
            }}
        }}
    }}
"""
    outside = ["and r4, r12, r4, lsl #8", "mov r5, r4", "mov r6, r4"] + ["stmia r1!, {r4, r5, r6}"] * CHANNELS
    body += walk_spans("r1", PAIR_BYTES, loads, rest, outside, 4) + ["add sp, #16", "pop {r4-r11, pc}"]
    return naked_function(name, FILL_PARAMETERS, body, twin)


def row_function(name: str, layer: Depthwise3x3) -> str:
    """C text of the function that computes a strip: ``void name(planes, constants, out, strip)``; calls the fill.

    ``constants``: see ``packing.depthwise3x3_constants``.
    ``strip``: a turn makes one or two outputs; ``turns`` are those before the last, which makes one if ``odd``. Taps in
    missing rows count as the zero point.
    """
    turn, last, odd = _turn(layer, start=True), _turn(layer, start=False), _turn(layer, start=False, single=True)
    per = layer.per_turn
    # stack: 0 constants, 4 their end, 8 what follows unpacking, 12 entry, 16 last turn, 20 bytes of out, 24 of planes
    # to go back, 28 constants, 32 planes, 36 offset, 40 groups, 44 out, 48 strip
    body = ["push {r2, r3, r4-r11, lr}", f"ldrd r4, r5, [r3, #{OFFSET}]", "push {r0, r4, r5}", "sub sp, #32"]
    body += [f"ldr r5, [r3, #{MISSING}]", "cmp r5, #0", "adr.w r6, 7f + 1", "beq 1f", "adr.w r6, 8f + 1", "1:"]
    body += [f"ldrd r7, r8, [r3, #{TURNS}]", "adr.w r9, 2f + 1", f"rsb r10, r7, #{layer.most_turns}"]
    body += [f"movw r11, #{4 * len(turn)}", "mla r9, r10, r11, r9", "strd r6, r9, [sp, #8]", "adr.w r9, 4f + 1"]
    if per > 1:
        body += ["cmp r8, #0", "beq 1f", "adr.w r9, 3f + 1", "1:"]
    # bytes of out: 4 * outputs - 1, of planes: all that was read but for the channel's words
    body += ["adds r10, r7, #1", f"lsl r11, r10, #{per + 1}", "subs r11, r11, r8, lsl #2", "subs r11, #1"]
    body += [f"movs r6, #{PAIR_BYTES}", "mul r10, r10, r6", f"add r10, r10, #{PAIR_BYTES - 12}"]
    body += ["str r1, [sp]", "str r9, [sp, #16]", "strd r11, r10, [sp, #20]", "9:"]
    body += ["ldr r0, [sp, #48]", "ldrd r1, r2, [sp, #32]", f"ldr r3, [r0, #{FILL}]", "blx r3"]
    body += ["ldr r2, [sp]", f"add r3, r2, #{layer.record * CHANNELS}", "str r3, [sp, #4]", "ldr r0, [sp, #32]"]
    body += [f"add r1, r0, #{layer.out_at}", "1:", "ldmia r2!, {r7, r8, r9, r12, lr}"]
    body += [*["adds r2, #8"] * layer.signed, "str r2, [sp]"]
    body += ["sxtb16 r10, r9, ror #8", "sxtb16 r9, r9", "sxtb16 r11, r12", "sxtb16 r12, r12, ror #8", "sxtb16 lr, lr"]
    body += ["ldr pc, [sp, #8]", ".balign 4", "7:"]
    body += ["ldmia.w r0, {r2, r3, r4}", f"add r0, r0, #{PAIR_BYTES}", *_start(layer.stride), "ldr pc, [sp, #12]"]
    body += [".balign 4", "2:", *(turn * layer.most_turns), "ldr pc, [sp, #16]"]
    if per > 1:
        body += [".balign 4", "3:", *odd, "b.w 5f"]
    body += [".balign 4", "4:", *last, "5:", "ldrd r2, r3, [sp, #20]", "subs r1, r1, r2", "subs r0, r0, r3"]
    body += ["ldrd r2, r3, [sp]", "cmp r2, r3", "bne.w 1b", "subs r1, #4", "ldrd r0, r6, [sp, #44]"]
    body += [
        *spread_lines("r0", "r1", layer.zero_based),
        "ldrd r2, r3, [sp, #36]",
        "ldr r4, [sp, #44]",
        f"add r4, r4, #{CHANNELS}",
    ]
    body += ["str r4, [sp, #44]", f"adds r2, #{CHANNELS}", "subs r3, #1", "strd r2, r3, [sp, #36]", "bne.w 9b"]
    body += ["add sp, sp, #52", "pop {r4-r11, pc}", ".balign 4", "8:", *_missing()]
    return naked_function(name, SUM_PARAMETERS, body, _row_twin(layer))


# registers: r0 planes, r1 out, r2 r3 r4 = A A' B, r5 r6 sums, r7 multiplier, r8 offset,
# r9 r10 r11 weights of rows 0 and 1 by column, r12 = row 2 columns 0 and 1, lr = row 2 columns 1 and 2


def _start(stride: int) -> list[str]:
    lines = ["smlad r5, r2, r9, r8", "smlad r5, r3, r10, r5", "smlad r5, r4, r12, r5"]
    return lines if stride == 2 else lines + ["smlad r6, r3, r9, r8", "smlabt r6, r12, r4, r6"]


def _turn(layer: Depthwise3x3, *, start: bool, single: bool = False) -> list[str]:
    """End outputs (``single``: one of two), begin others; all instructions have four bytes."""
    load = ["ldmia.w r0, {r2, r3, r4}"]
    lines = load + ["smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
    acc = ["r5"]
    if layer.per_turn > 1 and not single:
        lines += ["smlad r6, r2, r10, r6", "smlad r6, r3, r11, r6", "smlad r6, r4, lr, r6"]
        acc += ["r6"]
    if layer.signed:
        # What follows the channel's other constants; then the columns again.
        lines += ["ldr.w r2, [sp]", "ldrd r2, r3, [r2, #-8]"]
        lines += sum_lines(acc, "r7", *layer.limits, ("r2", "r3", "r4")) + (load if start else [])
    else:
        lines += sum_lines(acc, "r7", *layer.limits)
    lines += [f"add.w r0, r0, #{PAIR_BYTES}"] + [f"strb {a}, [r1], #{CHANNELS}" for a in acc]
    return lines + (_start(layer.stride) if start else [])


def _missing() -> list[str]:
    """Take rows outside the image out of the sum: their weights become 0, the zero point's share leaves the offset."""
    lines = ["ldr r3, [sp, #48]", f"ldrd r2, r3, [r3, #{MISSING}]"]
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


def _row_twin(layer: Depthwise3x3) -> str:
    value = sum_twin("acc", "k[0]", *layer.limits, *(("k[5]", "k[6]") if layer.signed else ()))
    sums = f"""        for (c = 0; c < {CHANNELS}; ++c) {{
            const int32_t* k = constants + {layer.record // 4} * c;
            const int8_t* w = (const int8_t*)(k + 2);
            static const int8_t place[3][3] = {{{{0, 1, 4}}, {{2, 3, 6}}, {{5, 7, 10}}}};
            for (x = 0; x < strip->outputs; ++x) {{
                int32_t acc = k[1];
                for (i = 0; i < 3; ++i) {{
                    for (j = 0; j < 3; ++j) {{
                        const int32_t at = x * {layer.stride} + j;
                        const uint32_t* p = planes + {PAIR_BYTES // 4} * (at / 2) + 3 * c;
                        const uint32_t pair = p[i == 2 ? 2 : at % 2];
                        const int32_t v = (i == 2 ? at % 2 : i) ? tinyml_high(pair) : tinyml_low(pair);
                        acc = tinyml_mac(w[place[i][j]], (strip->missing >> i) & 1 ? zero : v, acc);
                    }}
                }}
                outputs[x * {CHANNELS} + c] = (int8_t){value};
            }}
        }}
        constants += {layer.record // 4 * CHANNELS};
"""
    return groups_twin(layer.out_at, sums)
