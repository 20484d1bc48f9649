"""Image rows to the planes that ``depthwise_any`` reads."""

from __future__ import annotations

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS, FILL_PARAMETERS, fill_body, load_pair


def fill_function(name: str, plane_bytes: int) -> str:
    """Four channels of a pair of image rows, each from its first column inside the image on:

    ``void name(columns, planes, channel, rows)``
    """
    prologue = ["ldrd r4, r5, [r3]", "add r0, r4, r2", "add r5, r5, r2", "mov r2, r1", "mov r1, r5"]
    prologue += ["mvn r3, #0xff00ff", f"movw r12, #{plane_bytes}"]
    prologue += ["add r10, r2, r12", "add r11, r10, r12", "add r12, r11, r12"]
    slow, fast = load_pair(("r0", "r1"), (("r4", "r5"), ("r6", "r7")), "r8")
    rest = ["pkhbt r8, r4, r5, lsl #16", "pkhtb r5, r5, r4, asr #16"]
    rest += ["pkhbt r9, r6, r7, lsl #16", "pkhtb r7, r7, r6, asr #16"]
    rest += ["and r4, r3, r8, lsl #8", "and r6, r3, r9, lsl #8", "strd r4, r6, [r2], #8"]
    rest += ["and r8, r3, r8", "and r9, r3, r9", "strd r8, r9, [r10], #8"]
    rest += ["and r4, r3, r5, lsl #8", "and r6, r3, r7, lsl #8", "strd r4, r6, [r11], #8"]
    rest += ["and r5, r3, r5", "and r7, r3, r7", "strd r5, r7, [r12], #8"]
    twin = f"""    const int8_t *upper = rows[0] + channel, *lower = rows[1] + channel;
    const int32_t* span = columns->spans;
    int32_t c, i;
    for (; span[1] != 0; span += 2) {{
        int32_t count;
        for (count = span[1]; count > 0; --count) {{
            for (i = 0; i < 2; ++i, ++planes) {{
                const int32_t inside = (span[0] >> i) & 1, zero = (int8_t)(columns->zero & 0xFFU);
                for (c = 0; c < {CHANNELS}; ++c) {{
                    const int32_t low = inside ? upper[c] : zero, high = inside ? lower[c] : zero;
                    planes[{plane_bytes // 4} * c] = tinyml_pair(256 * low, 256 * high);
                }}
                if (inside) {{
                    upper += columns->channels;
                    lower += columns->channels;
                }}
            }}
        }}
    }}
"""
    return naked_function(name, FILL_PARAMETERS, fill_body(prologue, "r2", 8, slow, fast, rest), twin)
