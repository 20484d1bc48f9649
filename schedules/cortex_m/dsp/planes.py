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
    planes: str, pair_bytes: int, loads: tuple[list[str], ...], rest: list[str], outside: list[str], spans: int
) -> list[str]:
    """Assembly that walks the spans of ``tinyml_strip``; falls out at the end.

    Stack: 0 end of the loop, 8 channels, 12 word of zero points; r4 to r11 and lr are free between pairs, but for what
    ``rest`` and ``outside`` leave alone.

    Parameters
    ----------
    planes : register that grows by ``pair_bytes`` with each pair
    loads : as from ``load_pair``
    rest : stores what was loaded
    outside : stores a pair outside; r4 is a word of zero points, r7 stays
    spans : where on the stack the address of the spans is
    """
    right, both, left = loads
    get = f"ldr lr, [sp, #{spans}]"
    turns = ["ldr r4, [sp, #12]", *outside, "subs r7, #1"]
    lines = [get, "ldr r7, [lr]", "cmp r7, #0", "beq 2f", "1:", *turns, "bne 1b", "2:"]
    lines += [get, "ldrd r4, r5, [lr, #4]", f"movs r6, #{pair_bytes}", "mul r5, r5, r6"]
    lines += [
        "cmp r4, #0",
        "beq.w 3f",
        "add r5, r5, r6",
        f"add r5, r5, {planes}",
        "str r5, [sp]",
        *right,
        *rest,
        "b 4f",
    ]
    lines += ["3:", f"add r5, r5, {planes}", "str r5, [sp]", "b 4f"]
    lines += ["5:", *both, *rest, "4:", "ldr lr, [sp]", f"cmp {planes}, lr", "bne.w 5b"]
    lines += [get, "ldrd r4, r7, [lr, #12]", "cmp r4, #0", "beq.w 6f", *left, *rest]
    lines += [get, "ldr r7, [lr, #16]", "6:", "cmp r7, #0", "beq 8f", "7:", *turns, "bne 7b", "8:"]
    return lines


def load_pair(
    pointers: tuple[str, ...], pair: tuple[tuple[str, ...], ...], step: str
) -> tuple[list[str], list[str], list[str]]:
    """Of pairs whose right column, both, whose left column is inside the image, after which there are no more.

    Parameters
    ----------
    pointers : of the rows
    pair : registers of the first and of the second column, row by row
    step : free register
    """
    first, second = pair
    get = [f"ldr {step}, [sp, #8]"]
    both = get + [f"ldr {r}, [{p}]" for p, r in zip(pointers, first, strict=True)]
    both += [f"ldr {r}, [{p}, {step}]" for p, r in zip(pointers, second, strict=True)]
    both += [f"add {p}, {p}, {step}, lsl #1" for p in pointers]

    def one(inside: tuple[str, ...], outside: tuple[str, ...]) -> list[str]:
        lines = [f"ldr {outside[0]}, [sp, #12]"] + [f"mov {r}, {outside[0]}" for r in outside[1:]]
        return lines + [f"ldr {r}, [{p}]" for p, r in zip(pointers, inside, strict=True)]

    right = one(second, first) + get + [f"add {p}, {p}, {step}" for p in pointers]
    return right, both, one(first, second)


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
