"""The most stack that a function of a firmware can take, from its instructions and its call graph.

Compilers tell frame sizes (``-fstack-usage``), but neither of assembly nor of library functions; instructions tell all.
A function's frame is counted as the sum of everything its instructions take from the stack pointer, as if nothing were
given back before it calls: never less than what it has, and equal for functions with one prologue. A call through a
pointer may be one of any function whose address stands in the model's constants or code; called so itself, a function
calls only such as call no others so.
"""

from __future__ import annotations

import bisect
import itertools
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tvm_tiny.errors import ArtifactError, ToolError
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.project.server import TOOL_TIMEOUT_S

_FUNCTION = re.compile(r"([0-9a-f]+) <(.+)>:")
_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t(\S+)(?:\t([^;@]*))?")
_TARGET = re.compile(r"([0-9a-f]+) <[^>]+>")
_REGISTER_RANGE = re.compile(r"([rsdq])(\d+)(?:-[rsdq](\d+))?|sl|fp|ip|lr|pc")
_REGISTER_BYTES = {"r": 4, "s": 4, "d": 8, "q": 16}
_TAKES = re.compile(r"sub[sw]? sp, (?:sp, )?#(\d+)|\S+ .*\[sp, #-(\d+)\]!")
_PUSHES = re.compile(r"(?:v?push|v?stmdb(?:\.\d+)? sp!,) \{(.*)\}")
# What is added may be a constant, below zero; what is copied, an earlier value: of a frame pointer, or at the end.
_ADDED = re.compile(r"add sp, (?:sp, )?(\w+)")
_UNKNOWN_FRAME = re.compile(r"sub sp, (?:sp, )?[^#s].*|mov sp, (?!r7|fp).*|msr psp.*")
_RETURNS = re.compile(r"pop .*|add sp, #\d+")
_LITERAL_LOAD = re.compile(r"ldr (\w+), \[pc, #(\d+)\]")
_WORD = re.compile(r"\s*([0-9a-f]+):\t\.word\t0x([0-9a-f]+)", re.MULTILINE)
_CONDITION = "(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
_BRANCH = re.compile(rf"(b{_CONDITION}|cbn?z|bl|blx|w?le|wls) ")
# Not from the stack: "ldr pc, [sp], #4" returns, by "ldr pc, [sp, #8]" micro-kernels enter their own unrolled loops.
_THROUGH_POINTER = re.compile(r"blx (?:r\d+|ip|sl|fp)|bx (?:r\d+|ip|sl|fp)|(?:mov|ldr) pc, (?!\[sp).*")
_ENDS = re.compile(r"b \S.*|bx .*|(?:pop|ldm\S* sp!,) .*pc\}|(?:mov|ldr) pc,.*|tb[bh] .*|udf.*")
_HALF = re.compile(r"(movw|movt) \w+, #(\d+)")
_WEIGHTS = re.compile(r"tvmgen_\w+_const_\d+")
_WITH_POINTERS = (".model_constants", ".model_code", ".model_data")


@dataclass(frozen=True)
class StackBound:
    """``bytes`` along the deepest chain of calls, ``path``: its functions, the outermost first."""

    bytes: int
    path: tuple[str, ...]


@dataclass
class _Function:
    name: str
    frame_bytes: int = 0
    targets: set[int] = field(default_factory=set)
    unknown: str = ""
    calls_pointers: bool = False
    halves: dict[str, set[int]] = field(default_factory=lambda: {"movw": set(), "movt": {0}})

    def words(self) -> Iterator[int]:
        """Numbers that instructions may put together."""
        for low, high in itertools.product(self.halves["movw"], self.halves["movt"]):
            yield high << 16 | low


def stack_bound(elf: Path, function: str, *, toolchain: str = "arm-none-eabi-") -> StackBound:
    """The most stack that ``function`` and all it calls can take.

    Parameters
    ----------
    elf : linked firmware of a Cortex-M
    toolchain : prefix of ``objdump``

    Raises
    ------
    ArtifactError : recursion, a stack frame whose size is not known before it runs
    ToolError : no ``objdump``
    """
    functions = _read(elf, toolchain)
    starts = [address for address, f in functions.items() if f.name == function]
    if not starts:
        raise ArtifactError(f"'{elf.name}' has no function '{function}'")
    return _deepest(functions, starts[0], (), {})


def _deepest(
    functions: dict[int, _Function], address: int, callers: tuple[int, ...], known: dict[int, StackBound]
) -> StackBound:
    here = functions[address]
    if address in callers:
        names = [functions[a].name for a in (*callers[callers.index(address) :], address)]
        raise ArtifactError(f"no bound of the stack: recursion, {' -> '.join(names)}")
    if here.unknown:
        raise ArtifactError(f"no bound of the stack: {here.name} has '{here.unknown}'")
    if address not in known:
        inner = [_deepest(functions, target, (*callers, address), known) for target in sorted(here.targets)]
        deepest = max(inner, key=lambda bound: bound.bytes, default=StackBound(0, ()))
        known[address] = StackBound(here.frame_bytes + deepest.bytes, (here.name, *deepest.path))
    return known[address]


def _read(elf: Path, toolchain: str) -> dict[int, _Function]:
    """Functions by address."""
    objdump = shutil.which(f"{toolchain}objdump")
    if objdump is None:
        raise ToolError(f"'{toolchain}objdump' not found", hints=["install it: sudo apt-get install gcc-arm-none-eabi"])
    command = [objdump, "-d", "--no-show-raw-insn", str(elf)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} did not finish within {TOOL_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise ArtifactError(f"cannot read firmware '{elf}': {done.stderr.strip()[-500:]}")
    functions = _functions(done.stdout)
    words = {*_words(elf), *(word for f in functions.values() for word in f.words())}
    pointers = {word & ~1 for word in words if word & 1} & functions.keys()
    ends = {address for address in pointers if not functions[address].calls_pointers}
    for address, function in functions.items():
        if function.calls_pointers:
            function.targets |= ends if address in pointers else pointers
    return functions


def _words(elf: Path) -> Iterator[int]:
    """Words of code and constants; not of weights, among which any number may be."""
    weights = [symbol for name, symbol in read_firmware(elf).symbols.items() if _WEIGHTS.match(name)]
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section.name not in _WITH_POINTERS or section["sh_type"] != "SHT_PROGBITS":
                continue
            data = bytearray(section.data())
            for symbol in weights:
                first = symbol.address - section["sh_addr"]
                if 0 <= first < len(data):
                    data[first : first + symbol.size_bytes] = bytes(symbol.size_bytes)
            yield from (word for (word,) in struct.iter_unpack("<I", data[: len(data) & ~3]))


def _functions(disassembly: str) -> dict[int, _Function]:
    functions: dict[int, _Function] = {}
    branches: list[tuple[int, int]] = []
    literals = {int(address, 16): int(value, 16) for address, value in _WORD.findall(disassembly)}
    previous = (0, "")
    start, goes_on = 0, False
    for line in disassembly.splitlines():
        if match := _FUNCTION.match(line):
            behind = int(match[1], 16)
            if goes_on:
                branches.append((start, behind))
            start, goes_on = behind, False
            functions[start] = _Function(match[2])
        elif (match := _INSTRUCTION.match(line)) and match[2][0] != ".":
            text = f"{match[2].removesuffix('.w').removesuffix('.n')} {(match[3] or '').strip()}".strip()
            if text == "nop" or text == "movs r0, r0":
                continue  # between functions
            here = functions[start]
            here.frame_bytes += _taken_bytes(text)
            if half := _HALF.fullmatch(text):
                here.halves[half[1]].add(int(half[2]))
            here.calls_pointers |= _THROUGH_POINTER.fullmatch(text) is not None
            if added := _ADDED.fullmatch(text):
                value = _constant(added[1], *previous, literals)
                here.unknown = here.unknown or (text if value is None else "")
                here.frame_bytes += max(0, -(value or 0))
            if _UNKNOWN_FRAME.fullmatch(previous[1]) and not _RETURNS.fullmatch(text):
                here.unknown = previous[1]
            previous = (int(match[1], 16), text)
            if _BRANCH.match(text) and (target := _TARGET.search(text)):
                branches.append((start, int(target[1], 16)))
                if text.startswith(("bl ", "blx ")) and int(target[1], 16) == start:  # any other way there is a loop
                    here.targets.add(start)
            goes_on = not _ENDS.fullmatch(text)
    starts = sorted(functions)
    for source, address in branches:
        home = starts[max(0, bisect.bisect_right(starts, address) - 1)]
        if home != source:
            functions[source].targets.add(home)
    return functions


def _constant(register: str, address: int, text: str, literals: Mapping[int, int]) -> int | None:
    """What the instruction ``text`` leaves in a register; None if that is no constant."""
    if (load := _LITERAL_LOAD.fullmatch(text)) and load[1] == register:
        value = literals.get((address & ~3) + 4 + int(load[2]))
        return None if value is None else value - (value >> 31 << 32)
    # The second half of a constant of eight bits, shifted; only its sign matters.
    return 0 if re.fullmatch(rf"lsls {register}, {register}, #[1-9]", text) else None


def _taken_bytes(text: str) -> int:
    """What an instruction takes from the stack pointer."""
    if match := _TAKES.fullmatch(text):
        return int(match[1] or match[2])
    match = _PUSHES.fullmatch(text)
    total = 0
    for kind, first, last in _REGISTER_RANGE.findall(match[1]) if match else ():
        total += _REGISTER_BYTES[kind or "r"] * (int(last or first or 0) - int(first or 0) + 1)
    return total
