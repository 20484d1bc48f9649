"""Bytes that a model adds to a user's firmware, read from the firmware that was run.

The linker script of the ``qemu`` platform keeps the model apart from the harness, section by section, so no part of the
harness is counted: library code is linked for the model alone, and weights are the constants of ``<module>_lib1.c``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm_tiny.measure.elf import Firmware

_ONE: tuple[dict[str, Any], ...] = ({"name": "", "suffix": ""},)


@dataclass(frozen=True)
class Ram:
    """Bytes of RAM; None where it was not measured.

    arena_bytes : intermediate tensors and kernel scratch, and inputs and outputs where they lie there
    io_bytes : inputs and outputs
    data_bss_bytes : other static variables, those of library functions included
    stack_bytes : deepest use of the stack in ``tvmgen_<module>_run``
    memories : bytes by memory, as far as they are known; stack, data and weights are in one of them
    weights_bytes : constants that are copied to RAM at start
    io_in_arena : whether inputs and outputs are part of the arena; otherwise they are the caller's
    """

    arena_bytes: int
    io_bytes: int
    data_bss_bytes: int | None
    stack_bytes: int | None
    io_in_arena: bool = False
    memories: Mapping[str, int] = field(default_factory=dict)
    weights_bytes: int = 0

    @property
    def total_bytes(self) -> int | None:
        """All of it; None when a part is not known."""
        beside = self.weights_bytes + (0 if self.io_in_arena else self.io_bytes)
        return _sum(self.arena_bytes, beside, self.data_bss_bytes, self.stack_bytes)


@dataclass(frozen=True)
class Flash:
    """Bytes of flash; None where it was not measured.

    code_bytes : instructions, literals, tables of library functions, initial values of variables
    weights_bytes : the model's constants
    external_bytes : those of them that are outside the chip
    """

    code_bytes: int | None
    weights_bytes: int
    external_bytes: int = 0

    @property
    def total_bytes(self) -> int | None:
        """All of it; None when a part is not known."""
        return _sum(self.code_bytes, self.weights_bytes)


def account(firmware: Firmware, module: str, info: Mapping[str, Any], stack_bytes: int | None) -> tuple[Ram, Flash]:
    """RAM and flash of a firmware of the ``qemu`` platform.

    Parameters
    ----------
    info : the archive's ``tinyml`` metadata
    """
    size = {name: section.size_bytes for name, section in firmware.sections.items()}
    arenas = {}
    in_bss = 0
    bss = firmware.section(".model_bss")
    for memory in info.get("memories", _ONE):
        workspace = firmware.symbols.get(f"tvmgen_{module}_workspace{memory['suffix']}")
        if workspace is not None:
            arenas[memory["name"]] = workspace.size_bytes
            in_bss += workspace.size_bytes if bss.address <= workspace.address < bss.end else 0
    data_bytes, bss_bytes = size.get(".model_data", 0), size.get(".model_bss", 0)
    ends = [firmware.symbols.get(f"model_ram_weights_{end}") for end in ("start", "end")]
    copied = ends[1].address - ends[0].address if ends[0] and ends[1] else 0
    outside = sum(bytes_ for name, bytes_ in size.items() if name.startswith(".model_weights_"))
    code_bytes = sum(size.get(name, 0) for name in (".model_code", ".model_constants", ".ARM.exidx"))
    ram = _ram(info, arenas, data_bytes + bss_bytes - in_bss - copied, stack_bytes, copied)
    weights_bytes = size.get(".model_weights", 0) + outside + copied
    return ram, Flash(code_bytes + data_bytes - copied, weights_bytes, outside)


@dataclass(frozen=True)
class FlashSymbol:
    """What a function or constant takes of flash; ``part`` is "code" or "weights"."""

    name: str
    part: str
    size_bytes: int


def flash_symbols(firmware: Firmware, flash: Flash) -> tuple[FlashSymbol, ...]:
    """The model's part of flash by symbol, largest first, of a firmware of the ``qemu`` platform.

    What no symbol stands for (padding, string literals, initial values) closes each part as "(no symbol)", so that the
    parts add up to ``flash``.
    """
    copied = [firmware.symbols.get(f"model_ram_weights_{end}") for end in ("start", "end")]
    weights = [s for name, s in firmware.sections.items() if name.startswith(".model_weights")]
    ranges = [("weights", s.address, s.end) for s in weights]
    if copied[0] and copied[1]:
        ranges.append(("weights", copied[0].address, copied[1].address))
    code = (firmware.section(name) for name in (".model_code", ".model_constants", ".model_data"))
    ranges += [("code", s.address, s.end) for s in code]
    found = []
    for symbol in firmware.symbols.values():
        part = next((part for part, first, end in ranges if first <= symbol.address < end), None)
        if part is not None and symbol.size_bytes:
            found.append(FlashSymbol(symbol.name, part, symbol.size_bytes))
    for part, total in (("code", flash.code_bytes or 0), ("weights", flash.weights_bytes)):
        rest = total - sum(s.size_bytes for s in found if s.part == part)
        if rest > 0:
            found.append(FlashSymbol("(no symbol)", part, rest))
    return tuple(sorted(found, key=lambda s: (-s.size_bytes, s.name)))


def estimate(info: Mapping[str, Any], stack_bytes: int | None = None) -> tuple[Ram, Flash]:
    """What is known without a firmware's sections: sizes from the archive's metadata, the stack if a device told it."""
    arenas = {m["name"]: int(m["arena_bytes"]) for m in info.get("memories", ())} or {"": int(info["arena_bytes"])}
    homes = info.get("weights", ())
    copied = sum(w["bytes"] for w in homes if w["in_ram"])
    outside = sum(w["bytes"] for w in homes if w["section"] is not None and not w["in_ram"])
    return _ram(info, arenas, None, stack_bytes, copied), Flash(None, info["constants_bytes"], outside)


def _ram(info: Mapping[str, Any], arenas: Mapping[str, int], data: int | None, stack: int | None, weights: int) -> Ram:
    memories = {name: size for name, size in arenas.items() if name}
    default = info.get("default_memory")
    if default is not None:
        beside = 0 if io_in_arena(info) else io_bytes(info)
        memories[default] = memories.get(default, 0) + beside + weights + (data or 0) + (stack or 0)
    return Ram(sum(arenas.values()), io_bytes(info), data, stack, io_in_arena(info), memories, weights)


def io_bytes(info: Mapping[str, Any]) -> int:
    """Bytes of all inputs and outputs; of an input that comes row by row, those of one row."""
    stream = info.get("stream")
    inputs = sum(int(t["size_bytes"]) for t in info["inputs"]) if stream is None else int(stream["row_bytes"])
    return inputs + sum(int(t["size_bytes"]) for t in info["outputs"])


def io_in_arena(info: Mapping[str, Any]) -> bool:
    """Whether the model keeps its inputs and outputs in its arena."""
    return all(t.get("arena_offset") is not None for t in (*info["inputs"], *info["outputs"]))


def _sum(*parts: int | None) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
