"""Prepare input for ``gemm``: from int8 NHWC rows to the halfword pairs (o, e), pixel-interleaved.

The run of a kernel row is KW * C neighbouring bytes. Whole words of the runs come first, row by row; the one to three
bytes that are left of each run are gathered in further groups. ``reduction_order`` tells the same order to the packer
of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function

PARAMETERS = "const int8_t* const* rows, uint32_t* x, int32_t offset, const tinyml_conv* conv"

LARGEST_OFFSET = 4095
"""Of LDR with an immediate."""


@dataclass(frozen=True)
class Window:
    """The taps of ``pixels`` neighbouring output pixels, all inside the image.

    rows : kernel height
    run : bytes of one kernel row, KW * C_IN
    step : bytes from a pixel to the next, stride * C_IN
    """

    pixels: int
    rows: int
    run: int
    step: int

    @property
    def groups(self) -> int:
        return self.rows * (self.run // 4) + -(-self.rows * (self.run % 4) // 4)


def reduction_order(rows: int, run: int) -> list[int]:
    """Index in [rows, run] of each prepared value, in order."""
    whole = run // 4 * 4
    order = [r * run + i for r in range(rows) for i in range(whole)]
    return order + [r * run + i for r in range(rows) for i in range(whole, run)]


def _prepare(n: int) -> list[str]:
    """Words in r8.. (five: r7..) become o in r4.. and e in their place, stored at r1."""
    if n == 5:
        return [line for part in ((7, 8, 9), (10, 11)) for line in _odd_of_five(part)] + ["stmia r1!, {r7-r11}"]
    lines = [f"sxtab16 r{4 + p}, r12, r{8 + p}, ror #8" for p in range(n)]
    lines += [f"and r{8 + p}, r3, r{8 + p}, lsl #8" for p in range(n)]
    lines += [f"ssub16 r{8 + p}, r{8 + p}, r{4 + p}" for p in range(n)]
    registers = [f"r{4 + p}" for p in range(n)] + [f"r{8 + p}" for p in range(n)]
    return lines + [f"stmia r1!, {{{', '.join(registers)}}}"]


def _odd_of_five(words: tuple[int, ...]) -> list[str]:
    lines = [f"sxtab16 r{4 + i}, r12, r{w}, ror #8" for i, w in enumerate(words)]
    lines += [f"and r{w}, r3, r{w}, lsl #8" for w in words]
    lines += [f"ssub16 r{w}, r{w}, r{4 + i}" for i, w in enumerate(words)]
    return [*lines, f"stmia r1!, {{r4-r{3 + len(words)}}}"]


def fixed_fill_function(name: str, window: Window) -> str:
    """C text of ``void name(rows, x, offset, conv)`` for the one shape of ``window``; ``conv`` is not read.

    ``rows`` are the KH input rows; the first pixel's first tap is ``offset`` bytes into each.
    """
    n, words, rest = window.pixels, window.run // 4, window.run % 4
    if (n - 1) * window.step + window.run > LARGEST_OFFSET:
        raise ValueError(f"pixels {window.step} bytes apart are too far for one load offset")
    body = ["push {r2, r4-r11, lr}", "mvn r3, #0xff00ff", "mvn r12, #0x7e007e"]
    loads = [f"ldr r{8 + p}, [lr, #{p * window.step}]" for p in range(1, n)] + ["ldr r8, [lr], #4"]
    if words:
        unroll = words if words <= 3 else next(u for u in (4, 3, 2, 1) if words % u == 0)
        if window.rows > 1:
            body += [f"add r4, r0, #{4 * window.rows}", "push {r4}", "1:", "ldr r2, [sp, #4]"]
        body += ["ldr lr, [r0], #4", "add lr, lr, r2"]
        if words > unroll:
            body += [f"mov r2, #{words // unroll}" if words // unroll < 256 else f"movw r2, #{words // unroll}", "2:"]
        body += (loads + _prepare(n)) * unroll
        if words > unroll:
            body += ["subs r2, #1", "bne 2b"]
        if window.rows > 1:
            body += ["ldr r2, [sp]", "cmp r0, r2", "bne.w 1b", "pop {r4}"]
        if rest:
            body += [f"sub r0, #{4 * window.rows}"]
    if rest:
        body += ["ldr r2, [sp]"] + _left_over(window)
    body += ["pop {r2, r4-r11, pc}"]
    return naked_function(name, PARAMETERS, body, "    (void)conv;\n" + _twin(window))


def _left_over(window: Window) -> list[str]:
    n, whole, rest = window.pixels, window.run // 4 * 4, window.run % 4
    taps = [(r, whole + i) for r in range(window.rows) for i in range(rest)]
    lines: list[str] = []
    for first in range(0, len(taps), 4):
        row = -1
        for i, (r, at) in enumerate(taps[first : first + 4]):
            if r != row:
                lines += [f"ldr lr, [r0, #{4 * r}]", "add lr, lr, r2"]
                row = r
            for p in range(n):
                target = f"r{8 + p}" if i == 0 else f"r{4 + p}"
                lines += [f"ldrb {target}, [lr, #{p * window.step + at}]"]
            if i:
                lines += [f"orr r{8 + p}, r{8 + p}, r{4 + p}, lsl #{8 * i}" for p in range(n)]
        lines += _prepare(n)
    return lines


def _twin(window: Window) -> str:
    n = window.pixels
    return f"""    int32_t g, i, p;
    for (g = 0; g < {window.groups}; ++g) {{
        for (p = 0; p < {n}; ++p) {{
            uint32_t word = 0, odd;
            for (i = 0; i < 4; ++i) {{
                int32_t k = 4 * g + i, whole = {window.run // 4 * 4};
                int32_t row = k / {max(window.run // 4 * 4, 1)}, at = k % {max(window.run // 4 * 4, 1)};
                if (k >= {window.rows} * whole) {{
                    k -= {window.rows} * whole;
                    row = k / {max(window.run % 4, 1)};
                    at = whole + k % {max(window.run % 4, 1)};
                    if ({window.run % 4} == 0 || row >= {window.rows}) continue;
                }}
                word |= (uint32_t)(uint8_t)rows[row][offset + p * {window.step} + at] << (8 * i);
            }}
            odd = tinyml_prepared_odd(word);
            x[g * {2 * n} + p] = odd;
            x[g * {2 * n} + {n} + p] = tinyml_prepared_even(word, odd);
        }}
    }}
"""


def fill_function(name: str, pixels: int, rest: bool) -> str:
    """C text of ``void name(rows, x, offset, conv)`` for runs of at least one whole word.

    Parameters
    ----------
    rest : one row of taps, whose last word ``conv->rest_bits`` says is not whole; else rows of whole words
    """
    n, word = pixels, 7 if pixels == 5 else 8
    more = ["[lr, r0]", "[lr, r0, lsl #1]", "[lr, r2]", "[lr, r0, lsl #2]"]
    others = [f"ldr r{word + 1 + p}, {more[p]}" for p in range(n - 1)]
    group = [*others, f"ldr r{word}, [lr], #4", *_prepare(n)]
    # stack: 0 end of the run, 4 rows, 8 their end, 12 offset, 16 bytes of a run, 20 rest_bits
    body = ["push {r4-r11, lr}", "ldrd r6, r7, [r3, #24]", "ldr r5, [r3, #20]", "mov r4, r2"]
    body += ["add r2, r0, r6, lsl #2", "mov r6, r7", "push {r0, r2, r4, r5, r6}", "sub sp, #4"]
    body += ["ldr r0, [r3, #16]"] + (["add r2, r0, r0, lsl #1"] if n > 3 else [])
    body += ["mvn r3, #0xff00ff", "mvn r12, #0x7e007e"]
    body += ["1:", "ldr r4, [sp, #4]", "ldr lr, [r4], #4", "str r4, [sp, #4]", "ldrd r5, r6, [sp, #12]"]
    body += ["add lr, lr, r5", "add r5, lr, r6", "str r5, [sp]", "lsls r6, r6, #29", "bmi 3f"]
    body += ["2:", *group, "3:", *group, "ldr r4, [sp]", "cmp lr, r4", "bne.w 2b"]
    if rest:
        body += ["ldr r4, [sp, #20]", "sub lr, lr, r4, lsr #3", *others, f"ldr r{word}, [lr]"]
        body += [f"lsr r{word + p}, r{word + p}, r4" for p in range(n)] + _prepare(n)
    else:
        body += ["ldrd r4, r5, [sp, #4]", "cmp r4, r5", "bne.w 1b"]
    body += ["add sp, #24", "pop {r4-r11, pc}"]
    twin = f"""    const int32_t whole = conv->run_bytes / 4;
    int32_t g, i, p;
    for (g = 0; g < conv->groups; ++g) {{
        const int8_t* from = rows[{0 if rest else "g / whole"}] + offset + {"4 * g" if rest else "g % whole * 4"};
        for (p = 0; p < {n}; ++p) {{
            uint32_t word = 0, odd;
            for (i = 0; i < ({"g == whole ? 4 - conv->rest_bits / 8 : 4" if rest else "4"}); ++i) {{
                word |= (uint32_t)(uint8_t)from[p * conv->step + i] << (8 * i);
            }}
            odd = tinyml_prepared_odd(word);
            x[g * {2 * n} + p] = odd;
            x[g * {2 * n} + {n} + p] = tinyml_prepared_even(word, odd);
        }}
    }}
"""
    return naked_function(name, PARAMETERS, body, twin)
