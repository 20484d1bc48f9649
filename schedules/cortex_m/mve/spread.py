"""Bytes of one plane to every n-th place: a planar image becomes one of pixels, sixteen bytes at a time."""

from __future__ import annotations

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.mve.assembly import mve_function

FARTHEST = 17
"""Distance of places at most: the offset of the last of sixteen is a byte."""


def spread_function() -> CFunction:
    """``void name(const int8_t* from, int8_t* to, int32_t count, int32_t distance)``."""
    return c_function("mve_spread", _text)


def _text(name: str) -> str:
    body = ["push {r4, lr}", "mov r4, #0", "vidup.u8 q1, r4, #1", "vmul.i8 q1, q1, r3", "lsl r3, r3, #4"]
    body += ["wlstp.8 lr, r2, 2f", "1:", "vldrb.u8 q0, [r0], #16", "vstrb.8 q0, [r1, q1]", "add r1, r1, r3"]
    body += ["letp lr, 1b", "2:", "pop {r4, pc}"]
    twin = """    for (; count > 0; --count, to += distance) {
        *to = *from++;
    }
"""
    return mve_function(name, "const int8_t* from, int8_t* to, int32_t count, int32_t distance", body, twin)
