"""Bytes that a model adds to a user's firmware, read from the firmware that was run.

The linker script of the ``qemu`` platform keeps the model apart from the harness, section by section, so no part of the
harness is counted: library code is linked for the model alone, and weights are the constants of ``<module>_lib1.c``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_tiny.measure.elf import Firmware


@dataclass(frozen=True)
class Ram:
    """Bytes of RAM; None where it was not measured.

    arena_bytes : intermediate tensors and kernel scratch, and inputs and outputs where they lie there
    io_bytes : inputs and outputs
    data_bss_bytes : other static variables, those of library functions included
    stack_bytes : deepest use of the stack in ``tvmgen_<module>_run``
    io_in_arena : whether inputs and outputs are part of the arena; otherwise they are the caller's
    """

    arena_bytes: int
    io_bytes: int
    data_bss_bytes: int | None
    stack_bytes: int | None
    io_in_arena: bool = False

    @property
    def total_bytes(self) -> int | None:
        """All of it; None when a part is not known."""
        return _sum(self.arena_bytes, 0 if self.io_in_arena else self.io_bytes, self.data_bss_bytes, self.stack_bytes)


@dataclass(frozen=True)
class Flash:
    """Bytes of flash; None where it was not measured.

    code_bytes : instructions, literals, tables of library functions, initial values of variables
    weights_bytes : the model's constants
    """

    code_bytes: int | None
    weights_bytes: int

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
    workspace = firmware.symbols.get(f"tvmgen_{module}_workspace")
    arena_bytes = 0 if workspace is None else workspace.size_bytes
    data_bytes, bss_bytes = size.get(".model_data", 0), size.get(".model_bss", 0)
    code_bytes = sum(size.get(name, 0) for name in (".model_code", ".model_constants", ".ARM.exidx")) + data_bytes
    ram = Ram(arena_bytes, io_bytes(info), data_bytes + bss_bytes - arena_bytes, stack_bytes, io_in_arena(info))
    return ram, Flash(code_bytes, size.get(".model_weights", 0))


def estimate(info: Mapping[str, Any]) -> tuple[Ram, Flash]:
    """What is known without a firmware: sizes from the archive's metadata."""
    return Ram(info["arena_bytes"], io_bytes(info), None, None, io_in_arena(info)), Flash(None, info["constants_bytes"])


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
