"""Instruction counts against sums made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.qemu.conftest import ProjectDir
from tests.qemu.test_firmware import BOARDS
from tvm_tiny.errors import ToolError
from tvm_tiny.measure import counter as counting
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, InstructionCounter, RunCounts
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.project import GeneratedProject, Session
from tvm_tiny.targets import FlashTiming

pytestmark = pytest.mark.qemu


def count(folder: Path, tmp_path: Path, *values: int) -> tuple[list[RunCounts], int]:
    """Counts of one inference per value, and where the model's stack begins."""
    firmware = read_firmware(folder / "build/firmware.elf")
    counter = InstructionCounter(firmware, tmp_path, module="hand", layers=2)
    options = {"qemu_plugin": counter.qemu_plugin}
    with GeneratedProject.from_directory(folder, {}) as project, Session(project.transport(options)) as session:
        for value in values:
            session.run([bytes([value])])
    return counter.results(), firmware.address("model_stack_top")


@pytest.mark.parametrize("board", BOARDS)
def test_counts_by_hand(board: str, hand_project: ProjectDir, tmp_path: Path) -> None:
    values = (5, 1, 200)
    runs, stack_top = count(hand_project(board), tmp_path, *values)
    for n, run in zip(values, runs, strict=True):
        first, second = run.layers
        assert run.outside.instructions == 4 + 2
        assert first.instructions == 2 + 4 * n + (n - 1)
        assert second.instructions == 1 + 3 * 2 + 6 + 3
        assert run.instructions == 23 + 5 * n
        # b, and bne until the last time; bne twice, bl, bx; pop
        assert (first.taken_branches, second.taken_branches, run.outside.taken_branches) == (n, 4, 1)
        assert classes(first.classes) == {
            "alu": n + n - 1,
            "multiply": n,
            "load": 1,
            "store": n,
            "branch": 1 + n,
        }
        # movs, 3 subs, mov, movs and the leaf's two; strb; ldm; 3 bne, bl and bx; dmb
        assert classes(second.classes) == {"alu": 8, "store": 1, "load_multiple": 1, "branch": 5, "other": 1}
        assert second.multiple_words == 3
        # ldr r5 behind ldr r4, ldrb behind that; nobody takes a loaded value at once
        assert (first.pipelined_loads, second.pipelined_loads, run.outside.pipelined_loads) == (1, 0, 1)
        assert (first.load_uses, second.load_uses, run.outside.load_uses) == (0, 0, 0)
        # sub with ldr; ldr with ldrb, str with muls, subs with bne, then movs with str, muls with subs;
        # subs with bne three times, strb with bl, add with bx; the last movs with add
        assert (run.outside.issue_pairs, first.issue_pairs, second.issue_pairs) == (2, 1 + 2 * n, 5)
        assert (run.outside.code_waits, run.outside.data_waits, run.outside.vector_overlaps) == (0, 0, 0)
        assert classes(run.outside.classes) == {"alu": 2, "load": 2, "store_multiple": 1, "load_multiple": 1}
        assert run.outside.multiple_words == 4 + 4
        # 4 registers, 32 bytes, and 16 bytes of the leaf that nobody writes
        assert run.lowest_sp == stack_top - (16 + 32 + 16)
        assert run.bad_stores == ()


def classes(counts: tuple[int, ...]) -> dict[str, int]:
    return {name: n for name, n in zip(INSTRUCTION_CLASSES, counts, strict=True) if n}


def test_counting_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(counting.shutil, "which", lambda _: None)
    with pytest.raises(ToolError, match="needs a C compiler for this machine"):
        counting.plugin_library()


def test_the_plugin_is_compiled_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    tool("gcc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = counting.plugin_library()
    monkeypatch.setattr(counting.shutil, "which", lambda _: None)
    assert counting.plugin_library() == library
    assert [p.name for p in (tmp_path / "tvm-tiny").iterdir()] == [library.name]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ToolError, match="cannot write the cache folder"):
        counting.plugin_library()


def test_flash_reads_that_wait(hand_project: ProjectDir, tmp_path: Path) -> None:
    # 58 bytes of code: at most five reads of 16 bytes, once, however often the loops run; no data is in flash.
    folder = hand_project("nucleo_l4r5zi")
    firmware = read_firmware(folder / "build/firmware.elf")
    code = firmware.section(".model_code")
    timing = FlashTiming(5, 16, 1024, 256)
    flash = (code.address, code.end, timing)
    counter = InstructionCounter(firmware, tmp_path, module="hand", layers=2, flash=flash)
    options = {"qemu_plugin": counter.qemu_plugin}
    with GeneratedProject.from_directory(folder, {}) as project, Session(project.transport(options)) as session:
        session.run([bytes([200])])
    (run,) = counter.results()
    assert 4 <= sum(part.code_waits for part in run.parts) <= 6
    assert sum(part.data_waits for part in run.parts) == 0
