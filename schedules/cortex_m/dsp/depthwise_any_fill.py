"""Image rows to the planes that ``depthwise_any`` reads."""

from __future__ import annotations

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function
from tvm_tiny.schedules.cortex_m.dsp.planes import (
    CHANNELS,
    FILL_PARAMETERS,
    PAIRS,
    PLANE_BYTES,
    ROWS,
    SKIP,
    SPANS,
    load_pair,
    walk_spans,
)


def fill_function(name: str) -> str:
    """Four channels of all pairs of image rows, each row from its first column inside the image on:

    ``void name(strip, planes, offset)``; ``rows`` has the pairs' rows, their planes follow each other.
    """
    # stack: 0 to 12 as walk_spans wants it, 16 spans, 20 offset, 24 rows, 28 pairs, 32 bytes between planes
    body = ["push {r4-r11, lr}", f"ldr r7, [r0, #{PLANE_BYTES}]", f"ldr r6, [r0, #{PAIRS}]"]
    body += [f"ldr r4, [r0, #{ROWS}]", "mov r3, r2", f"add r2, r0, #{SPANS}", "push {r2, r3, r4, r6, r7}"]
    body += ["ldmia r0, {r8, r9}", "push {r8, r9}", "sub sp, #8", "mov r2, r1", "mvn r3, #0xff00ff"]
    body += ["add r10, r2, r7", "add r11, r10, r7", "add r12, r11, r7", f"ldr r7, [r0, #{SKIP}]", "str r7, [sp, #32]"]
    body += ["9:", "ldrd r5, r6, [sp, #20]", "ldmia r6!, {r0, r1}"]
    body += ["str r6, [sp, #24]", "add r0, r0, r5", "add r1, r1, r5"]
    loads = load_pair(("r0", "r1"), (("r4", "r5"), ("r6", "r7")), "r8")
    rest = ["pkhbt r8, r4, r5, lsl #16", "pkhtb r5, r5, r4, asr #16"]
    rest += ["pkhbt r9, r6, r7, lsl #16", "pkhtb r7, r7, r6, asr #16"]
    rest += ["and r4, r3, r8, lsl #8", "and r6, r3, r9, lsl #8", "strd r4, r6, [r2], #8"]
    rest += ["and r8, r3, r8", "and r9, r3, r9", "strd r8, r9, [r10], #8"]
    rest += ["and r4, r3, r5, lsl #8", "and r6, r3, r7, lsl #8", "strd r4, r6, [r11], #8"]
    rest += ["and r5, r3, r5", "and r7, r3, r7", "strd r5, r7, [r12], #8"]
    outside = ["and r4, r3, r4, lsl #8", "mov r5, r4"] + [
        f"strd r4, r5, [{p}], #8" for p in ("r2", "r10", "r11", "r12")
    ]
    body += walk_spans("r2", 8, loads, rest, outside, 16)
    body += [
        "ldrd r4, r5, [sp, #28]",
        *(f"add {p}, {p}, r5" for p in ("r2", "r10", "r11", "r12")),
        "subs r4, #1",
        "str r4, [sp, #28]",
        "bne.w 9b",
        "add sp, #36",
    ]
    body += ["pop {r4-r11, pc}"]
    twin = f"""    int32_t c, p;
    for (p = 0; p < strip->pairs; ++p) {{
        const int8_t *upper = strip->rows[2 * p] + offset, *lower = strip->rows[2 * p + 1] + offset;
        int32_t span;
        for (span = 0; span < 5; ++span) {{
            int32_t count;
            for (count = 2 * strip->spans[span]; count > 0; --count, ++planes) {{
                const int32_t inside = tinyml_inside(span, count & 1), zero = (int8_t)(strip->zero & 0xFFU);
                for (c = 0; c < {CHANNELS}; ++c) {{
                    const int32_t low = inside ? upper[c] : zero, high = inside ? lower[c] : zero;
                    planes[strip->plane_bytes / 4 * c] = tinyml_pair(256 * low, 256 * high);
                }}
                if (inside) {{
                    upper += strip->channels;
                    lower += strip->channels;
                }}
            }}
        }}
        planes += strip->skip / 4;
    }}
"""
    return naked_function(name, FILL_PARAMETERS, body, twin)
