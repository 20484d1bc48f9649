"""Which memories of a board are linker regions of their own, and where an emulated machine stands in for them.

A workspace with a section gets the memory it is named after as a region. The largest row of neighbours among the other
on-chip memories is ``RAM``: stack, data, and every workspace without a section.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ON_CHIP = ("sram", "dtcm")


@dataclass(frozen=True)
class Region:
    """A linker region for what is in ``section``: a workspace, or constants."""

    memory: str
    section: str
    origin: int
    size_bytes: int
    constants: bool

    @property
    def name(self) -> str:
        """In the linker script, and in its complaints."""
        return f"MEMORY_{self.memory.upper()}"

    @property
    def output_section(self) -> str:
        """The section of the firmware, as the measurements find it."""
        return f".model_{'weights' if self.constants else 'memory'}_{self.memory}"


@dataclass(frozen=True)
class MemoryMap:
    """``ram_origin`` and ``ram_bytes`` are those of ``RAM``."""

    ram_origin: int
    ram_bytes: int
    regions: tuple[Region, ...]

    def files(self) -> dict[str, str]:
        """What the linker script includes, by file name."""
        lines = (f"{r.name} (rwx) : ORIGIN = {r.origin:#x}, LENGTH = {r.size_bytes:#x}\n" for r in self.regions)
        return {
            "memory_regions.ld": "".join(lines),
            "memory_weights.ld": self._sections(constants=True),
            "memory_sections.ld": self._sections(constants=False),
        }

    def _sections(self, *, constants: bool) -> str:
        kind = "" if constants else " (NOLOAD)"
        return "".join(
            f"{r.output_section}{kind} : {{ *({r.section}) }} > {r.name}\n"
            for r in self.regions
            if r.constants == constants
        )


def memory_map(board: Mapping[str, Any], tinyml: Mapping[str, Any]) -> MemoryMap:
    """Divide a board's memories.

    Parameters
    ----------
    board : as in ``board.json``; without a place for the harness beside its memories it is no emulated one, and
        regions are where the memories are
    tinyml : the archive's part of metadata; memories that the board does not have are left to .bss and .rodata
    """
    used = [*tinyml.get("memories", ()), *(w for w in tinyml.get("weights", ()) if not w["in_ram"])]
    found = [(w, _find(board["memories"], w["name"])) for w in used if w["section"]]
    taken = {m["name"] for _, memories in found for m in memories}
    rest = [m for m in board["memories"] if m["kind"] in ON_CHIP and m["name"] not in taken]
    ram = max(_runs(rest), key=_size, default=[])
    ram_bytes = _size(ram)
    if "harness_origin" not in board["regions"]:
        regions = [
            Region(w["name"], w["section"], m[0]["address"], _size(m), m[0]["kind"] == "external_flash")
            for w, m in found
            if m
        ]
        return MemoryMap(int(ram[0]["address"]) if ram else 0, ram_bytes, tuple(regions))
    inside = board["regions"]["ram_origin"] + ram_bytes
    outside = board["regions"]["harness_origin"] + board["regions"]["harness_bytes"]
    end = outside + board["external_bytes"]
    regions = []
    for workspace, memories in found:
        size = _size(memories)
        if not memories:
            continue
        kind = memories[0]["kind"]
        if kind not in ON_CHIP:
            # The machine may have less of it than the board.
            size = max(0, min(size, end - outside))
            origin, outside = outside, outside + size
        else:
            origin, inside = inside, inside + size
        regions.append(Region(workspace["name"], workspace["section"], origin, size, kind == "external_flash"))
    return MemoryMap(board["regions"]["ram_origin"], ram_bytes, tuple(regions))


def _size(memories: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(m["size_bytes"]) for m in memories)


def _find(memories: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The neighbours whose names, joined by underscores, are ``name``."""
    for run in _runs(memories):
        for start in range(len(run)):
            for end in range(start + 1, len(run) + 1):
                if "_".join(m["name"] for m in run[start:end]) == name:
                    return run[start:end]
    return []


def _runs(memories: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Neighbours together, by address."""
    runs: list[list[Mapping[str, Any]]] = []
    for m in sorted(memories, key=lambda m: int(m["address"])):
        last = runs[-1][-1] if runs else None
        same = last is not None and (last["kind"] == m["kind"] or {last["kind"], m["kind"]} <= set(ON_CHIP))
        if last and same and last["address"] + last["size_bytes"] == m["address"]:
            runs[-1].append(m)
        else:
            runs.append([m])
    return runs
