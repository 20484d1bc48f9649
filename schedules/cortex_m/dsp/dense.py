"""Fully connected, one pixel: four outputs share each input word; weights are read once, four words to an LDM.

Packing and preparation are those of ``gemm``. With the input prepared in scratch (2 bytes a value) four weights cost
27/8 instructions; preparing it anew for every four outputs costs three more, and no scratch.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.cortex_m.dsp.assembly import naked_function, requantize_lines, requantize_twin

BLOCK = 4
"""Outputs computed together: accumulators and raw weights are eight registers, input four, pointers two."""


@dataclass(frozen=True)
class Dense:
    """A layer; see gemm.GemmTile for the last six.

    inputs, outputs : sizes
    prepared : ``x`` are the words of ``fill`` (one pixel), else int8
    uniform : one multiplier and one sign, at the head of the stream
    """

    inputs: int
    outputs: int
    prepared: bool
    shift: int
    low: int = -128
    high: int = 127
    zero_based: bool = False
    signed: bool = False
    addend: int = 0
    uniform: bool = False
    unroll: int = 8

    @property
    def groups(self) -> int:
        return -(-self.inputs // 4)

    @property
    def frame(self) -> int:
        """Bytes of stack: ends of x and stream, then multiplier and sign if they are uniform; x and out above."""
        return 16 if self.uniform else 8

    @property
    def words_per_output(self) -> int:
        """Words of the stream: weights, offset, multiplier and sign."""
        return self.groups + (1 if self.uniform else 3 if self.signed else 2)

    @property
    def scratch_bytes(self) -> int:
        return 8 * self.groups if self.prepared else 0


def dense_function(name: str, layer: Dense) -> str:
    """C text of ``void name(const int8_t* stream, const void* x, int8_t* out)``.

    ``stream`` per block of four outputs (the last may have fewer): offsets, groups times a word of weights per output,
    multipliers; if signed multiplier and sign alternate. If uniform these two stand at the head of the stream only.
    """
    blocks, last = divmod(layer.outputs, BLOCK)
    turns = layer.groups // layer.unroll * layer.unroll
    block_bytes = BLOCK * 4 * layer.words_per_output
    body = ["push {r1, r2, r4-r11, lr}", "mov r1, r0", f"sub sp, sp, #{layer.frame}"]
    body += ["ldmia r1!, {r2, r3}", "strd r2, r3, [sp, #8]"] if layer.uniform else []
    body += [f"ldr r0, [sp, #{layer.frame}]"]
    body += [f"movw r2, #{turns * (8 if layer.prepared else 4)}", "add r2, r2, r0", "str r2, [sp]"]
    body += [
        f"movw r2, #{blocks * block_bytes & 0xFFFF}",
        f"movt r2, #{blocks * block_bytes >> 16}",
        "add r2, r2, r1",
        "str r2, [sp, #4]",
    ]
    if not layer.prepared:
        body += ["mvn r8, #0xff00ff", "mvn r9, #0x7e007e"]
    if blocks:
        body += _block(layer, BLOCK, blocks, "1", "2")
    if last:
        body += _block(layer, last, 1, "3", "4")
    body += [f"add sp, sp, #{layer.frame}", "pop {r1, r2, r4-r11, pc}"]
    return naked_function(name, "const int8_t* stream, const void* x, int8_t* out", body, _twin(layer))


def _list(registers: list[str]) -> str:
    return "{" + ", ".join(registers) + "}"


def _block(layer: Dense, m: int, count: int, outer: str, inner: str) -> list[str]:
    acc, w = ["r10", "r11", "r12", "lr"][:m], ["r4", "r5", "r6", "r7"][:m]
    lines = [f"{outer}:"] if count > 1 else []
    lines += [f"ldr r0, [sp, #{layer.frame}]"] + _load("r1", acc)
    turns, rest = divmod(layer.groups, layer.unroll)
    if turns > 1:
        lines += (
            [f"{inner}:"] + _groups(layer, layer.unroll, w, acc) + ["ldr r2, [sp]", "cmp r0, r2", f"bne.w {inner}b"]
        )
    elif turns:
        lines += _groups(layer, layer.unroll, w, acc)
    lines += _groups(layer, rest, w, acc, layer.inputs % 4)
    lines += _finish(layer, m, acc)
    if count > 1:
        lines += ["ldr r2, [sp, #4]", "cmp r1, r2", f"bne.w {outer}b"]
    return lines


def _load(pointer: str, registers: list[str]) -> list[str]:
    return [f"ldmia {pointer}!, {_list(registers)}"] if len(registers) > 1 else [f"ldr {registers[0]}, [{pointer}], #4"]


def _groups(layer: Dense, count: int, w: list[str], acc: list[str], tail: int = 0) -> list[str]:
    lines: list[str] = []
    for i in range(count):
        odd, even = ("r2", "r3") if layer.prepared and i % 2 == 0 else ("r8", "r9") if layer.prepared else ("r3", "r2")
        if layer.prepared and i % 2 == 0:
            lines += _load("r0", ["r2", "r3", "r8", "r9"] if i + 1 < count else ["r2", "r3"])
        elif not layer.prepared:
            lines += ["ldr r2, [r0], #4"] if not (tail and i + 1 == count) else _partial(tail)
            lines += ["sxtab16 r3, r9, r2, ror #8", "and r2, r8, r2, lsl #8", "ssub16 r2, r2, r3"]
        lines += _load("r1", w)
        lines += [f"smlad {a}, {r}, {odd}, {a}" for a, r in zip(acc, w, strict=True)]
        lines += [f"sxtb16 {r}, {r}" for r in w]
        lines += [f"smlad {a}, {r}, {even}, {a}" for a, r in zip(acc, w, strict=True)]
    return lines


def _partial(count: int) -> list[str]:
    """The last one to three bytes, without reading beyond them."""
    if count == 1:
        return ["ldrb r2, [r0]"]
    return ["ldrh r2, [r0]"] + (["ldrb r3, [r0, #2]", "orr r2, r2, r3, lsl #16"] if count == 3 else [])


def _finish(layer: Dense, m: int, acc: list[str]) -> list[str]:
    limits = (layer.shift, layer.low, layer.high, layer.zero_based)
    lines: list[str] = []
    if layer.signed:
        value = layer.addend & 0xFFFFFFFF
        lines += [f"movw r0, #{value & 0xFFFF}"] + ([f"movt r0, #{value >> 16}"] if value >> 16 else [])
        lines += ["ldrd r2, r3, [sp, #8]"] if layer.uniform else []
        for a in acc:
            lines += [] if layer.uniform else ["ldmia r1!, {r2, r3}"]
            lines += requantize_lines([a], "r2", *limits, signed=("r3", "r0", "r4"))
    elif layer.uniform:
        lines += ["ldr r4, [sp, #8]"] + requantize_lines(acc, "r4", *limits)
    else:
        factors = ["r4", "r5", "r6", "r7"][:m]
        lines += _load("r1", factors)
        for a, factor in zip(acc, factors, strict=True):
            lines += requantize_lines([a], factor, *limits)
    out = layer.frame + 4
    lines += [f"ldr r0, [sp, #{out}]"]
    return lines + [f"strb {a}, [r0], #1" for a in acc] + [f"str r0, [sp, #{out}]"]


def _twin(layer: Dense) -> str:
    sign = "0" if not layer.signed else "shared[1]" if layer.uniform else "k[2 * o + 1]"
    factor = "shared[0]" if layer.uniform else "k[2 * o]" if layer.signed else "k[o]"
    head = "    const int32_t* shared = (const int32_t*)stream;\n" if layer.uniform else ""
    start = "    stream += 8;\n" if layer.uniform else ""
    tail = "" if layer.uniform else f"        const int32_t* k = (const int32_t*)stream + m + m * {layer.groups};\n"
    value = requantize_twin(
        "acc", factor, layer.shift, layer.low, layer.high, layer.zero_based, sign, str(layer.addend)
    )
    if layer.prepared:
        words = "const uint32_t odd = ((const uint32_t*)x)[2 * g], even = ((const uint32_t*)x)[2 * g + 1];"
    else:
        words = f"""uint32_t word = 0, odd, even;
                memcpy(&word, (const int8_t*)x + 4 * g, {layer.inputs} - 4 * g < 4 ? {layer.inputs} - 4 * g : 4);
                odd = tinyml_prepared_odd(word);
                even = tinyml_prepared_even(word, odd);"""
    return f"""{head}    int32_t c, o, g;
{start}    for (c = 0; c < {layer.outputs}; c += {BLOCK}) {{
        const int32_t m = {layer.outputs} - c < {BLOCK} ? {layer.outputs} - c : {BLOCK};
        const int32_t* b = (const int32_t*)stream;
        const uint32_t* w = (const uint32_t*)stream + m;
{tail}        for (o = 0; o < m; ++o) {{
            int32_t acc = b[o];
            for (g = 0; g < {layer.groups}; ++g) {{
                const uint32_t v = w[g * m + o];
                {words}
                acc = tinyml_dot2(v, odd, acc);
                acc = tinyml_dot2(tinyml_even(v), even, acc);
            }}
            out[c + o] = (int8_t){value};
        }}
        stream += 4 * m * {layer.words_per_output};
    }}
"""
