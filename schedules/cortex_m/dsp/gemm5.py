"""Matrix product of five prepared pixels and one channel at a time: fewer instructions than two channels of fewer.

Per group of four input values 14 instructions make 20 products, 0.70 each, where rows of five columns otherwise get
tiles of 3 and 2 pixels at 0.75. It loads more, so it pays on cores that load two words in a cycle. Weights are those of
``gemm``, pairs of channels interleaved: first come all even channels, then all odd ones. The first group begins the
sums from the offset in the last sum's register, so none is copied.
"""

from __future__ import annotations

from tvm_tiny.schedules.cortex_m.dsp.assembly import from_zero_lines, naked_function, requantize_lines, unsigned_lines
from tvm_tiny.schedules.cortex_m.dsp.gemm import PARAMETERS, GemmTile, twin

PIXELS = 5
_X, _SUMS = tuple(f"r{i}" for i in range(2, 7)), tuple(f"r{i}" for i in range(8, 13))
_WEIGHT, _EVEN = "r7", "lr"
_GROUP_BYTES = 52
"""Of code."""


def gemm5_function(name: str, tile: GemmTile) -> str:
    """C text of a function like ``gemm_function``'s."""
    step = 4 if tile.single else 8
    # stack: 0 x, 4 out, 8 channels, 12 end of stream, 16 entry, 20 end of x, 24 addend, 28 from r1 to a channel's
    # multiplier and sign, 32 stream and out of odd channels; r0 and r1 walk through x and stream
    body = ["push {r4-r11, lr}", "sub sp, #44", "mov r4, r1", "mov r1, r0", "ldm r3, {r5, r6, r7, r8}"]
    if tile.single:
        body += ["add r1, r1, r5", "add r2, r2, r7", "subs r2, #1"]
    else:
        body += ["add r5, r5, r1", "adds r3, r1, #4", "adds r9, r2, #1", "strd r3, r9, [sp, #32]"]
    body += ["add r9, r8, r8, lsl #2", "add r3, r4, r9, lsl #3", "subs r8, #1", f"and r8, r8, #{tile.unroll - 1}"]
    body += [f"rsb r8, r8, #{tile.unroll}", f"movs r9, #{_GROUP_BYTES}", "mul r8, r8, r9", "adr.w r9, 3f + 1"]
    body += ["add r9, r9, r8", f"mvn r8, #{step - 1}", "strd r4, r2, [sp]", "strd r7, r5, [sp, #8]"]
    body += ["strd r9, r3, [sp, #16]", "strd r6, r8, [sp, #24]"]
    body += ["1:", "ldr r0, [sp]", f"ldr {_SUMS[-1]}, [r1], #{step}", f"ldr {_WEIGHT}, [r1], #{step}"]
    body += [*_group(step, _SUMS[-1]), "ldr pc, [sp, #16]", ".balign 4", "3:", *_group(step) * tile.unroll]
    body += [f"ldr {_X[0]}, [sp, #20]", f"cmp r0, {_X[0]}", "bne.w 3b", *_finish(tile)]
    if not tile.single:
        body += ["ldr r2, [sp, #12]", "cmp r1, r2", "bne.w 1b", "ldr r3, [sp, #28]", "adds r3, #4", "beq 4f"]
        body += ["str r3, [sp, #28]", "adds r2, #4", "str r2, [sp, #12]"]
        body += ["ldrd r1, r2, [sp, #32]", "str r2, [sp, #4]", "b.w 1b", "4:"]
    return naked_function(name, PARAMETERS, [*body, "add sp, sp, #44", "pop {r4-r11, pc}"], twin(tile))


def _group(step: int, start: str | None = None) -> list[str]:
    """Four values of each pixel, and the load of the next weights; behind the last ones it is the multiplier's.

    A Cortex-M7 issues SXTB16 and LDR together with the multiplication behind them.

    start : register that holds what all sums begin with
    """
    lines = []
    for weight, beside in ((_WEIGHT, f"sxtb16 {_EVEN}, {_WEIGHT}"), (_EVEN, f"ldr {_WEIGHT}, [r1], #{step}")):
        lines += [f"ldmia r0!, {{{', '.join(_X)}}}", beside]
        lines += [f"smlad {a}, {weight}, {x}, {start or a}" for a, x in zip(_SUMS, _X, strict=True)]
        start = None
    return lines


def _finish(tile: GemmTile) -> list[str]:
    """Requantize and store; the stream goes on to the next channel of its kind."""
    limits = (tile.shift, tile.low, tile.high, False)
    if tile.signed:
        lines = ["ldr r2, [sp, #28]", "add r2, r1, r2", "ldm r2, {r2, r3}", "ldr r0, [sp, #24]"]
        lines += requantize_lines(_SUMS, "r2", *limits, signed=("r3", "r0", "r4"))
        lines += [] if tile.single else ["adds r1, #8"]
    elif tile.zero_based:
        lines = [*unsigned_lines(_SUMS, _WEIGHT, tile.shift), "ldr r2, [sp, #24]", "lsr r3, r2, #16"]
        lines += from_zero_lines(_SUMS, "r2", "r3")
    else:
        lines = requantize_lines(_SUMS, _WEIGHT, *limits)
    places = ("[r0], #2", "[r0, r2]", "[r0, r2, lsl #1]", "[r0, r3]", "[r0, r2, lsl #2]")
    stores = [f"strb {a}, {place}" for a, place in zip(_SUMS, places, strict=True)]
    lines += ["ldrd r0, r2, [sp, #4]", "add r3, r2, r2, lsl #1", *stores[1:], stores[0]]
    return lines if tile.single else [*lines, "str r0, [sp, #4]"]
