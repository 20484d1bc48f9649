"""Text of a C function whose body is Thumb-2 assembly, with a plain-C twin beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from tvm_tiny.ops import CFunction

REGISTERS = tuple(f"r{i}" for i in range(13)) + ("lr",)
"""What a naked function may use once it has saved r4 to r11 and lr."""


def naked_function(name: str, parameters: str, body: Sequence[str], twin: str) -> str:
    """``static void name(parameters)``: assembly where the core has DSP instructions, ``twin`` elsewhere.

    Parameters
    ----------
    body : lines of assembly; "1:"-style local labels
    twin : C statements with the same effect, memory for memory
    """
    unused = ", ".join(f"{p} TINYML_UNUSED" for p in parameters.split(", "))
    lines = "\n".join(f'        "{line}\\n"' for line in body)
    return (
        f"#if TINYML_DSP\n"
        f"TINYML_NAKED void {name}({unused}) {{\n"
        f'    __asm volatile(\n        ".syntax unified\\n"\n{lines}\n    );\n}}\n'
        f"#else\nstatic void {name}({parameters}) {{\n{twin}}}\n#endif\n"
    )


def c_function(base: str, text_of: Callable[[str], str]) -> CFunction:
    """A function whose name is ``base`` and a hash of what it does.

    Parameters
    ----------
    text_of : makes the definition under a given name
    """
    digest = hashlib.sha256(text_of("").encode()).hexdigest()[:10]
    name = f"tinyml_{base}_{digest}"
    return CFunction(name, text_of(name))


def requantize_lines(
    acc: Sequence[str],
    multiplier: str,
    shift: int,
    low: int,
    high: int,
    zero_based: bool,
    signed: tuple[str, str, str] | None = None,
) -> list[str]:
    """Requantize accumulators in place (see requantization).

    signed : registers (sign, addend, temporary) of the "signed" form
    """
    lines = []
    for a in acc:
        if signed is not None:
            sign, addend, temporary = signed
            lines += [f"and {temporary}, {sign}, {a}, asr #31", f"sub {a}, {a}, {temporary}"]
            lines += [f"smmla {a}, {a}, {multiplier}, {addend}"]
        else:
            lines += [f"smmul {a}, {a}, {multiplier}"]
        if not zero_based:
            lines += [f"ssat {a}, #8, {a}, asr #{shift}"]
            lines += clamp_lines(a, low, high)
            continue
        lines += [f"usat {a}, #8, {a}, asr #{shift}"]
        lines += _add(a, low + 127 - high)
        if high - low < 255:
            lines += [f"ssat {a}, #8, {a}"] + _add(a, high - 127)
    return lines


def clamp_lines(a: str, low: int, high: int) -> list[str]:
    """Clamp a value in [-128, 127] to [low, high] by saturating twice."""
    lines = []
    if high < 127:
        lines += _add(a, 127 - high) + [f"ssat {a}, #8, {a}"] + _add(a, high - 127)
    if low > -128:
        lines += _add(a, -128 - low) + [f"ssat {a}, #8, {a}"] + _add(a, low + 128)
    return lines


def _add(a: str, value: int) -> list[str]:
    if value == 0:
        return []
    return [f"add {a}, {a}, #{value}" if value > 0 else f"sub {a}, {a}, #{-value}"]


def requantize_twin(
    acc: str, multiplier: str, shift: int, low: int, high: int, zero_based: bool, sign: str = "0", addend: str = "0"
) -> str:
    """C expression with the value that ``requantize_lines`` leaves."""
    if sign != "0":
        acc = f"{acc} - ({acc} < 0 ? {sign} : 0)"
    value = f"tinyml_multiply_high_plus({acc}, {multiplier}, {addend}) >> {shift}"
    if zero_based:
        return f"tinyml_clamp(tinyml_clamp({value}, 0, 255) + {low}, {low}, {high})"
    return f"tinyml_clamp({value}, {low}, {high})"


def unsigned_lines(acc: Sequence[str], multiplier: str, shift: int) -> list[str]:
    """Requantize accumulators in place to 0..255, the distance from the lower clamp; ``from_zero_lines`` goes on."""
    return [line for a in acc for line in (f"smmul {a}, {a}, {multiplier}", f"usat {a}, #8, {a}, asr #{shift}")]


def from_zero(low: int, high: int) -> tuple[int, int]:
    """Bytes (a, b) such that min(u, high - low) + low = u + a, saturated to 255, + b, modulo 256."""
    return 255 - (high - low), (high - 255) % 256


def from_zero_lines(words: Sequence[str], first: str, second: str) -> list[str]:
    """Bytes 0..255 of words to outputs; ``first`` and ``second`` hold the bytes of ``from_zero`` as often as needed."""
    return [line for w in words for line in (f"uqadd8 {w}, {w}, {first}", f"uadd8 {w}, {w}, {second}")]


def unsigned_twin(acc: str, multiplier: str, shift: int, first: str, second: str) -> str:
    """C expression of what ``unsigned_lines`` and ``from_zero_lines`` leave."""
    value = f"tinyml_clamp(tinyml_multiply_high_plus({acc}, {multiplier}, 0) >> {shift}, 0, 255)"
    return f"tinyml_from_zero({value}, {first}, {second})"
