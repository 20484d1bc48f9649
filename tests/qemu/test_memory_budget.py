"""The linker holds a firmware to the sizes of its board, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_tiny.errors import MemoryBudgetError
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.project import generate_project_from_mlf
from tvm_tiny.targets import load_board

pytestmark = pytest.mark.qemu

BOARD = "nucleo_f446re"
STACK_BYTES = 1024


def build(folder: Path, archive: Path, *, arena_bytes: int, board: str = BOARD) -> dict[str, int]:
    """Build the model with an arena of that size; section -> bytes."""
    options = {"board": board, "stack_bytes": STACK_BYTES, "compile_definitions": f"-DFAKE_ARENA_BYTES={arena_bytes}"}
    with generate_project_from_mlf("qemu", folder, archive, options) as project:
        project.build()
    return {name: s.size_bytes for name, s in read_firmware(folder / "build/firmware.elf").sections.items()}


@pytest.fixture(autouse=True)
def _compiler(tool: Callable[[str], str]) -> None:
    tool("arm-none-eabi-gcc")


def test_ram_is_filled_to_the_last_byte(fake_archive: Path, tmp_path: Path) -> None:
    ram_bytes = load_board(BOARD).ram_bytes
    # Besides the arena: stack, inputs and outputs of 16, 4 (8 with alignment), 16 and 16 bytes, one variable.
    arena_bytes = ram_bytes - STACK_BYTES - 56 - 8
    sizes = build(tmp_path / "full", fake_archive, arena_bytes=arena_bytes)
    ram = (".model_stack", ".model_io", ".model_data", ".model_bss")
    assert ram_bytes - 8 < sum(sizes[name] for name in ram) <= ram_bytes
    with pytest.raises(MemoryBudgetError) as caught:
        build(tmp_path / "over", fake_archive, arena_bytes=arena_bytes + 8)
    assert caught.value.message == (
        f"the model needs {ram_bytes + 8:,} bytes of RAM, board '{BOARD}' has {ram_bytes:,}"
    )
    assert "a board with more memory: tvmc targets" in caught.value.hints


def test_flash_of_a_board_of_the_users_own(fake_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        description = "too little flash"
        cpu = "cortex-m4"
        clock_hz = 1_000_000
        machine = "mps2-an386"
        [[memory]]
        name = "flash"
        kind = "flash"
        address = 0
        size_bytes = 128
        relative_speed = 1.0
        [[memory]]
        name = "ram"
        kind = "sram"
        address = 0x2000_0000
        size_bytes = 65_536
        relative_speed = 1.0
    """
    (tmp_path / "mini.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MemoryBudgetError, match=r"needs \d+ bytes of flash, board 'mini' has 128"):
        build(tmp_path / "p", fake_archive, arena_bytes=64, board="mini.toml")
