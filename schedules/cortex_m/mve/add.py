"""Addition of two int8 tensors with different scales, four elements a vector: a * A + b * B + C, saturated and shifted.

The linear form is that of ``dsp.add`` with whole products in place of high words, proven for all pairs likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.add import proven_addend
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.mve.assembly import mve_function
from tvm_tiny.schedules.cortex_m.mve.requantization import Steps, bound_lines

_LARGEST_SHIFT = 22
_SMALLEST_SHIFT = 12


@dataclass(frozen=True)
class VectorAdd:
    """numbers : as of ``VectorRequantization``, then A and B"""

    steps: Steps
    numbers: tuple[int, ...]


def solve_vector_add(
    reference: NDArray[np.int8], scale_a: float, scale_b: float, low: int, high: int
) -> VectorAdd | None:
    """The form that reproduces ``reference``, or None; parameters as for ``dsp.add.solve_add``."""
    if high < 0 or low >= 0:
        return None
    values = np.arange(-128, 128, dtype=np.int64)
    for shift in range(_LARGEST_SHIFT, _SMALLEST_SHIFT - 1, -1):
        a, b = (round(s * 2.0**shift) for s in (scale_a, scale_b))
        if 128 * (abs(a) + abs(b) + 4) >= 2**30:
            continue
        for da, db in ((i, j) for i in (0, 1, -1) for j in (0, 1, -1)):
            total = (values * (a + da))[:, None] + (values * (b + db))[None, :]
            addend = proven_addend(total, reference, shift, low, high)
            if addend is not None:
                room, below = (127 - high) << 24, (low + 128) << 24
                steps = Steps(False, False, True, int(room > 0), room > 0, below > 0)
                return VectorAdd(steps, (24 - shift, addend, room, -room, below, a + da, b + db))
    return None


def vector_add_function(steps: Steps) -> CFunction:
    """``void name(const int8_t* a, const int8_t* b, int8_t* out, int32_t count, const int32_t* numbers)``; ``out`` may
    be ``a`` or ``b``."""
    return c_function("mve_add", partial(_text, steps=steps))


def _text(name: str, steps: Steps) -> str:
    scalars = {"left": "r4", "raise_high": "r6", "back": "r7", "second": "r8"}
    # q2: B in every lane, because only the first factor of VMLAS is multiplied by a vector.
    four = ["vldrb.s32 q0, [r0], #4", "vldrb.s32 q1, [r1], #4", "vmlas.s32 q1, q2, r5", "vmla.s32 q1, q0, r9"]
    four += ["vqshl.s32 q1, r4", *bound_lines("q1", steps, scalars), "vshr.s32 q1, q1, #24", "vstrb.32 q1, [r2], #4"]
    body = ["push {r4-r11, lr}", "ldr r12, [sp, #36]", "ldm r12, {r4-r10}", "vdup.32 q2, r10", "lsrs r12, r3, #4"]
    body += ["wls lr, r12, 2f", "1:", *four * 4, "le lr, 1b", "2:", "ands r3, r3, #15", "wlstp.32 lr, r3, 4f"]
    body += ["3:", *four, "letp lr, 3b", "4:", "pop {r4-r11, pc}"]
    twin = f"""    for (; count > 0; --count) {{
        const uint32_t t = (uint32_t)(*a++ * numbers[5]) + (uint32_t)(*b++ * numbers[6]);
        *out++ = tinyml_vector_finish((int32_t)t, {int(steps.low)}, numbers);
    }}
"""
    parameters = "const int8_t* a, const int8_t* b, int8_t* out, int32_t count, const int32_t* numbers"
    return mve_function(name, parameters, body, twin)
