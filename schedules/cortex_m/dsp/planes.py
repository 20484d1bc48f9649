"""What both depthwise kernels share: planes of four channels, filled from image rows two columns at a time."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_tiny.schedules.cortex_m.dsp.assembly import (
    from_zero_lines,
    requantize_lines,
    requantize_twin,
    unsigned_lines,
    unsigned_twin,
)

CHANNELS = 4
"""Channels at a time: bytes of a word."""

FILL_PARAMETERS = "const tinyml_strip* strip, uint32_t* planes, int32_t offset"
SUM_PARAMETERS = "uint32_t* planes, const int32_t* constants, int8_t* out, const tinyml_strip* strip"

# Offsets in tinyml_strip on a core with pointers of 32 bits.
MISSING, ZERO_PAIR, OUTPUTS, TURNS, PLANE_BYTES, TILES, PAIRS, SKIP = 8, 12, 16, 20, 28, 32, 40, 44
OFFSET, FILL, ROWS, FROM_ZERO, STEP, SPANS = 48, 56, 60, 64, 72, 76


def walk_spans(
    planes: str, pair_bytes: int, loads: tuple[list[str], list[str]], rest: list[str], outside: list[str], done: str
) -> list[str]:
    """Assembly that walks the spans of ``tinyml_strip``, from label 1 on.

    Stack: 0 end of the loop, 4 spans, 8 channels, 12 word of zero points; lr, r4, r5 and r6 are free between pairs.

    Parameters
    ----------
    planes : register that grows by ``pair_bytes`` with each pair
    loads : as from ``load_pair``
    rest : stores what was loaded
    outside : stores a pair outside; r4 is a word of zero points
    done : label to go to
    """
    lines = ["1:", "ldr lr, [sp, #4]", "ldmia lr!, {r4, r5}", "str lr, [sp, #4]", "cmp r5, #0", f"beq.w {done}"]
    lines += [f"movs r6, #{pair_bytes}", f"mla r5, r5, r6, {planes}", "str r5, [sp]", "cmp r4, #3", "beq.w 2f"]
    slow, fast = loads
    lines += ["cmp r4, #0", "beq.w 6f", *slow, "b.w 5f", "6:", "ldr r4, [sp, #12]", *outside, "b 1b"]
    lines += ["2:", *fast, "5:", *rest]
    return [*lines, "ldr lr, [sp]", f"cmp {planes}, lr", "bne.w 2b", "b.w 1b"]


def load_pair(pointers: tuple[str, ...], pair: tuple[tuple[str, ...], ...], step: str) -> tuple[list[str], list[str]]:
    """``slow`` and ``fast`` of ``walk_spans``.

    Parameters
    ----------
    pointers : of the rows
    pair : registers of the first and of the second column, row by row; the first is r4
    step : free register
    """
    get = [f"ldr {step}, [sp, #8]"]
    fast = get + [f"ldr {r}, [{p}]" for p, r in zip(pointers, pair[0], strict=True)]
    fast += [f"ldr {r}, [{p}, {step}]" for p, r in zip(pointers, pair[1], strict=True)]
    fast += [f"add {p}, {p}, {step}, lsl #1" for p in pointers]
    everything = [r for column in pair for r in column]
    slow = ["lsls lr, r4, #31", *get, "ldr r4, [sp, #12]"] + [f"mov {r}, r4" for r in everything if r != "r4"]
    for column, (skip, label) in zip(pair, (("bpl", 3), ("bcc", 4)), strict=True):
        slow += [f"{skip} {label}f"] + [f"ldr {r}, [{p}]" for p, r in zip(pointers, column, strict=True)]
        slow += [f"add {p}, {p}, {step}" for p in pointers] + [f"{label}:"]
    return slow, fast


def sum_lines(
    acc: Sequence[str],
    multiplier: str,
    shift: int,
    low: int,
    high: int,
    zero_based: bool,
    signed: tuple[str, str, str] | None = None,
) -> list[str]:
    """Requantize; what counts from zero is made an output by ``spread_lines``. All instructions have four bytes.

    signed : as for ``requantize_lines``
    """
    if zero_based:
        return unsigned_lines(acc, multiplier, shift)
    lines = requantize_lines(acc, multiplier, shift, low, high, False, signed)
    return [line.replace("add ", "add.w ").replace("sub ", "sub.w ") for line in lines]


def sum_twin(
    acc: str, multiplier: str, shift: int, low: int, high: int, zero_based: bool, sign: str = "0", addend: str = "0"
) -> str:
    if zero_based:
        first, second = (f"(int32_t)(strip->from_zero[{i}] & 0xFFU)" for i in range(2))
        return unsigned_twin(acc, multiplier, shift, first, second)
    return requantize_twin(acc, multiplier, shift, low, high, False, sign, addend)


def spread_lines(out: str, source: str, zero_based: bool) -> list[str]:
    """Words next to each other, at ``source``, to where the pixels of an image lie, from ``out`` on; strip in r6."""

    def finish(*words: str) -> list[str]:
        return from_zero_lines(words, "r8", "r9") if zero_based else []

    lines = [f"ldr r2, [r6, #{OUTPUTS}]", "ldr r3, [r6]"] + ([f"ldrd r8, r9, [r6, #{FROM_ZERO}]"] if zero_based else [])
    lines += ["subs r2, #4", "blt 2f", "1:", f"ldmia {source}!, {{r4, r5, r6, r7}}", *finish("r4", "r5", "r6", "r7")]
    lines += [f"str r4, [{out}]", f"str r5, [{out}, r3]", f"add {out}, {out}, r3, lsl #1", f"str r6, [{out}]"]
    lines += [f"str r7, [{out}, r3]", f"add {out}, {out}, r3, lsl #1", "subs r2, #4", "bge 1b", "2:", "adds r2, #4"]
    lines += ["beq 4f", "3:", f"ldr r4, [{source}], #4", *finish("r4"), f"str r4, [{out}]", f"add {out}, {out}, r3"]
    return [*lines, "subs r2, #1", "bne 3b", "4:"]


def groups_twin(out_at: int, sums: str) -> str:
    """C of a sum function around ``sums``, which makes ``outputs`` of a group and goes on with its constants."""
    return f"""    const int32_t zero = tinyml_low((uint32_t)strip->zero_pair);
    int8_t* outputs = (int8_t*)planes + {out_at};
    int32_t group, c, x, i, j;
    for (group = 0; group < strip->groups; ++group, out += {CHANNELS}) {{
        strip->fill(strip, planes, strip->offset + {CHANNELS} * group);
{sums}        for (x = 0; x < strip->outputs; ++x) {{
            memcpy(out + x * strip->channels, outputs + {CHANNELS} * x, {CHANNELS});
        }}
    }}
"""
