"""What the measurements need of a firmware's ELF file."""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tvm_tiny.errors import ArtifactError


@dataclass(frozen=True)
class Symbol:
    """Thumb functions have their address without the lowest bit."""

    name: str
    address: int
    size_bytes: int
    is_function: bool


@dataclass(frozen=True)
class Section:
    address: int
    size_bytes: int

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size_bytes


_EMPTY = Section(0, 0)


@dataclass(frozen=True)
class Firmware:
    """Sections and symbols by name, and the layer marks as (address, layer) pairs."""

    sections: dict[str, Section]
    symbols: dict[str, Symbol]
    marks: tuple[tuple[int, int], ...]

    def address(self, name: str) -> int:
        """Address of a symbol that must be there."""
        if name not in self.symbols:
            raise ArtifactError(f"firmware has no symbol '{name}'")
        return self.symbols[name].address

    def section(self, name: str) -> Section:
        """A section; an empty one where the linker left it out."""
        return self.sections.get(name, _EMPTY)

    def describe(self, address: int) -> str:
        """``address`` as function and offset, like "0000012c (layer_scale+0x1c)"."""
        address &= ~1
        functions = sorted((s for s in self.symbols.values() if s.is_function), key=lambda s: s.address)
        index = bisect.bisect_right([f.address for f in functions], address) - 1
        if index < 0 or address >= functions[index].address + max(functions[index].size_bytes, 2):
            return f"{address:08x}"
        return f"{address:08x} ({functions[index].name}+{address - functions[index].address:#x})"


def read_firmware(path: Path) -> Firmware:
    """Read ``firmware.elf``.

    Raises
    ------
    ArtifactError : missing, or not an ELF file
    """
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            sections = {s.name: Section(int(s["sh_addr"]), int(s["sh_size"])) for s in elf.iter_sections()}
            marks = _marks(elf)
            table = elf.get_section_by_name(".symtab")
            symbols = _symbols(table) if isinstance(table, SymbolTableSection) else {}
    except (OSError, ELFError) as error:
        raise ArtifactError(f"cannot read firmware '{path}': {error}") from error
    return Firmware(sections, symbols, marks)


def _symbols(table: SymbolTableSection) -> dict[str, Symbol]:
    symbols = {}
    for entry in table.iter_symbols():
        kind = entry["st_info"]["type"]
        if not entry.name or entry.name.startswith("$") or kind in ("STT_FILE", "STT_SECTION"):
            continue
        is_function = kind == "STT_FUNC"
        address = int(entry["st_value"]) & (~1 if is_function else ~0)
        symbols[entry.name] = Symbol(entry.name, address, int(entry["st_size"]), is_function)
    return symbols


def _marks(elf: ELFFile) -> tuple[tuple[int, int], ...]:
    """The linker script keeps the pairs between these two symbols."""
    table = elf.get_section_by_name(".symtab")
    section = elf.get_section_by_name(".harness")
    if section is None or not isinstance(table, SymbolTableSection):
        return ()
    found = [symbol for end in ("start", "end") for symbol in table.get_symbol_by_name(f"tinyml_marks_{end}") or ()]
    if len(found) != 2:
        return ()
    start, end = (symbol["st_value"] - section["sh_addr"] for symbol in found)
    pairs = struct.iter_unpack("<Ii", section.data()[start:end])
    return tuple((address & ~1, layer) for address, layer in pairs)
