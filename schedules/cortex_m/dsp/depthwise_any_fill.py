"""Image rows to the planes that ``depthwise_any`` reads."""

from __future__ import annotations

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import CHANNELS, Depthwise


def fill_function(name: str, layer: Depthwise) -> str:
    """Four channels of a pair of image rows:

    ``void name(const int8_t* upper, const int8_t* lower, uint32_t* planes)``
    """
    word, c = (layer.zero_point & 0xFF) * 0x01010101, layer.channels
    units = [
        tuple(2 * u + i < layer.needed and 0 <= layer.first + 2 * u + i < layer.columns for i in range(2))
        for u in range(layer.pair_bytes // 8)
    ]
    body = ["push {r4-r11, lr}", "mvn r3, #0xff00ff", f"movw r12, #{layer.plane_bytes}"]
    body += ["add r10, r2, r12", "add r11, r10, r12", "add r12, r11, r12"]
    if layer.first > 0:
        body += [f"movw r4, #{layer.first * c}", "add r0, r0, r4", "add r1, r1, r4"]
    u = 0
    while u < len(units):
        count = 1
        while all(units[u]) and u + count < len(units) and all(units[u + count]):
            count += 1
        if count > 1:
            body += [f"mov lr, #{count}", "1:"] + _unit(units[u], c, word) + ["subs lr, #1", "bne 1b"]
        else:
            body += _unit(units[u], c, word)
        u += count
    body += ["pop {r4-r11, pc}"]
    parameters = "const int8_t* upper, const int8_t* lower, uint32_t* planes"
    return naked_function(name, parameters, body, _fill_twin(layer))


def _unit(inside: tuple[bool, ...], c: int, word: int) -> list[str]:
    """Two columns: r4 r5 the rows of the first, r6 r7 of the second."""
    lines: list[str] = []
    step = sum(inside) * c
    for i in (1, 0):
        upper, lower = f"r{4 + 2 * i}", f"r{5 + 2 * i}"
        if not inside[i]:
            lines += [f"movw {upper}, #{word & 0xFFFF}", f"movt {upper}, #{word >> 16}", f"mov {lower}, {upper}"]
            continue
        offset = c if i and inside[0] else 0
        if (i == 0 or not inside[0]) and step <= 255:
            lines += [f"ldr {upper}, [r0], #{step}", f"ldr {lower}, [r1], #{step}"]
        else:
            lines += [f"ldr {upper}, [r0, #{offset}]", f"ldr {lower}, [r1, #{offset}]"]
    if step > 255:
        lines += [f"add r0, r0, #{step}", f"add r1, r1, #{step}"]
    lines += [
        "pkhbt r8, r4, r5, lsl #16",
        "pkhtb r5, r5, r4, asr #16",
        "pkhbt r9, r6, r7, lsl #16",
        "pkhtb r7, r7, r6, asr #16",
    ]
    lines += ["and r4, r3, r8, lsl #8", "and r6, r3, r9, lsl #8", "strd r4, r6, [r2], #8"]
    lines += ["and r8, r3, r8", "and r9, r3, r9", "strd r8, r9, [r10], #8"]
    lines += ["and r4, r3, r5, lsl #8", "and r6, r3, r7, lsl #8", "strd r4, r6, [r11], #8"]
    return lines + ["and r5, r3, r5", "and r7, r3, r7", "strd r5, r7, [r12], #8"]


def _fill_twin(layer: Depthwise) -> str:
    return f"""    int32_t c, i;
    for (c = 0; c < {CHANNELS}; ++c) {{
        for (i = 0; i < {layer.pair_bytes // 4}; ++i) {{
            const int32_t column = {layer.first} + i;
            const int32_t inside = i < {layer.needed} && column >= 0 && column < {layer.columns};
            const int32_t high = inside ? lower[column * {layer.channels} + c] : {layer.zero_point};
            const int32_t low = inside ? upper[column * {layer.channels} + c] : {layer.zero_point};
            planes[{layer.plane_bytes // 4} * c + i] = tinyml_pair(256 * low, 256 * high);
        }}
    }}
"""
