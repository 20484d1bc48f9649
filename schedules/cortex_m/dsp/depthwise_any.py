"""Depthwise convolution with any kernel of up to 10 columns: a few outputs of one channel at a time.

Scratch holds four channels' planes: per pair of kernel rows one word per column, the two rows' values * 256 in
halfwords. A SMLAD then serves two taps of a column whatever the stride and the parity of the output. One channel's
weights lie beside them as halfword pairs; a tile loads those of a row pair with one LDM and each column once. Kernel
rows outside the image cost nothing: their pairs are left out, what they would add to the sum (the zero point) leaves
the offset.

Outputs go to scratch first, four bytes apart, and from there in words: so no code depends on how many channels there
are.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function
from tvm_tiny.schedules.cortex_m.dsp.planes import (
    CHANNELS,
    FILL,
    MISSING,
    OFFSET,
    PAIRS,
    STEP,
    SUM_PARAMETERS,
    TILES,
    ZERO_PAIR,
    groups_twin,
    spread_lines,
    sum_lines,
    sum_twin,
)

COMPACT_COLUMNS = 7
"""Columns of a strip beside those of a window."""

_FREE = [f"r{i}" for i in range(2, 13)] + ["lr"]


@dataclass(frozen=True)
class Depthwise:
    """What is fixed in the code; fields as in depthwise3x3.Depthwise3x3.

    kernel : (height, width)
    strip : most outputs at a time
    tile : outputs of a tile, of which there are some, and then some with one less
    compact : a tile of one output, a loop over row pairs, ``strip->step`` instead of the stride: less code
    """

    kernel: tuple[int, int]
    stride: int
    strip: int
    tile: int
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    signed: bool = False
    compact: bool = False

    @property
    def limits(self) -> tuple[int, int, int, bool]:
        """Shift and clamp; where outputs are counted from zero, the clamp is no part of the code."""
        return (self.shift, 0, 0, True) if self.zero_based else (self.shift, self.low, self.high, False)

    @property
    def needed(self) -> int:
        """Columns of a plane that count, at most."""
        return self.kernel[1] + COMPACT_COLUMNS if self.compact else (self.strip - 1) * self.stride + self.kernel[1]

    @property
    def pairs(self) -> int:
        """Pairs of kernel rows; an odd last row is paired with weights of zero."""
        return (self.kernel[0] + 1) // 2

    @property
    def pair_bytes(self) -> int:
        return -(-self.needed // 2) * 8

    @property
    def plane_bytes(self) -> int:
        return self.pairs * self.pair_bytes

    @property
    def out_at(self) -> int:
        """Bytes in front of the outputs: planes and weights."""
        return CHANNELS * self.plane_bytes + 4 * self.pairs * self.kernel[1]

    @property
    def scratch_bytes(self) -> int:
        """A last tile may have more outputs than are wanted, from columns that hold anything."""
        return self.out_at + CHANNELS * (self.strip + self.tile * max(self.stride, 1))

    @property
    def record(self) -> int:
        """Bytes of constants per channel, as in ``packing.depthwise_constants``."""
        return 8 + 4 * self.pairs * (self.kernel[1] // 2) + self.odd_bytes + self.signed_bytes

    @property
    def signed_bytes(self) -> int:
        """Bytes of the constants of the signed form, the last of a channel."""
        return 8 if self.signed else 0

    @property
    def odd_bytes(self) -> int:
        """Bytes of the last columns of a kernel of odd width: two per pair of rows, padded to words."""
        return -(-2 * self.pairs * (self.kernel[1] % 2) // 4) * 4


def best_tile(kernel: tuple[int, int], stride: int) -> int:
    """Outputs of a tile with the fewest instructions per output."""
    pairs = (kernel[0] + 1) // 2

    def cost(t: int) -> float:
        loads = -(-((t - 1) * stride + kernel[1]) // min(4, len(_FREE) - kernel[1] - t))
        return (pairs * (2 + loads + t * kernel[1]) + 18 + 4 * t) / t

    return min(possible_tiles(kernel), key=cost)


def possible_tiles(kernel: tuple[int, int]) -> tuple[int, ...]:
    """Outputs of a tile for which there are registers."""
    return tuple(range(1, min(6, len(_FREE) - kernel[1])))


def row_function(name: str, layer: Depthwise) -> str:
    """C text of the function that computes a strip: ``void name(planes, constants, out, strip)``; calls the fill.

    ``strip->missing``: bit i set if kernel row i is outside the image (the one after an odd last row like the last);
    ``planes`` holds just the row pairs that are not wholly outside. The tile's code is unrolled over row pairs and
    entered where as many are left.
    """
    # stack: 0 plane of the tile, 4 weights, 8 offset of the sum, 12 multiplier, 16 out of the tile, 20 end of a loop,
    # 24 channels left, 28 entry, 32 plane, 36 constants, 40 outputs in scratch, 44 strip, 48 out, 52 planes, 56 offset,
    # 60 groups
    body = ["push {r4-r11, lr}", f"ldrd r5, r6, [r3, #{OFFSET}]", "mov r4, r0", "push {r2, r4, r5, r6}"]
    body += ["push {r0, r1, r2, r3}", "sub sp, sp, #32", f"movw r4, #{CHANNELS * layer.plane_bytes}"]
    body += ["add r4, r4, r0", "str r4, [sp, #4]", "10:", "ldr r0, [sp, #44]", "ldrd r1, r2, [sp, #52]"]
    body += [f"ldr r3, [r0, #{FILL}]", "blx r3", f"mov r4, #{CHANNELS}", "str r4, [sp, #24]", "ldr r0, [sp, #52]"]
    body += [f"movw r2, #{layer.out_at}", "add r2, r2, r0", "str r0, [sp, #32]", "str r2, [sp, #40]", "1:"]
    body += ["ldr r0, [sp, #36]", "ldr r1, [sp, #4]", "ldr lr, [sp, #44]", f"ldr lr, [lr, #{MISSING}]"]
    body += ["ldmia r0!, {r2, r3}", "strd r3, r2, [sp, #8]"]
    body += _unpack(layer) + ["str r0, [sp, #36]"]
    body += ["ldr r0, [sp, #32]", "ldr r1, [sp, #40]", "str r0, [sp]", "str r1, [sp, #16]"]
    for i, t in enumerate(t for t in (layer.tile, layer.tile - 1) if t):
        body += ["ldr r5, [sp, #44]", f"ldr r3, [r5, #{TILES + 4 * i}]", "cmp r3, #0", "beq.w 5f"]
        body += [*_step(layer, t, "r2", "r5"), "ldr r0, [sp]", "mla r2, r3, r2, r0", "str r2, [sp, #20]"]
        body += [*_tile_lines(layer, t), f"add r1, r1, #{t * CHANNELS}", "str r1, [sp, #16]", "ldr r0, [sp]"]
        body += ["ldr r2, [sp, #44]"] if layer.compact else []
        body += [*_step(layer, t, "r2", "r2"), "add r0, r0, r2", "str r0, [sp]", "ldr r2, [sp, #20]"]
        body += ["cmp r0, r2", "bne.w 3b", "5:"]
    body += ["ldr r0, [sp, #32]", f"add r0, r0, #{layer.plane_bytes}", "str r0, [sp, #32]"]
    body += ["ldr r1, [sp, #40]", "adds r1, #1", "str r1, [sp, #40]"]
    body += ["ldr r2, [sp, #24]", "subs r2, #1", "str r2, [sp, #24]", "bne.w 1b"]
    body += ["ldr r1, [sp, #40]", "subs r1, #4", "ldrd r6, r0, [sp, #44]", *spread_lines("r0", "r1", layer.zero_based)]
    body += ["ldrd r2, r3, [sp, #56]", "ldr r4, [sp, #48]", f"add r4, r4, #{CHANNELS}", "str r4, [sp, #48]"]
    body += [f"adds r2, #{CHANNELS}", "subs r3, #1", "strd r2, r3, [sp, #56]", "bne.w 10b"]
    body += ["add sp, sp, #64", "pop {r4-r11, pc}"]
    return naked_function(name, SUM_PARAMETERS, body, _row_twin(layer))


def _step(layer: Depthwise, t: int, target: str, strip: str) -> list[str]:
    """Bytes of a plane from a tile to the next."""
    return [f"ldr {target}, [{strip}, #{STEP}]"] if layer.compact else [f"movw {target}, #{t * 4 * layer.stride}"]


def _tile_lines(layer: Depthwise, t: int) -> list[str]:
    """All of a tile from label 3 on; before it what all tiles share. r5: strip."""
    head, rows, tail = _tile(layer, t)
    lines = [f"ldr r3, [r5, #{PAIRS}]"]
    if layer.compact:
        end = [f"movs r2, #{4 * layer.kernel[1]}", "ldr r4, [sp, #4]", "mla r2, r3, r2, r4", "str r2, [sp, #28]"]
        spare = _FREE[layer.kernel[1]]
        return [
            *lines,
            *end,
            "3:",
            *head,
            "4:",
            *rows,
            f"ldr {spare}, [sp, #28]",
            f"cmp r1, {spare}",
            "bne.w 4b",
            *tail,
        ]
    lines += ["adr.w r2, 4f + 1", f"rsb r3, r3, #{layer.pairs}", f"movw r4, #{4 * len(rows)}", "mla r2, r3, r4, r2"]
    lines += ["str r2, [sp, #28]", "3:", *head, "ldr pc, [sp, #28]", ".balign 4", "4:"]
    return [*lines, *(rows * layer.pairs), *tail]


def _unpack(layer: Depthwise) -> list[str]:
    """Weights at r0 to halfword pairs at r1; r0 ends at the next channel's constants. lr: rows outside the image."""
    width = layer.kernel[1]
    w = [f"r{3 + i}" for i in range(min(width, 9))] + ["r12"] * (width > 9)
    half = width // 2
    lines = [f"add r2, r0, #{4 * layer.pairs * half}", "2:"]
    if half:
        lines += [f"ldmia r0!, {{{', '.join(w[1 : 2 * half : 2])}}}" if half > 1 else f"ldr {w[1]}, [r0], #4"]
    for i in range(half):
        lines += [f"sxtb16 {w[2 * i]}, {w[2 * i + 1]}", f"sxtb16 {w[2 * i + 1]}, {w[2 * i + 1]}, ror #8"]
    if width % 2:
        lines += [f"ldrsb {w[-1]}, [r2], #1", "ldrsb r12, [r2], #1", f"pkhbt {w[-1]}, {w[-1]}, r12, lsl #16"]
    lines += [
        "ands r12, lr, #3",
        "bne.w 8f",
        f"7: stmia r1!, {{{', '.join(w)}}}" if width > 1 else f"7: str {w[0]}, [r1], #4",
    ]
    lines += ["9: lsr lr, lr, #2"]
    count = layer.pairs
    if count > 1:
        lines += ["ldr r12, [sp, #36]", f"add r12, r12, #{8 + 4 * count * half}"]
        lines += ["cmp r0, r12", "bne.w 2b"] if half else [f"add r12, r12, #{2 * count}", "cmp r2, r12", "bne.w 2b"]
    rest = (layer.odd_bytes - 2 * count if width % 2 else 0) + layer.signed_bytes
    lines += [f"add r0, {'r2' if width % 2 else 'r0'}, #{rest}", "b.w 6f"]
    # some row of the pair is outside: what its taps add is the zero point's; it moves from the weights to the offset
    lines += ["8:", "push {r2, lr}", "ldr lr, [sp, #16]", "ldr r2, [sp, #52]", f"ldr r2, [r2, #{ZERO_PAIR}]"]
    lines += (
        ["tst r12, #1", "beq 5f"] + [f"smlabb lr, {r}, r2, lr" for r in w] + [f"bfc {r}, #0, #16" for r in w] + ["5:"]
    )
    lines += ["tst r12, #2", "beq 5f"] + [f"smlatb lr, {r}, r2, lr" for r in w] + [f"uxth {r}, {r}" for r in w] + ["5:"]
    lines += ["str lr, [sp, #16]", "pop {r2, lr}", "cmp r12, #3", "bne.w 7b", "b.w 9b", "6:"]
    return lines


def _tile(layer: Depthwise, t: int) -> tuple[list[str], list[str], list[str]]:
    """Before, for each pair of rows (all four-byte instructions), after."""
    width, s = layer.kernel[1], 1 if layer.compact else layer.stride
    acc, w, x = _FREE[len(_FREE) - t :], _FREE[:width], _FREE[width : len(_FREE) - t][:4]
    words = (t - 1) * s + width
    head = ["ldr r0, [sp]", "ldr r1, [sp, #4]", f"ldr {acc[0]}, [sp, #8]"] + [f"mov {a}, {acc[0]}" for a in acc[1:]]
    lines = [f"ldmia.w r1!, {{{', '.join(w)}}}" if width > 1 else f"ldr.w {w[0]}, [r1], #4"]
    for first in range(0, words, len(x)):
        load = x[: min(len(x), words - first)]
        lines += [f"ldmia.w r0!, {{{', '.join(load)}}}" if len(load) > 1 else f"ldr.w {load[0]}, [r0], #4"]
        for i, r in enumerate(load):
            lines += [
                f"smlad {acc[o]}, {r}, {w[first + i - o * s]}, {acc[o]}"
                for o in range(t)
                if 0 <= first + i - o * s < width
            ]
    if layer.pair_bytes != 4 * words:
        step = layer.pair_bytes - 4 * words
        lines += [f"add.w r0, r0, #{step}" if step > 0 else f"sub.w r0, r0, #{-step}"]
    tail = ["ldr r0, [sp, #12]", "ldr r1, [sp, #16]"]
    if layer.signed:
        tail += ["ldr r2, [sp, #36]", "ldrd r2, r3, [r2, #-8]"]
    tail += sum_lines(acc, "r0", *layer.limits, ("r2", "r3", "r4") if layer.signed else None)
    return head, lines, tail + [f"strb {a}, [r1, #{o * CHANNELS}]" for o, a in enumerate(acc)]


def _row_twin(layer: Depthwise) -> str:
    height, width = layer.kernel
    half = width // 2
    behind = layer.record // 4 - 2
    value = sum_twin("acc", "k[0]", *layer.limits, *((f"k[{behind}]", f"k[{behind + 1}]") if layer.signed else ()))
    step = "strip->step / 4" if layer.compact else str(layer.stride)
    sums = f"""        for (c = 0; c < {CHANNELS}; ++c) {{
            const int32_t* k = constants + {layer.record // 4} * c;
            const int8_t* w = (const int8_t*)(k + 2);
            const int32_t rows = strip->missing;
            for (x = 0; x < strip->outputs; ++x) {{
                int32_t acc = k[1], at = {layer.plane_bytes // 4} * c + {step} * x;
                for (i = 0; i < {height}; ++i) {{
                    const int32_t inside = !((rows >> i) & 1);
                    for (j = 0; j < {width}; ++j) {{
                        int32_t tap = {4 * half * layer.pairs} + i, v = zero;
                        if (j < {2 * half}) {{
                            tap = {4 * half} * (i / 2) + 4 * (j / 2) + 2 * (i % 2) + j % 2;
                        }}
                        if (inside) {{
                            v = i % 2 ? tinyml_high(planes[at + j]) : tinyml_low(planes[at + j]);
                        }}
                        acc = tinyml_mac(w[tap], v, acc);
                    }}
                    if (i % 2 && ((rows >> (i - 1)) & 3) != 3) at += {layer.pair_bytes // 4};
                }}
                outputs[x * {CHANNELS} + c] = (int8_t){value};
            }}
        }}
        constants += {layer.record // 4 * CHANNELS};
"""
    return groups_twin(layer.out_at, sums)
