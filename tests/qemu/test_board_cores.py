"""Firmware of platform ``board`` on other cores, with other drivers; platform ``qemu`` has the same link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import emulated_board
from tests.qemu.conftest import ProjectDir
from tests.qemu.test_board import infer
from tvm_tiny.measure import Board
from tvm_tiny.project import GeneratedProject, Session, generate_project_from_mlf

pytestmark = pytest.mark.qemu

# Cores and drivers; QEMU has more machines with serial ports than those that stand in for boards.
OTHERS: dict[str, dict[str, Any]] = {
    "cortex-m0": {"machine": "mps2-an385", "qemu_machine": "microbit", "flash_bytes": 262_144, "ram_bytes": 16_384}
    | {"driver": "nrf", "uart": 0x40002000},
    "cortex-m4": {"machine": "mps2-an386", "qemu_machine": "netduinoplus2", "flash": 0x08000000, "ram_bytes": 131_072}
    | {"driver": "stm32f4", "uart": 0x40011000},
    "cortex-m33": {"machine": "mps2-an505", "flash": 0x10000000, "ram": 0x38000000, "uart": 0x50200000},
    "cortex-m55": {"machine": "mps3-an547", "flash": 0x10000000, "flash_bytes": 524_288, "ram": 0x30000000}
    | {"uart": 0x59303000},
}


@pytest.mark.parametrize("cpu", OTHERS)
def test_other_cores_and_drivers(cpu: str, fake_archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    tool("arm-none-eabi-gcc")
    folder = tmp_path / "board"
    options = {"board": str(emulated_board.board_file(folder, cpu, **OTHERS[cpu])), "warning_as_error": "true"}
    try:
        with generate_project_from_mlf("board", tmp_path / "project", fake_archive, options) as project:
            project.build()
            project.flash()
            with Session(project.transport()) as session:
                infer(session, 1)
        with Board.open(tmp_path / "project") as board:
            assert board.info.core == cpu
            board.load(board.memory_address, bytes.fromhex("4018 7047"))  # adds r0, r0, r1; bx lr
            assert board.call(board.memory_address, [40, 2]).value == 42
            board.load(board.memory_address, bytes.fromhex("00de 7047"))  # udf 0
            assert board.call(board.memory_address, [40, 2]).status == "fault"
            assert board.read(board.memory_address, 4) == bytes.fromhex("00de 7047")
            beside_model = board.memory_bytes
        if cpu != "cortex-m0":
            return
        with GeneratedProject.from_directory(tmp_path / "project", {"model": "false"}) as project:
            project.build()
        with Board.open(tmp_path / "project", flash=True) as board:
            assert board.info.input_sizes == ()
            assert board.memory_bytes > beside_model
    finally:
        emulated_board.stop(folder)


def test_platform_qemu_runs_candidates_too(fake_project: ProjectDir) -> None:
    with Board.open(fake_project("qemu-m7")) as board:
        assert board.memory_bytes > 500_000
        board.load(board.memory_address, bytes.fromhex("4018 7047"))
        result = board.call(board.memory_address, [40, 2])
        assert (result.status, result.value, result.cycles) == ("ok", 42, None)
        board.load(board.memory_address, bytes.fromhex("fee7"))  # b .
        assert board.call(board.memory_address, timeout_s=2.0).status == "timeout"
        board.load(board.memory_address, bytes.fromhex("4018 7047"))
        assert board.call(board.memory_address, [1, 2]).value == 3
