"""Exact instruction counts from QEMU, by layer and class, with a plugin that is compiled at its first use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tvm_tiny.errors import RunError, ToolError
from tvm_tiny.files import partial_folder
from tvm_tiny.measure.elf import Firmware
from tvm_tiny.project.server import TOOL_TIMEOUT_S
from tvm_tiny.targets import FlashTiming

INSTRUCTION_CLASSES = (
    "alu",
    "multiply",
    "multiply_accumulate",
    "long_multiply",
    "divide",
    "load",
    "store",
    "load_multiple",
    "store_multiple",
    "branch",
    "loop",
    "float",
    "float_accumulate",
    "float_divide",
    "vector",
    "vector_multiply",
    "vector_memory",
    "other",
)
_SOURCES = Path(__file__).parent / "plugin"
_RETURN_SYMBOL = "harness_returned"


@dataclass(frozen=True)
class LayerCounts:
    """Instructions of one layer in one inference.

    taken_branches : jumps to anywhere but the next instruction, calls and returns included, those of LE not
    multiple_words : 32-bit words moved by the classes "load_multiple" and "store_multiple"
    classes : one count per entry of ``INSTRUCTION_CLASSES``; their sum is ``instructions``
    pipelined_loads : single loads right behind a single load or store
    load_uses : single loads whose value the next instruction takes
    issue_pairs : pairs of neighbours that a core with two issue slots takes together, by the rules of issue.h
    vector_overlaps : vector instructions right behind one of another class
    code_waits, data_waits : reads of flash that neither cache had; 0 where the board has no flash timing
    """

    instructions: int
    taken_branches: int
    multiple_words: int
    classes: tuple[int, ...]
    pipelined_loads: int = 0
    load_uses: int = 0
    issue_pairs: int = 0
    vector_overlaps: int = 0
    code_waits: int = 0
    data_waits: int = 0

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> LayerCounts:
        """From what the plugin writes for a layer."""
        instructions, taken, words, *others = numbers[:9]
        return cls(instructions, taken, words, tuple(numbers[9:]), *others)


@dataclass(frozen=True)
class RunCounts:
    """One inference, from the first instruction of ``tvmgen_<module>_run`` to its return, or in all ``_push_row``.

    layers : by index
    outside : instructions before the first and behind the last layer
    lowest_sp : lowest value of the stack pointer; None when the model does not use its stack
    bad_stores : (address of the instruction, address written) of stores outside the allowed ranges, the first 20
    """

    layers: tuple[LayerCounts, ...]
    outside: LayerCounts
    lowest_sp: int | None
    bad_stores: tuple[tuple[int, int], ...]

    @property
    def instructions(self) -> int:
        """All instructions of the inference."""
        return sum(part.instructions for part in self.parts)

    @property
    def parts(self) -> tuple[LayerCounts, ...]:
        """All of it: the layers, and what is outside of them."""
        return (*self.layers, self.outside)


class InstructionCounter:
    """Counts one firmware's inferences; give ``qemu_plugin`` to the project option of that name.

    Parameters
    ----------
    folder : for the plugin's files; must outlive the run
    module : name of the module, the ``default`` in ``tvmgen_default_run``
    layers : number of layers
    rows : number of calls of ``tvmgen_<module>_push_row`` that are one inference; None where it is one of ``_run``
    allowed_stores : (first address, end address) ranges; stores elsewhere are reported. Empty: not checked, faster
    flash : first address and end of flash with wait states, and their timing; None: not counted, faster
    """

    def __init__(
        self,
        firmware: Firmware,
        folder: Path,
        *,
        module: str,
        layers: int,
        rows: int | None = None,
        allowed_stores: Sequence[tuple[int, int]] = (),
        flash: tuple[int, int, FlashTiming] | None = None,
    ) -> None:
        self._calls = rows or 1
        self._out = folder / "counts.jsonl"
        marks = folder / "marks.txt"
        marks.write_text("".join(f"{address} {layer}\n" for address, layer in firmware.marks), encoding="ascii")
        entry = f"tvmgen_{module}_run" if rows is None else f"tvmgen_{module}_push_row"
        arguments = [
            f"entry={firmware.address(entry):#x}",
            f"exit={firmware.address(_RETURN_SYMBOL):#x}",
            f"out={self._out}",
            f"marks={marks}",
            f"layers={layers}",
            *(f"allow={first:#x}-{end:#x}" for first, end in allowed_stores),
        ]
        if flash is not None:
            first, end, timing = flash
            arguments += [f"flash={first:#x}-{end:#x}", f"read={timing.read_bytes}"]
            arguments += [f"icache={timing.code_cache_bytes}", f"dcache={timing.data_cache_bytes}"]
        # A comma separates arguments; doubled it stands for itself.
        self.qemu_plugin = ",".join(str(part).replace(",", ",,") for part in (plugin_library(), *arguments))

    def results(self) -> list[RunCounts]:
        """Counts of all inferences so far."""
        try:
            lines = self._out.read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise RunError("QEMU did not load the instruction counter", hints=[_version_hint()]) from error
        calls = [_parse(line) for line in lines]
        return [_together(calls[i : i + self._calls]) for i in range(0, len(calls), self._calls)]


def plugin_library() -> Path:
    """The compiled plugin, from a cache in the user's home.

    Raises
    ------
    ToolError : no C compiler, or it failed
    """
    sources = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(s.read_bytes() for s in sources)).hexdigest()[:16]
    name = f"counter-{digest}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvm-tiny"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if not (cache / name).exists():
            with partial_folder(cache) as scratch:
                _compile(scratch / name)
                # Another process may be doing the same; the last one wins and both are whole.
                (scratch / name).replace(cache / name)
    except OSError as error:
        raise ToolError(
            f"cannot write the cache folder '{cache}': {error.strerror}", hints=["set XDG_CACHE_HOME to a folder"]
        ) from error
    return cache / name


def _compile(library: Path) -> None:
    compiler = next((path for path in map(shutil.which, ("gcc", "clang", "cc")) if path), None)
    if compiler is None:
        raise ToolError(
            "counting instructions needs a C compiler for this machine, and none was found",
            hints=["install one: sudo apt-get install gcc libc6-dev", "tvmc doctor"],
        )
    command = [compiler, "-O2", "-shared", "-fPIC", str(_SOURCES / "counter.c"), "-o", str(library)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{Path(compiler).name} did not finish within {TOOL_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        tail = "\n".join("  " + line for line in done.stderr.strip().splitlines()[-10:])
        raise ToolError(
            f"{Path(compiler).name} cannot compile the instruction counter:\n{tail}",
            hints=["install the C library's headers: sudo apt-get install libc6-dev"],
        )


def _parse(line: str) -> RunCounts:
    run = json.loads(line)
    outside, *layers = map(LayerCounts.from_numbers, run["layers"])
    lowest_sp = None if run["lowest_sp"] < 0 else int(run["lowest_sp"])
    return RunCounts(tuple(layers), outside, lowest_sp, tuple((pc, at) for pc, at in run["bad_stores"]))


def _together(calls: Sequence[RunCounts]) -> RunCounts:
    """Calls one after the other as one inference."""
    if len(calls) == 1:
        return calls[0]
    by_layer = zip(*(call.layers for call in calls), strict=True)
    stack_pointers = [call.lowest_sp for call in calls if call.lowest_sp is not None]
    bad_stores = dict.fromkeys(store for call in calls for store in call.bad_stores)
    return RunCounts(
        tuple(_sum(layer) for layer in by_layer),
        _sum([call.outside for call in calls]),
        min(stack_pointers, default=None),
        tuple(bad_stores)[:20],
    )


def _sum(counts: Sequence[LayerCounts]) -> LayerCounts:
    classes = tuple(sum(values) for values in zip(*(c.classes for c in counts), strict=True))
    names = [f.name for f in fields(LayerCounts) if f.name != "classes"]
    return LayerCounts(classes=classes, **{name: sum(getattr(c, name) for c in counts) for name in names})


def _version_hint() -> str:
    return "qemu-system-arm has to have plugins, interface version 1 (QEMU 4.2 to 8.2, Debian 12 has 7.2)"
