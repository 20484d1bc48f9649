"""What a board is: core, memories, clock, how it is emulated and flashed; all checked on construction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.cpu import Cpu
from tvm_tiny.targets.machine import Machine
from tvm_tiny.targets.regions import Region, join, largest
from tvm_tiny.targets.serial import Serial

MemoryKind = Literal["flash", "sram", "dtcm", "external", "external_flash"]
MEMORY_KINDS: tuple[str, ...] = get_args(MemoryKind)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MEMORY_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ADDRESS_SPACE = 1 << 32


@dataclass(frozen=True)
class Memory:
    """One memory of a board.

    Parameters
    ----------
    kind : "flash", "sram", "dtcm" (tightly coupled, no wait states), "external" (RAM outside the chip) or
        "external_flash" (outside the chip, read in place)
    address : where the core sees it
    relative_speed : 1.0 is a memory read without wait states; 0.5 takes twice as long. A planning hint, no measurement
    """

    name: str
    kind: MemoryKind
    address: int
    size_bytes: int
    relative_speed: float

    def __post_init__(self) -> None:
        if not _MEMORY_NAME.fullmatch(self.name):
            # Linker sections and C macros are named after it.
            raise TargetError(
                f"memory name is {self.name!r}, expected lower-case letters, digits and '_', a letter first"
            )
        if self.kind not in MEMORY_KINDS:
            raise TargetError(f"memory {self.name!r}: kind is {self.kind!r}, expected one of {', '.join(MEMORY_KINDS)}")
        if self.size_bytes <= 0:
            raise TargetError(f"memory {self.name!r}: size_bytes is {self.size_bytes}, expected more than 0")
        if self.address < 0 or self.end > _ADDRESS_SPACE:
            raise TargetError(
                f"memory {self.name!r}: address {self.address:#x} with size_bytes {self.size_bytes:#x}, "
                "expected it to end within 32 bits"
            )
        if not 0.0 < self.relative_speed <= 1.0:
            raise TargetError(
                f"memory {self.name!r}: relative_speed is {self.relative_speed}, expected more than 0 and at most 1"
            )

    @property
    def end(self) -> int:
        """First address behind the memory."""
        return self.address + self.size_bytes

    @property
    def region(self) -> Region:
        """The memory by itself."""
        return Region(self.name, self.address, self.size_bytes, self.relative_speed, self.kind.startswith("external"))


@dataclass(frozen=True)
class FlashTiming:
    """How long reads of flash take at ``clock_hz``; for the cycle model alone.

    Parameters
    ----------
    wait_states : cycles that a read waits which no cache has
    read_bytes : bytes that one read of flash delivers; caches keep them as a line
    code_cache_bytes, data_cache_bytes : caches in front of the flash, or of the core; 0 where there is none
    """

    wait_states: int
    read_bytes: int
    code_cache_bytes: int = 0
    data_cache_bytes: int = 0

    def __post_init__(self) -> None:
        if self.wait_states < 0:
            raise TargetError(f"flash_timing: wait_states is {self.wait_states}, expected 0 or more")
        if self.read_bytes < 4 or self.read_bytes & (self.read_bytes - 1):
            raise TargetError(f"flash_timing: read_bytes is {self.read_bytes}, expected a power of two from 4 on")
        for cache in (self.code_cache_bytes, self.data_cache_bytes):
            if cache < 0 or cache % self.read_bytes:
                raise TargetError(f"flash_timing: a cache has {cache} bytes, expected a multiple of {self.read_bytes}")


@dataclass(frozen=True)
class Flashing:
    """How firmware gets onto a board, and how it is reset; a board that is only emulated has none of them.

    Parameters
    ----------
    command : program and arguments; "{elf}" and "{hex}" stand for the firmware as ELF and as Intel HEX, "{probe}" for
        the serial number of the debug probe
    pyocd_target : target type for ``pyocd flash --target``
    openocd : configuration files for ``openocd -f``
    reset_command : program and arguments that reset the board
    """

    command: tuple[str, ...] = ()
    pyocd_target: str | None = None
    openocd: tuple[str, ...] = ()
    reset_command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """One board.

    Parameters
    ----------
    name : like "nrf52840dk"; the TVM tag is ``tinyml/<name>``
    cpu : the core code is generated for
    memories : in any order, without overlap
    machine : the QEMU machine that emulates it; there the linker enforces the sizes of the memories
    serial : how the host talks to it; None: platform ``board`` cannot be used
    flash_timing : of the flash that code and weights are in; None: taken to be as fast as RAM
    source : what ``resolve`` takes to find it again: its name, or the path of a user's own file
    """

    name: str
    description: str
    cpu: Cpu
    memories: tuple[Memory, ...]
    clock_hz: int
    machine: Machine
    flashing: Flashing
    source: str
    flash_timing: FlashTiming | None = None
    serial: Serial | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TargetError(f"name is {self.name!r}, expected lower-case letters, digits, '_' and '-'")
        if self.clock_hz <= 0:
            raise TargetError(f"clock_hz is {self.clock_hz}, expected more than 0")
        self._check_memories()
        if self.cpu.level > self.machine.cpu.level:
            raise TargetError(
                f"machine {self.machine.name!r} has a {self.machine.cpu.name}, which cannot run {self.cpu.name} code"
            )
        for what, needed, available in (
            ("flash", self.flash_bytes, self.machine.flash_bytes),
            ("RAM", sum(m.size_bytes for m in self._of_kind("sram", "dtcm")), self.machine.ram_bytes),
        ):
            if needed > available:
                raise TargetError(
                    f"{needed:,} bytes of {what}, machine {self.machine.name!r} can emulate at most {available:,}"
                )

    @property
    def flash_bytes(self) -> int:
        """Largest contiguous flash: code and constants have to fit here."""
        return self._flash.size_bytes

    @property
    def flash_address(self) -> int:
        """Where that flash begins."""
        return self._flash.address

    @property
    def _flash(self) -> Region:
        return largest(join((m.region for m in self._of_kind("flash")), mixed=True))

    @property
    def external_flash(self) -> Memory | None:
        """The largest flash outside the chip, for constants."""
        return max(self._of_kind("external_flash"), key=lambda m: m.size_bytes, default=None)

    @property
    def ram_bytes(self) -> int:
        """Largest contiguous on-chip RAM: .data, .bss with the arena, and the stack have to fit here."""
        return largest(r for r in self.ram_regions(mixed=True) if not r.external).size_bytes

    def ram_regions(self, *, mixed: bool = False) -> tuple[Region, ...]:
        """On-chip and external RAM, neighbours joined, the fastest first.

        Parameters
        ----------
        mixed : also join neighbours of different speeds
        """
        return join((m.region for m in self._of_kind("sram", "dtcm", "external")), mixed=mixed)

    def _of_kind(self, *kinds: str) -> list[Memory]:
        return sorted((m for m in self.memories if m.kind in kinds), key=lambda m: m.address)

    def _check_memories(self) -> None:
        names = [m.name for m in self.memories]
        if len(set(names)) < len(names):
            raise TargetError(f"memory names are {', '.join(names)}, expected each once")
        if not self._of_kind("flash") or not self._of_kind("sram", "dtcm"):
            raise TargetError("expected at least one memory of kind flash and one of kind sram or dtcm")
        ordered = self._of_kind(*MEMORY_KINDS)
        for low, high in pairwise(ordered):
            if high.address < low.end:
                raise TargetError(f"memories {low.name!r} and {high.name!r} overlap")
