"""Addition of two int8 tensors with different scales: seven instructions an element, exact.

TFLite Micro scales both inputs, adds and scales again, with five roundings. There are only 65536 pairs of inputs, so a
plain linear form can be checked against all of them: with a and b in the top byte of a word,
y = saturate(((a * A >> 32) + ((b * B >> 32) + C)) >> shift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.schedules.cortex_m.dsp.assembly import clamp_lines, naked_function


@dataclass(frozen=True)
class AddForm:
    """Constants of the linear form, proven for all pairs."""

    factor_a: int
    factor_b: int
    addend: int
    shift: int
    low: int
    high: int


def solve_add(reference: NDArray[np.int8], scale_a: float, scale_b: float, low: int, high: int) -> AddForm | None:
    """The form that reproduces ``reference``, or None.

    Parameters
    ----------
    reference : int8 [256, 256], the operator's output for every a and b, both from -128
    scale_a, scale_b : input scale / output scale
    low, high : clamp of the output
    """
    values = np.arange(-128, 128, dtype=np.int64) << 24
    for shift in (20, 22, 21, 19, 18, 17, 16):
        a, b = (round(s * 2.0 ** (shift + 8)) for s in (scale_a, scale_b))
        if max(abs(a), abs(b)) >= 2**31:
            continue
        for da, db in ((i, j) for i in (0, 1, -1, 2, -2) for j in (0, 1, -1, 2, -2)):
            total = (values * (a + da) >> 32)[:, None] + (values * (b + db) >> 32)[None, :]
            addend = proven_addend(total, reference, shift, low, high)
            if addend is not None:
                return AddForm(a + da, b + db, addend, shift, low, high)
    return None


def proven_addend(total: NDArray[np.int64], reference: NDArray[np.int8], shift: int, low: int, high: int) -> int | None:
    """A number that makes clamp((total + number) >> shift) ``reference`` everywhere, sums being int32, or None."""
    flat = reference.reshape(-1)
    order = np.argsort(flat, kind="stable")
    outputs, starts = np.unique(flat[order], return_index=True)
    if outputs.size < 2:
        return None
    by_output = total.reshape(-1)[order]
    # y >= k exactly where total + addend >= k << shift; it is enough to ask at the ends of each output's range
    lowest, highest = np.minimum.reduceat(by_output, starts), np.maximum.reduceat(by_output, starts)
    least = max((int(k) << shift) - int(t) for k, t in zip(outputs, lowest, strict=True) if k > low)
    most = min((int(k + 1) << shift) - 1 - int(t) for k, t in zip(outputs, highest, strict=True) if k < high)
    addend = (least + most) // 2
    ends = int(total.min()) + addend, int(total.max()) + addend
    if least <= most and min(ends) >= -(2**31) and max(ends) < 2**31 and abs(addend) < 2**31 - 2**30:
        return addend
    return None


PARAMETERS = "const int8_t* a, const int8_t* b, int8_t* out, int32_t count, const int32_t* form"


def add_function(name: str, shift: int, low: int, high: int) -> str:
    """C text of ``void name(a, b, out, count, form)``; ``out`` may be ``a`` or ``b``.

    ``form``: factor_a, factor_b and addend. Four at a time; the last ``count`` % 4 one by one.
    """
    body = ["push {r4-r11, lr}", "mov r12, #0xff000000", "ldr r4, [sp, #36]", "ldmia r4, {r9, r10, r11}"]
    body += ["subs r3, #4", "blt 2f", "1:", "ldr r4, [r0], #4", "ldr r5, [r1], #4"]
    finish = [f"ssat r6, #8, r6, asr #{shift}", *clamp_lines("r6", low, high), "strb r6, [r2], #1"]
    sums = ["smmla r6, r6, r9, r11", "smmla r6, r7, r10, r6", *finish]
    for i in range(4):
        left = f", lsl #{24 - 8 * i}" if i < 3 else ""
        body += [f"and r6, r12, r4{left}", f"and r7, r12, r5{left}", *sums]
    body += ["subs r3, #4", "bge.w 1b", "2:", "adds r3, #4", "beq 4f", "3:", "ldrb r4, [r0], #1", "ldrb r5, [r1], #1"]
    body += ["lsl r6, r4, #24", "lsl r7, r5, #24", *sums, "subs r3, #1", "bne 3b", "4:", "pop {r4-r11, pc}"]
    twin = f"""    for (; count > 0; --count) {{
        const int32_t y = tinyml_multiply_high_plus(*b++ * 16777216, form[1], form[2]);
        const int32_t x = tinyml_multiply_high_plus(*a++ * 16777216, form[0], y);
        *out++ = (int8_t)tinyml_clamp(x >> {shift}, {low}, {high});
    }}
"""
    return naked_function(name, PARAMETERS, body, twin)
