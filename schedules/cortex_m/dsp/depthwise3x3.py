"""Depthwise 3x3, four channels at a time: transpose a strip of three rows to planes, then run along the row.

Scratch holds, per two columns and channel, three words: A(x) and A(x + 1), each the rows 0 and 1 of one column, and
B(x), the columns x and x + 1 of row 2, all int8 * 256 in halfwords. An output pixel is then five multiply instructions
for nine taps: three SMLAD on A, one SMLAD and one half on B. Five registers keep the weights, and every word is loaded
once, because an output's sum is begun with one pair of columns and ended with the next.

Outputs go to scratch four bytes apart, so that the code does not depend on how many channels there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function, requantize_lines, requantize_twin
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS, FILL_PARAMETERS, fill_body, load_pair

PAIR_BYTES = 12 * CHANNELS
PARAMETERS = "const uint32_t* planes, const int32_t* constants, int8_t* out, int32_t turns"


@dataclass(frozen=True)
class Depthwise3x3:
    """What is fixed in the code.

    stride : 1 or 2, along the row
    shift, low, high, zero_based : see requantization; form "positive" only
    unroll : turns of the loop, a power of two
    """

    stride: int
    zero_point: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    unroll: int = 4

    @property
    def per_turn(self) -> int:
        """Outputs."""
        return 2 if self.stride == 1 else 1

    def scratch_bytes(self, outputs: int) -> int:
        """Planes of a strip, then outputs."""
        return PAIR_BYTES * (((outputs - 1) * self.stride + 4) // 2) + CHANNELS * (outputs + outputs % 2)


def fill_function(name: str) -> str:
    """C text of ``void name(columns, planes, channel, rows)``: 4 channels of 3 rows, each row from its first column
    inside the image on."""
    prologue = ["ldmia r3, {r4, r5, r6}", "add r0, r4, r2", "add r3, r6, r2", "add r2, r5, r2", "mvn r12, #0xff00ff"]
    columns = ("r4", "r5", "r6"), ("r7", "r8", "r9")
    slow, fast = load_pair(("r0", "r2", "r3"), columns, "r11")
    rest = ["pkhbt r10, r4, r5, lsl #16", "pkhtb r5, r5, r4, asr #16"]  # row 0 below row 1: channels 0 1, channels 2 3
    rest += ["pkhbt r11, r7, r8, lsl #16", "pkhtb r8, r8, r7, asr #16"]
    rest += ["pkhbt lr, r6, r9, lsl #16", "pkhtb r9, r9, r6, asr #16"]  # row 2: column x below x + 1
    low, high, free = ("r10", "r11", "lr"), ("r5", "r8", "r9"), ("r4", "r6", "r7")
    for channel, (source, target) in enumerate(((low, free), (low, low), (high, free), (high, high))):
        shift = ", lsl #8" if channel % 2 == 0 else ""
        rest += [f"and {t}, r12, {r}{shift}" for t, r in zip(target, source, strict=True)]
        rest += [f"stmia r1!, {{{', '.join(target)}}}"]
    twin = f"""    const int8_t* from[3];
    const int32_t* span = columns->spans;
    int32_t c, i, r;
    for (r = 0; r < 3; ++r) from[r] = rows[r] + channel;
    for (; span[1] != 0; span += 2) {{
        int32_t count;
        for (count = span[1]; count > 0; --count, planes += {PAIR_BYTES // 4}) {{
            int32_t v[2][3][{CHANNELS}];
            for (i = 0; i < 2; ++i) {{
                for (r = 0; r < 3; ++r) {{
                    const int32_t inside = (span[0] >> i) & 1;
                    for (c = 0; c < {CHANNELS}; ++c) {{
                        v[i][r][c] = 256 * (inside ? from[r][c] : (int8_t)(columns->zero & 0xFFU));
                    }}
                    if (inside) from[r] += columns->channels;
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
    return naked_function(name, FILL_PARAMETERS, fill_body(prologue, "r1", PAIR_BYTES, slow, fast, rest), twin)


def row_function(name: str, layer: Depthwise3x3) -> str:
    """C text of the function that computes outputs of four channels:

    ``void name(const uint32_t* planes, const int32_t* constants, int8_t* out, int32_t turns)``

    ``constants``: per channel multiplier, offset, three words of weights as in ``packing.depthwise3x3_constants``.
    ``out``: channels side by side, pixels four bytes apart. ``turns``: 8 times the turns of ``per_turn`` outputs;
    plus 1 << i when kernel row i lies outside the image, whose taps then count as the zero point.
    """
    turn = (_turn_one if layer.stride == 1 else _turn_two)(layer)
    # stack: 0 end of out, 4 entry, 8 channels left, 12 planes, 16 constants, 20 out, 24 turns
    body = ["push {r0, r1, r2, r3, r4-r11, lr}", "lsr r4, r3, #3", f"add r5, r2, r4, lsl #{layer.per_turn + 1}"]
    body += ["rsb r4, r4, #0", f"and r4, r4, #{layer.unroll - 1}", f"movw r6, #{4 * len(turn)}", "mul r4, r4, r6"]
    body += ["adr.w r6, 2f + 1", "add r6, r6, r4", f"mov r7, #{CHANNELS}", "push {r5, r6, r7}", "1:"]
    body += ["ldr r2, [sp, #16]", "ldmia r2!, {r7, r8, r9, r12, lr}", "str r2, [sp, #16]"]
    body += ["sxtb16 r10, r9, ror #8", "sxtb16 r9, r9", "sxtb16 r11, r12", "sxtb16 r12, r12, ror #8", "sxtb16 lr, lr"]
    body += ["ldr r2, [sp, #24]", "ands r2, r2, #7", "bne.w 8f", "7:", "ldr r0, [sp, #12]", "ldr r1, [sp, #20]"]
    body += ["ldmia.w r0, {r2, r3, r4}", f"add r0, r0, #{PAIR_BYTES}", *_start(layer.stride), "ldr pc, [sp, #4]"]
    body += [".balign 4", "2:", *(turn * layer.unroll), "ldr r2, [sp]", "cmp r1, r2", "bne.w 2b"]
    body += ["ldrd r0, r1, [sp, #8]", "ldr r3, [sp, #20]", "adds r2, #1", "adds r3, #1", "adds r1, #12"]
    body += ["str r2, [sp]", "str r3, [sp, #20]", "subs r0, #1", "strd r0, r1, [sp, #8]", "bne.w 1b"]
    body += ["add sp, sp, #28", "pop {r4-r11, pc}", "8:", *_missing(layer.zero_point)]
    return naked_function(name, PARAMETERS, body, _row_twin(layer))


# registers: r0 planes, r1 out, r2 r3 r4 = A A' B, r5 r6 sums, r7 multiplier, r8 offset,
# r9 r10 r11 weights of rows 0 and 1 by column, r12 = row 2 columns 0 and 1, lr = row 2 columns 1 and 2


def _start(stride: int) -> list[str]:
    lines = ["smlad r5, r2, r9, r8", "smlad r5, r3, r10, r5", "smlad r5, r4, r12, r5"]
    return lines if stride == 2 else lines + ["smlad r6, r3, r9, r8", "smlabt r6, r12, r4, r6"]


def _requantize(layer: Depthwise3x3, acc: list[str]) -> list[str]:
    lines = requantize_lines(acc, "r7", layer.shift, layer.low, layer.high, layer.zero_based)
    return [line.replace("add ", "add.w ").replace("sub ", "sub.w ") for line in lines]


def _turn_one(layer: Depthwise3x3) -> list[str]:
    """End two outputs, begin two; all instructions have four bytes."""
    lines = ["ldmia.w r0, {r2, r3, r4}", f"add.w r0, r0, #{PAIR_BYTES}"]
    lines += ["smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
    lines += ["smlad r6, r2, r10, r6", "smlad r6, r3, r11, r6", "smlad r6, r4, lr, r6"]
    lines += _requantize(layer, ["r5", "r6"]) + [f"strb r5, [r1], #{CHANNELS}", f"strb r6, [r1], #{CHANNELS}"]
    return lines + _start(1)


def _turn_two(layer: Depthwise3x3) -> list[str]:
    lines = ["ldmia.w r0, {r2, r3, r4}", f"add.w r0, r0, #{PAIR_BYTES}"]
    lines += ["smlad r5, r2, r11, r5", "smlatb r5, lr, r4, r5"]
    return lines + _requantize(layer, ["r5"]) + [f"strb r5, [r1], #{CHANNELS}"] + _start(2)


def _missing(zero_point: int) -> list[str]:
    """Take rows outside the image out of the sum: their weights become 0, the zero point's share leaves the offset."""
    pair = (zero_point * 256) & 0xFFFF
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


def _row_twin(layer: Depthwise3x3) -> str:
    value = requantize_twin("acc", "k[0]", layer.shift, layer.low, layer.high, layer.zero_based)
    return f"""    int32_t c, x, i, j;
    for (c = 0; c < {CHANNELS}; ++c) {{
        const int32_t* k = constants + 5 * c;
        const int8_t* w = (const int8_t*)(k + 2);
        static const int8_t place[3][3] = {{{{0, 1, 4}}, {{2, 3, 6}}, {{5, 7, 10}}}};
        for (x = 0; x < turns / 8 * {layer.per_turn}; ++x) {{
            int32_t acc = k[1];
            for (i = 0; i < 3; ++i) {{
                for (j = 0; j < 3; ++j) {{
                    const int32_t at = x * {layer.stride} + j;
                    const uint32_t* p = planes + {PAIR_BYTES // 4} * (at / 2) + 3 * c;
                    const uint32_t pair = p[i == 2 ? 2 : at % 2];
                    const int32_t v = (i == 2 ? at % 2 : i) ? tinyml_high(pair) : tinyml_low(pair);
                    acc = tinyml_mac(w[place[i][j]], (turns >> i) & 1 ? {256 * layer.zero_point} : v, acc);
                }}
            }}
            out[x * {CHANNELS} + c] = (int8_t){value};
        }}
    }}
"""
