"""Which columns of a strip of image rows lie inside the image, in pairs: what both depthwise fills walk along."""

from __future__ import annotations

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function

CHANNELS = 4
"""Channels at a time: bytes of a word."""


def spans_function() -> CFunction:
    """``void name(int32_t* spans, int32_t first, int32_t needed, int32_t width)``.

    Writes (kind, how many pairs) for the columns first .. first + needed - 1, the last pair filled up; ends with 0
    pairs. Kind: bit 0 if the first column of the pair is needed and inside 0 .. width - 1, bit 1 for the second.
    """
    return c_function("spans", _spans_text)


SPANS = 32
"""Most numbers that ``spans_function`` writes: a window has at least one column inside and is at most 10 wide."""


def _spans_text(name: str) -> str:
    return f"""TINYML_KERNEL static void {name}(int32_t* spans, int32_t first, int32_t needed, int32_t width) {{
    const int32_t begin = first < 0 ? -first : 0;
    const int32_t end = needed < width - first ? needed : width - first;
    int32_t g = 0;
    while (g < (needed + 1) / 2) {{
        const int32_t low = 2 * g >= begin && 2 * g < end ? 1 : 0;
        const int32_t high = 2 * g + 1 >= begin && 2 * g + 1 < end ? 2 : 0;
        const int32_t count = low + high == 3 ? end / 2 - g : 1;
        *spans++ = low + high;
        *spans++ = count;
        g += count;
    }}
    spans[0] = 0;
    spans[1] = 0;
}}
"""


FILL_PARAMETERS = "const tinyml_columns* columns, uint32_t* planes, int32_t channel, const int8_t* const* rows"


def fill_body(
    prologue: list[str], planes: str, pair_bytes: int, slow: list[str], fast: list[str], rest: list[str]
) -> list[str]:
    """Assembly of a fill that walks the spans.

    Stack: 0 end of the loop, 4 spans, 8 channels, 12 word of zero points; lr, r4 and r5 are free between pairs.

    Parameters
    ----------
    prologue : sets up pointers from r0 .. r3, of which r0 is done with
    planes : register that grows by ``pair_bytes`` with each pair
    slow : loads a pair of kind r4, not both inside; fast: a pair inside; rest: stores what was loaded
    """
    lines = ["push {r4-r11, lr}", "ldmia r0!, {r8, r9}", "push {r0, r8, r9}", "sub sp, #4", *prologue]
    lines += ["1:", "ldr lr, [sp, #4]", "ldrd r4, r5, [lr], #8", "str lr, [sp, #4]", "cmp r5, #0", "beq.w 9f"]
    lines += [f"movs r6, #{pair_bytes}", f"mla r5, r5, r6, {planes}", "str r5, [sp]", "cmp r4, #3", "beq.w 2f"]
    lines += [*slow, "b.w 5f", "2:", *fast, "5:", *rest]
    return [*lines, "ldr lr, [sp]", f"cmp {planes}, lr", "bne.w 2b", "b.w 1b", "9:", "add sp, #16", "pop {r4-r11, pc}"]


def load_pair(pointers: tuple[str, ...], pair: tuple[tuple[str, ...], ...], step: str) -> tuple[list[str], list[str]]:
    """``slow`` and ``fast`` of ``fill_body``.

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
