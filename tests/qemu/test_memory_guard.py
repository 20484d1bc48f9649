"""Stores are held to the model's own memory: by the core's memory protection unit, and to the byte by the counter."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.qemu.conftest import ProjectDir
from tests.qemu.test_firmware import BOARDS
from tvm_tiny.errors import RunError
from tvm_tiny.measure import run_model
from tvm_tiny.measure.elf import Firmware, read_firmware
from tvm_tiny.project import FaultError, GeneratedProject, Session

pytestmark = pytest.mark.qemu

STORE, STACK = 127, 125
GRANULE_BYTES = 32
"""A memory protection unit knows addresses to that."""


def store_at(address: int) -> bytes:
    """The input that has the fake model write one byte."""
    return bytes([STORE, 0, 0, 0, *address.to_bytes(4, "little"), *[0] * 8])


def firmware_of(folder: Path) -> Firmware:
    return read_firmware(folder / "build/firmware.elf")


def places(firmware: Firmware) -> dict[str, tuple[int, bool]]:
    """Addresses, and whether a model may write there."""
    arena = firmware.symbols["tvmgen_default_workspace"]
    end = firmware.section(".model_bss").end
    return {
        "arena": (arena.address + arena.size_bytes - 1, True),
        "stack": (firmware.address("model_stack_bottom"), True),
        "below the stack": (firmware.address("model_stack_bottom") - 1, False),
        "behind all": (-(-end // GRANULE_BYTES) * GRANULE_BYTES, False),
        "far behind": (firmware.address("model_stack_bottom") + 0x10000, False),
        "weights": (firmware.section(".model_weights").address, False),
        "code": (firmware.address("tvmgen_default_run"), False),
        "harness": (firmware.section(".harness_bss").address, False),
    }


@pytest.mark.parametrize("board", BOARDS)
def test_stores_beside_the_models_memory_fault(board: str, fake_project: ProjectDir) -> None:
    folder = fake_project(board)
    with GeneratedProject.from_directory(folder, {}) as project, Session(project.transport()) as session:
        for what, (address, allowed) in places(firmware_of(folder)).items():
            with nullcontext() if allowed else pytest.raises(FaultError) as caught:
                session.run([store_at(address), bytes(4)])
            if not allowed:
                assert caught.value.fault.reasons == ("data access violation", f"at {address:08x}"), what
        session.run([bytes(16), bytes(4)])  # and the harness serves on


def test_a_stack_that_is_used_up_is_an_error(fake_archive: Path, tmp_path: Path) -> None:
    """The last words of the stack keep their paint; where they do not, nobody knows what else was written."""
    x = np.zeros((1, 16), np.int8)
    x[0, 0] = STACK
    inputs = {"x:0": x, "bias": np.zeros((1, 4), np.float32)}

    def run(name: str, stack_bytes: int) -> int:
        options = {"stack_bytes": stack_bytes}
        folder = tmp_path / name
        result = run_model(fake_archive, device="qemu", inputs=inputs, project_dir=folder, project_options=options)
        assert result.report.ram.stack_bytes is not None
        return result.report.ram.stack_bytes

    needed = run("measured", 2048)
    assert run("enough", needed + 8) == needed
    with pytest.raises(RunError, match=f"used all {needed:,} bytes of its stack") as caught:
        run("too little", needed)
    assert caught.value.hints == ("more stack: --project-option stack_bytes=N",)


def test_stores_are_watched_to_the_byte(fake_project: ProjectDir) -> None:
    folder = fake_project("qemu-m4")
    arena = firmware_of(folder).symbols["tvmgen_default_workspace"]
    end = arena.address + arena.size_bytes
    bias = np.zeros((1, 4), np.float32)

    def run(address: int) -> None:
        x = np.frombuffer(store_at(address), np.int8).reshape(1, 16)
        run_model(None, device="micro", project_dir=folder, inputs={"x:0": x, "bias": bias}, check_stores=True)

    run(end - 1)
    for outside in (arena.address - 1, firmware_of(folder).address("model_input_0")):
        with pytest.raises(RunError, match=rf"(?s)writes outside .*\(misbehave\+0x\w+\) writes to {outside:08x}"):
            run(outside)
