"""Products of pixels and output channels: two pixels by four channels, sixteen values of each at a time.

VMLADAVA adds sixteen products to a core register, which has to have an even number: there are eight, so eight sums are
what a tile can have. Six loads and eight multiplications make 128 products. Input is read where it lies, as int8; a
window is a list of runs, each a row of taps, neighbours in memory. What a run has beyond a multiple of sixteen values
is read with the other lanes zero, so that weights need no filling: theirs may be anything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization
from tvm_tiny.schedules.cortex_m.mve.assembly import mve_function
from tvm_tiny.schedules.cortex_m.mve.requantization import (
    Steps,
    VectorRequantization,
    requantize_lines,
    requantize_twin,
)

LANES = 16
BLOCK = 4
"""Output channels of a tile."""

UNROLLED = 4
"""Steps of sixteen values up to which a single run is written out."""

_SUMS = (("r0", "r2", "r4", "r6"), ("r8", "r10", "r12", "lr"))
_POINTERS = ("r3", "r5")
# Stack frame, in bytes; from _NUMBERS on what the constants begin with, as far as a layer has it (``Gemm.at``).
_X, _OUT, _COUNT, _STREAM, _RUNS, _END, _ZEROS, _STEPS, _REST, _NUMBERS = 0, 8, 12, 16, 20, 24, 28, 60, 64, 68
_FRAME = 104


@dataclass(frozen=True)
class Gemm:
    """What the code depends on; sizes are read from the constants.

    many : runs more than one
    steps : full steps of the single run, if written out
    rest : a run has a rest
    partial : output channels are no multiple of four
    compact : layers of all sizes share the code, with a rest or without
    """

    many: bool
    steps: int | None
    rest: bool
    partial: bool
    requantize: Steps
    compact: bool = False

    @property
    def head(self) -> tuple[str, ...]:
        """What the constants begin with, in front of the weights; the length of a run is in another place."""
        return ("channels", *(["runs"] if self.many else []), *self.requantize.numbers)

    def at(self, name: str) -> int:
        """Where one of ``head`` is in the stack frame; in place of the number of runs the address of their end."""
        return _NUMBERS + 4 * self.head.index(name)


def gemm_of(runs: int, length: int, channels: int, requantize: Steps, *, compact: bool) -> Gemm:
    """The code for windows of ``runs`` runs of ``length`` values; ``compact``: one that few layers do not share."""
    if compact:
        return Gemm(runs > 1, None, True, True, requantize.general, compact=True)
    steps = length // LANES
    fixed = runs == 1 and steps <= UNROLLED
    return Gemm(runs > 1, steps if fixed else None, length % LANES != 0, channels % BLOCK != 0, requantize)


def gemm_constants(
    weights: NDArray[np.int8], zero_point: int, plan: LayerRequantization, vector: VectorRequantization, gemm: Gemm
) -> NDArray[np.int32]:
    """What ``gemm_function`` reads, a flat array.

    Parameters
    ----------
    weights : [C_OUT, runs, values of a run]
    zero_point : of the input

    Returns
    -------
    The length of a run, ``gemm.head``; per four channels, run by run, sixteen weights of each of them, then the rest
    of each; then offsets, signs (if signed) and multipliers, of which the last two may be in the head already.
    Channels that make four full have weights of 0
    """
    channels, runs, length = weights.shape
    used = np.where(plan.constant[:, None, None], 0, weights).astype(np.int8)
    offsets = plan.offsets - (1 << plan.scale_bits) * zero_point * used.astype(np.int64).sum((1, 2))
    offsets = ((offsets + 2**31) % 2**32 - 2**31).astype(np.int32)
    full = length // LANES * LANES
    fill = -channels % BLOCK
    used = np.pad(used, ((0, fill), (0, 0), (0, 0)))
    columns = [offsets] if vector.steps.uniform else [offsets, plan.signs, plan.multipliers]
    columns = [offsets, plan.multipliers] if vector.steps.vectors == 2 else columns
    tail = np.pad(np.stack(columns).astype(np.int32), ((0, 0), (0, fill)))
    numbers = {"channels": channels, "runs": runs, **asdict(vector)}
    parts = [np.array([length, *(numbers[name] for name in gemm.head)], np.int32)]
    for c in range(0, channels, BLOCK):
        block = used[c : c + BLOCK]
        steps = block[..., :full].reshape(BLOCK, runs, full // LANES, LANES).transpose(1, 2, 0, 3)
        rest = block[..., full:].transpose(1, 0, 2)
        both = np.concatenate([steps.reshape(runs, -1), rest.reshape(runs, -1)], axis=1)
        parts += [np.ascontiguousarray(both).reshape(-1).view(np.int32), tail[:, c : c + BLOCK].reshape(-1)]
    return np.concatenate(parts)


def gemm_function(name: str, gemm: Gemm) -> str:
    """``void name(const int32_t* packed, tinyml_run* runs, int8_t* out, int32_t count)``: ``count`` pixels.

    ``runs`` say where the first pixel's values lie and how far it is from one pixel to the next; they are used up.
    """
    head = ", ".join([*(f"r{i}" for i in range(5, 13)), "lr"][: len(gemm.head)])
    body = ["push {r4-r11, lr}", f"sub sp, sp, #{_FRAME}", f"strd r2, r3, [sp, #{_OUT}]", f"ldm r0!, {{r4, {head}}}"]
    body += [f"strd r0, r1, [sp, #{_STREAM}]", "lsrs r2, r4, #4", "and r3, r4, #15"]
    body += ["add r6, r1, r6, lsl #3"] if gemm.many else []
    body += [f"add r0, sp, #{_STEPS}", f"stm r0, {{r2, r3, {head}}}"]
    if gemm.steps is None:
        body += [f"add r4, sp, #{_ZEROS}", "vmov.i32 q0, #0", "vstrw.32 q0, [r4]", "vstrw.32 q0, [r4, #16]"]
    body += ["1:", f"ldr r0, [sp, #{_COUNT}]", "subs r0, #2", "blt.w 2f", f"str r0, [sp, #{_COUNT}]"]
    body += _tile(gemm, 2) + ["b.w 1b", "2:", "adds r0, #1", "bmi.w 3f"]
    body += _tile(gemm, 1) + ["3:", f"add sp, sp, #{_FRAME}", "pop {r4-r11, pc}"]
    parameters = "const int32_t* packed, tinyml_run* runs, int8_t* out, int32_t count"
    return mve_function(name, parameters, body, _twin(gemm))


def _tile(gemm: Gemm, pixels: int) -> list[str]:
    """All channels of ``pixels`` neighbours; out and runs move on."""
    lines = [f"ldr r1, [sp, #{_STREAM}]", f"ldr r7, [sp, #{_OUT}]"]
    if not gemm.many:
        lines += [f"ldr r4, [sp, #{_RUNS}]", "ldrd r3, r5, [r4]", "add r6, r3, r5", "strd r3, r6, [sp]"]
        lines += ["add r6, r6, r5", "str r6, [r4]"] if pixels == 2 else []
    channels = gemm.at("channels")
    lines += [f"ldr r11, [sp, #{channels}]", "add r11, r11, r7", f"str r11, [sp, #{_END}]"]
    lines += [] if gemm.many else [f"ldr r9, [sp, #{gemm.at('left')}]"]
    lines += ["4:"] + _sums(gemm, pixels) + _finish(gemm, pixels) + ["bne.w 4b" if not gemm.partial else "bhi.w 4b"]
    if pixels == 1:
        return lines
    lines += [
        f"ldr r0, [sp, #{_OUT}]",
        f"ldr r2, [sp, #{channels}]",
        "add r0, r0, r2, lsl #1",
        f"str r0, [sp, #{_OUT}]",
    ]
    if gemm.many:
        lines += [f"ldr r9, [sp, #{_RUNS}]", f"ldr r11, [sp, #{gemm.at('runs')}]"]
        lines += ["5:", "ldrd r3, r5, [r9]", "add r3, r3, r5, lsl #1", "str r3, [r9], #8", "cmp r9, r11", "bne 5b"]
    return lines


def _sums(gemm: Gemm, pixels: int) -> list[str]:
    """Sums of four channels."""
    if not gemm.many:
        lines = ["ldrd r3, r5, [sp]"] if pixels == 2 else ["ldr r3, [sp]"]
        if gemm.steps is not None:
            for i in range(gemm.steps):
                lines += _step(pixels, "vmladava" if i else "vmladav")
            return lines + (_rest(pixels, "vmladava" if gemm.steps else "vmladav", "r9") if gemm.rest else [])
    else:
        lines = [f"ldr r9, [sp, #{_RUNS}]"]
    lines += [f"add r11, sp, #{_ZEROS}", f"ldm r11, {{{', '.join(sum(_SUMS[:pixels], ()))}}}"]
    if gemm.many:
        lines += ["6:"] + (["ldrd r3, r5, [r9], #8", "add r5, r5, r3"] if pixels == 2 else ["ldr r3, [r9], #8"])
    step = _step(pixels, "vmladava")
    lines += [f"ldr r11, [sp, #{_STEPS}]", "lsrs r11, r11, #1", "bcc 7f", *step, "7:", "beq 9f"]
    lines += ["8:", *step, *step, "subs r11, #1", "bne 8b", "9:"]
    if gemm.rest:
        rest = _rest(pixels, "vmladava", "r11")
        lines += [rest[0], "cmp r11, #0", "beq.w 10f", *rest[1:], "10:"] if gemm.compact else rest
    lines += [f"ldr r11, [sp, #{gemm.at('runs')}]", "cmp r9, r11", "bne.w 6b"] if gemm.many else []
    return lines


def _step(pixels: int, multiply: str) -> list[str]:
    """Sixteen values of each pixel and channel."""
    lines = [f"vldrb.u8 q{p}, [{_POINTERS[p]}], #16" for p in range(pixels)]
    for c in range(BLOCK):
        q = f"q{2 + c % 2}"
        lines += [f"vldrb.u8 {q}, [r1], #16"]
        lines += [f"{multiply}.s8 {_SUMS[p][c]}, q{p}, {q}" for p in range(pixels)]
    return lines


def _rest(pixels: int, multiply: str, size: str) -> list[str]:
    """The last values of a run; weights are read beyond their end, where at least the constants follow."""
    lines = [f"ldr {size}, [sp, #{_REST}]", f"vctp.8 {size}", "vpst" + "t" * (pixels - 1)]
    lines += [f"vldrbt.u8 q{p}, [{_POINTERS[p]}]" for p in range(pixels)]
    for c in range(BLOCK):
        q = f"q{2 + c % 2}"
        lines += [f"vldrb.u8 {q}, [r1]", f"add r1, r1, {size}"]
        lines += [f"{multiply}.s8 {_SUMS[p][c]}, q{p}, {q}" for p in range(pixels)]
    return lines


def _finish(gemm: Gemm, pixels: int) -> list[str]:
    """Requantize and store; leaves flags "more channels"."""
    steps = gemm.requantize
    vectors = [f"q{p}" for p in range(pixels)]
    lines: list[str] = []
    for q, (a, b, c, d) in zip(vectors, _SUMS, strict=False):
        lines += [f"vmov {q}[2], {q}[0], {a}, {c}", f"vmov {q}[3], {q}[1], {b}, {d}"]
    keeps_left = not gemm.many and not gemm.rest
    scalars = {"left": "r9" if keeps_left else "r0", "addend": "r2", "raise_high": "r4", "back": "r6", "second": "r8"}
    loads = {"addend": "ldr r2", "raise_high": "ldrd r4, r6", "second": "ldr r8"}
    loads |= {"factor": "ldrd r10, r12" if steps.signed else "ldr r10"} | ({} if keeps_left else {"left": "ldr r0"})
    lines += [f"{loads[name]}, [sp, #{gemm.at(name)}]" for name in steps.numbers if name in loads]
    shared = ("q2", "r12", "r10") if steps.uniform else ("q2", "q2", "q3")
    first, middle, last = requantize_lines(vectors, steps, shared, scalars)
    lines += ["vldrw.u32 q2, [r1], #16", *first]
    lines += ["vldrw.u32 q2, [r1], #16"] if steps.vectors == 3 else []
    lines += middle
    lines += ["vldrw.u32 q3, [r1], #16"] if steps.vectors > 1 else []
    lines += last
    lines += [f"ldr r0, [sp, #{gemm.at('channels')}]", "add r0, r0, r7"] if pixels == 2 else []
    lines += [f"ldr r11, [sp, #{_END}]"]
    if gemm.partial:
        lines += ["sub r3, r11, r7", "vctp.32 r3", "vpst" + "t" * (pixels - 1), "vstrbt.32 q0, [r7], #4"]
        return lines + (["vstrbt.32 q1, [r0]"] if pixels == 2 else []) + ["cmp r11, r7"]
    return lines + ["vstrb.32 q0, [r7], #4"] + (["vstrb.32 q1, [r0]"] if pixels == 2 else []) + ["cmp r11, r7"]


def _twin(gemm: Gemm) -> str:
    steps = gemm.requantize
    place = {name: f"packed[{1 + i}]" for i, name in enumerate(gemm.head)}
    sign = "0" if not steps.signed else place["sign"] if steps.uniform else "k[4 + j]"
    factor = place["factor"] if steps.uniform else f"k[{4 * steps.vectors - 4} + j]"
    numbers = ", ".join(place.get(name, "0") for name in ("left", "addend", "raise_high", "back", "second"))
    start = "(int32_t)((uint32_t)acc[j] * 256U + (uint32_t)k[j])"
    value = requantize_twin(start, factor, sign, steps, "numbers")
    return f"""    const int32_t steps = packed[0] / {LANES}, rest = packed[0] % {LANES}, channels = packed[1];
    const int32_t lines = {place.get("runs", "1")}, numbers[] = {{{numbers}}};
    int32_t c, i, j, l, n;
    for (; count > 0; --count) {{
        const int8_t* w = (const int8_t*)(packed + {1 + len(gemm.head)});
        for (c = 0; c < channels; c += {BLOCK}) {{
            int32_t acc[{BLOCK}] = {{0, 0, 0, 0}};
            const int32_t* k;
            for (i = 0; i < lines; ++i) {{
                const int8_t* x = runs[i].at;
                for (n = 0; n <= steps; ++n) {{
                    const int32_t lanes = n < steps ? {LANES} : rest;
                    for (j = 0; j < {BLOCK}; ++j) {{
                        for (l = 0; l < lanes; ++l) {{
                            acc[j] += x[l] * *w++;
                        }}
                    }}
                    x += lanes;
                }}
            }}
            k = (const int32_t*)(const void*)w;
            for (j = 0; j < {BLOCK} && c + j < channels; ++j) {{
                *out++ = {value};
            }}
            w += {16 * steps.vectors};
        }}
        for (i = 0; i < lines; ++i) {{
            runs[i].at += runs[i].step;
        }}
    }}
"""


def product_function(gemm: Gemm) -> CFunction:
    """``gemm_function`` under a name of its own."""
    return c_function("mve_gemm", partial(gemm_function, gemm=gemm))
