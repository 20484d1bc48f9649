"""Depthwise convolution: sixteen taps of one channel at a time, from rows whose bytes were interleaved.

VST4 stores sixteen channels of four rows so that a channel's four bytes become a word: column after column (and, of
more than four rows, group after group of rows) sixteen words, 64 bytes. A window of one channel is then a sequence of
words 64 bytes apart; four of them are one gathered load, and VMLADAV multiplies and adds their sixteen bytes.

Windows of up to four words (3x3) keep the weights of four channels in vectors, and a requantized vector has four
channels of a pixel. Larger ones, up to sixteen words (5x5, 7x7), keep one channel's weights and make four pixels of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization
from tvm_tiny.schedules.cortex_m.mve.assembly import mve_function
from tvm_tiny.schedules.cortex_m.mve.requantization import Steps, requantize_lines, requantize_twin

CHANNELS = 16
"""Channels of a block of words."""

GROUP = 4
"""Channels, or pixels, of a vector of sums; rows of a word."""

COLUMN = 4 * CHANNELS
"""Bytes of a column of words."""

WORDS = 16
"""Words of a window, at most: four vectors of weights."""

NUMBERS = 15
"""Where the numbers of the requantization stand in the constants."""

_SUMS = ("r0", "r2", "r4", "r6")
# Stack frame, in bytes.
_COLUMNS, _OUT, _WORDS, _ADDEND, _BOUNDS, _SECOND, _SIGN, _FRAME = 0, 4, 8, 24, 28, 36, 40, 48
_SAVED = 36 + 64


@dataclass(frozen=True)
class Depthwise:
    """What the code depends on.

    words : of a window
    step : words from one pixel's window to the next one's
    """

    words: int
    step: int
    requantize: Steps

    @property
    def vectors(self) -> int:
        return -(-self.words // GROUP)

    @property
    def by_channels(self) -> bool:
        """Four channels of a pixel at a time, rather than four pixels of a channel."""
        return self.vectors == 1


def depthwise_constants(
    weights: NDArray[np.int8], zero_point: int, plan: LayerRequantization
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Offsets, multipliers and (if signed) signs [2 or 3, C]; words [C, columns x words of a column].

    weights : [KH, KW, C]
    """
    height, width, channels = weights.shape
    used = np.where(plan.constant, 0, weights).astype(np.int8)
    offsets = plan.offsets - (1 << plan.scale_bits) * zero_point * used.astype(np.int64).sum((0, 1))
    offsets = ((offsets + 2**31) % 2**32 - 2**31).astype(np.int32)
    numbers = [offsets, plan.multipliers, plan.signs][: 3 if plan.form == "signed" else 2]
    groups = -(-height // GROUP)
    padded = np.pad(used, ((0, groups * GROUP - height), (0, 0), (0, 0)))
    words = np.ascontiguousarray(padded.transpose(2, 1, 0)).view(np.int32).reshape(channels, width * groups)
    return np.stack(numbers).astype(np.int32), words


def interleave_function(rows: int) -> CFunction:
    """Bytes 0 .. ``rows`` - 1 of the words of ``count`` columns, ``pitch`` bytes apart; the others are anything:

    ``void name(const tinyml_run* rows, int8_t* words, int32_t pitch, int32_t count, int32_t channel, int32_t lanes)``

    A row whose step is 0 holds the same sixteen bytes for all channels.
    """
    pointers, steps = ("r4", "r6", "r8", "r10")[:rows], ("r5", "r7", "r9", "r11")[:rows]
    body = ["push {r4-r11, lr}", f"ldm r0, {{r4-r{3 + 2 * rows}}}", "mov lr, r3", "ldrd r0, r3, [sp, #36]"]
    body += ["vctp.8 r3", f"sub r2, r2, #{COLUMN}"]
    for pointer, step in zip(pointers, steps, strict=True):
        body += [f"cmp {step}, #0", "it ne", f"addne {pointer}, {pointer}, r0"]
    body += ["wls lr, lr, 2f", "1:", "vpst" + "t" * (rows - 1)]
    body += [f"vldrbt.u8 q{i}, [{pointer}]" for i, pointer in enumerate(pointers)]
    body += [f"add {pointer}, {pointer}, {step}" for pointer, step in zip(pointers, steps, strict=True)]
    body += [f"vst4{i}.8 {{q0, q1, q2, q3}}, [r1]" for i in range(3)]
    body += ["vst43.8 {q0, q1, q2, q3}, [r1]!", "add r1, r1, r2", "le lr, 1b", "2:", "pop {r4-r11, pc}"]
    twin = f"""    int32_t i, j, l;
    for (i = 0; i < count; ++i, words += pitch) {{
        for (j = 0; j < {rows}; ++j) {{
            const int8_t* x = rows[j].at + (rows[j].step != 0 ? channel + i * rows[j].step : 0);
            for (l = 0; l < {CHANNELS}; ++l) {{
                words[{GROUP} * l + j] = l < lanes ? x[l] : 0;
            }}
        }}
    }}
"""
    parameters = "const tinyml_run* rows, int8_t* words, int32_t pitch, int32_t count, int32_t channel, int32_t lanes"
    return c_function(f"mve_interleave{rows}", lambda name: mve_function(name, parameters, body, twin))


def sums_function(kernel: Depthwise) -> CFunction:
    """``void name(const int32_t* packed, const int8_t* words, int8_t* out, int32_t columns, const int32_t* offsets,
    const int32_t* weights, int32_t lanes)``: ``columns`` pixels of ``lanes`` channels, at least four."""
    return c_function("mve_depthwise", partial(_text, kernel=kernel))


def _text(name: str, kernel: Depthwise) -> str:
    steps = kernel.requantize
    body = ["push {r4-r11, lr}", "vpush {d8-d15}", f"sub sp, sp, #{_FRAME}", f"strd r3, r2, [sp, #{_COLUMNS}]"]
    at = 4 * NUMBERS
    body += ["ldr r5, [r0, #8]", f"ldr r8, [r0, #{at}]"]
    if steps.add or steps.raises or steps.back or steps.low:
        body += [f"add r4, r0, #{at + 4}", "ldm r4, {r4, r6, r7, r9}", f"strd r4, r6, [sp, #{_ADDEND}]"]
        body += [f"strd r7, r9, [sp, #{_BOUNDS + 4}]"]
    # The addresses of the words of the first window: 0, 64, 128, 192 from its beginning.
    body += ["mov r4, #0", "vidup.u32 q4, r4, #8", "vshl.i32 q4, q4, #3", "vadd.i32 q4, q4, r1"]
    body += [f"add r4, sp, #{_WORDS}", "vstrw.32 q4, [r4]"]
    arguments = _SAVED + _FRAME
    body += [
        f"ldr r9, [sp, #{arguments + 8}]",
        f"cmp r9, #{CHANNELS}",
        "it gt",
        f"movgt r9, #{CHANNELS}",
        "movs r1, #0",
    ]
    body += (_by_channels if kernel.by_channels else _by_pixels)(kernel, arguments)
    body += [f"add sp, sp, #{_FRAME}", "vpop {d8-d15}", "pop {r4-r11, pc}"]
    parameters = (
        "const int32_t* packed, const int8_t* words, int8_t* out, int32_t columns, "
        "const int32_t* offsets, const int32_t* weights, int32_t lanes"
    )
    return mve_function(name, parameters, body, _twin(kernel))


def _by_channels(kernel: Depthwise, arguments: int) -> list[str]:
    """r1: first channel of the group; r2: output; r5: channels; r8: shift; r9: lanes."""
    steps = kernel.requantize
    weights = [f"ldr r4, [sp, #{arguments + 4}]", f"mov r6, #{4 * kernel.words}", "mla r4, r1, r6, r4"]
    if kernel.words % GROUP:
        weights += [f"mov r6, #{kernel.words}", "vctp.32 r6", "vpsttt" + "t"]
    t = "t" if kernel.words % GROUP else ""
    weights += [f"vldrw{t}.u32 q{i}, [r4, #{4 * kernel.words * i}]" for i in range(GROUP)]
    constants = [f"ldr r4, [sp, #{arguments}]", "add r4, r4, r1, lsl #2", "add r3, r4, r5, lsl #2"]
    constants += ["vldrw.u32 q7, [r3]"]
    constants += ["add r3, r3, r5, lsl #2", "mov r10, r4"] if steps.signed else ["vldrw.u32 q6, [r4]"]
    scalars = {"left": "r8", "addend": "r11", "raise_high": "r12", "back": "r0", "second": "r2"}
    # What no register is free for is loaded for each pixel, over the sums.
    fixed = [f"ldr r11, [sp, #{_ADDEND}]"] if steps.add else []
    fixed += [f"ldr r12, [sp, #{_BOUNDS}]"] if steps.raises else []
    each = [f"ldr r0, [sp, #{_BOUNDS + 4}]"] if steps.back else []
    each += [f"ldr r2, [sp, #{_SECOND}]"] if steps.raises > 1 or steps.low else []
    first, middle, last = requantize_lines(["q5"], steps, ("q6", "q6", "q7"), scalars)
    pixel: list[str] = []
    for i, register in enumerate(_SUMS):
        move = f"[q4, #{COLUMN * kernel.step}]!" if i == 0 else f"[q4, #{4 * i}]"
        pixel += [f"vldrw.u32 q5, {move}", f"vmladav.s8 {register}, q5, q{i}"]
    pixel += _gather_sums("q5") + each
    pixel += (["vldrw.u32 q6, [r10]"] if steps.signed else []) + first
    pixel += (["vldrw.u32 q6, [r3]"] if steps.signed else []) + middle + last
    pixel += ["vstrb.32 q5, [r7]", "add r7, r7, r5"]
    lines = [*fixed, "1:", *weights, *constants]
    lines += [f"add r4, sp, #{_WORDS}", "vldrw.u32 q4, [r4]", "lsl r6, r1, #2"]
    lines += [f"sub r6, r6, #{COLUMN * kernel.step}", "vadd.i32 q4, q4, r6"]
    lines += [f"ldrd r6, r7, [sp, #{_COLUMNS}]", "add r7, r7, r1", "dls lr, r6", "2:", *pixel, "le lr, 2b"]
    # The last group overlaps the one before where channels are no multiple of four.
    return [
        *lines,
        "adds r1, #4",
        "cmp r1, r9",
        "bge 3f",
        "sub r6, r9, #4",
        "cmp r1, r6",
        "it gt",
        "movgt r1, r6",
        "b 1b",
        "3:",
    ]


def _by_pixels(kernel: Depthwise, arguments: int) -> list[str]:
    """r1: channel; r3, r5: its offset and multiplier; r7: output; r8: shift; r9: lanes; r10: channels; r12: pixels."""
    steps, rest = kernel.requantize, kernel.words % GROUP
    setup = ["mov r10, r5", "mov r4, #0", "vidup.u32 q6, r4, #1", "vmul.i32 q6, q6, r10", "lsl r11, r10, #2"]
    weights = [f"ldr r4, [sp, #{arguments + 4}]", f"mov r6, #{4 * kernel.words}", "mla r4, r1, r6, r4"]
    for i in range(kernel.vectors):
        partial_one = rest and i + 1 == kernel.vectors
        weights += [f"mov r6, #{rest}", "vctp.32 r6", "vpst"] if partial_one else []
        weights += [f"vldrw{'t' if partial_one else ''}.u32 q{i}, [r4, #{16 * i}]"]
    constants = [f"ldr r4, [sp, #{arguments}]", "add r4, r4, r1, lsl #2", "ldr r3, [r4]", "ldr r5, [r4, r10, lsl #2]"]
    constants += ["add r4, r4, r10, lsl #3", "ldr r4, [r4]", f"str r4, [sp, #{_SIGN}]"] if steps.signed else []
    scalars = {"left": "r8", "addend": "r0", "raise_high": "r2", "back": "r4", "second": "r6"}
    first, middle, last = requantize_lines(["q7"], steps, ("r3", "r0", "r5"), scalars)
    start, loads = _moves(kernel)
    tile: list[str] = []
    for register in _SUMS:
        for i, (vector, where) in enumerate(loads):
            tile += [f"vldrw.u32 q5, {where}", f"vmladav{'a' if i else ''}.s8 {register}, q5, q{vector}"]
    tile += _gather_sums("q7") + first
    tile += ([f"ldr r0, [sp, #{_SIGN}]"] if steps.signed else []) + middle
    tile += [f"ldr r0, [sp, #{_ADDEND}]"] if steps.add else []
    tile += [f"ldrd r2, r4, [sp, #{_BOUNDS}]"] if steps.raises or steps.back else []
    tile += [f"ldr r6, [sp, #{_SECOND}]"] if steps.raises > 1 or steps.low else []
    tile += [*last, "vctp.32 r12", "vpst", "vstrbt.32 q7, [r7, q6]", "subs r12, #4", "add r7, r7, r11"]
    lines = [*setup, "1:", *weights, *constants, f"add r4, sp, #{_WORDS}", "vldrw.u32 q4, [r4]", "lsl r6, r1, #2"]
    lines += [f"add r6, r6, #{start}" if start >= 0 else f"sub r6, r6, #{-start}", "vadd.i32 q4, q4, r6"]
    lines += [f"ldrd r12, r7, [sp, #{_COLUMNS}]", "add r7, r7, r1", "add r6, r12, #3", "lsr r6, r6, #2"]
    return [*lines, "dls lr, r6", "2:", *tile, "le lr, 2b", "adds r1, #1", "cmp r1, r9", "blt.w 1b"]


def _moves(kernel: Depthwise) -> tuple[int, list[tuple[int, str]]]:
    """How the vector of addresses walks: where it starts; in which order and from where a window's vectors are read.

    An offset is at most 508 bytes, so that of three or four vectors the second one is what the addresses point to.
    """
    step, vector = COLUMN * kernel.step, GROUP * COLUMN
    if kernel.vectors <= 2:
        return -step, [(0, f"[q4, #{step}]!"), *([(1, f"[q4, #{vector}]")] if kernel.vectors == 2 else [])]
    if kernel.vectors == 3:
        return vector - step, [(1, f"[q4, #{step}]!"), (0, f"[q4, #{-vector}]"), (2, f"[q4, #{vector}]")]
    back = step - vector
    last = [(2, f"[q4, #{vector}]!"), (3, f"[q4, #{vector}]")]
    return vector - back, [(1, f"[q4, #{back}]!"), (0, f"[q4, #{-vector}]"), *last]


def _gather_sums(q: str) -> list[str]:
    a, b, c, d = _SUMS
    return [f"vmov {q}[2], {q}[0], {a}, {c}", f"vmov {q}[3], {q}[1], {b}, {d}"]


def _twin(kernel: Depthwise) -> str:
    steps = kernel.requantize
    start = "(int32_t)((uint32_t)acc * 256U + (uint32_t)offsets[c])"
    sign = "offsets[2 * packed[2] + c]" if steps.signed else "0"
    value = requantize_twin(start, "offsets[packed[2] + c]", sign, steps, f"packed + {NUMBERS}")
    return f"""    int32_t c, i, j, x;
    for (c = 0; c < (lanes < {CHANNELS} ? lanes : {CHANNELS}); ++c) {{
        const int8_t* w = (const int8_t*)(weights + c * {kernel.words});
        for (x = 0; x < columns; ++x) {{
            int32_t acc = 0;
            for (i = 0; i < {kernel.words}; ++i) {{
                for (j = 0; j < {GROUP}; ++j) {{
                    acc += w[{GROUP} * i + j] * words[{COLUMN} * (x * {kernel.step} + i) + {GROUP} * c + j];
                }}
            }}
            out[x * packed[2] + c] = {value};
        }}
    }}
"""
