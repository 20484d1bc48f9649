"""Firmware of a hand-written model on every machine: right outputs, and a clear error for whatever goes wrong."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_archive import DEFAULT, archive_files, expected_outputs, write_archive
from tests.processes import children, state, wait_for_end
from tests.qemu.conftest import ProjectDir
from tvm_tiny.errors import ProjectError, RunError, ToolError
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.project import FaultError, GeneratedProject, Session, generate_project_from_mlf

pytestmark = pytest.mark.qemu

# One for each machine, and a core that the M3 machine stands in for.
BOARDS = ("qemu-m3", "qemu-m4", "qemu-m7", "qemu-m33", "qemu-m55", "rp2040")
FAULT, HANG, OVERFLOW, STATUS, UNALIGNED, STACK = range(120, 126)


def inference(folder: Path, kind: int, *, timeout_s: float = 20.0, **options: str) -> Session:
    """Run the model once with an input that makes it misbehave; the closed session."""
    firmware = read_firmware(folder / "build/firmware.elf")
    with (
        GeneratedProject.from_directory(folder, options) as project,
        Session(project.transport(), run_timeout_s=timeout_s, locate=firmware.describe) as session,
    ):
        session.run([bytes([kind, 1, 0, 0, 0, *[0] * 11]), bytes(4)])
    return session


@pytest.mark.parametrize("board", BOARDS)
def test_outputs(board: str, fake_project: ProjectDir) -> None:
    rng = np.random.default_rng(1)
    with GeneratedProject.from_directory(fake_project(board), {}) as project, Session(project.transport()) as session:
        for _ in range(3):
            x = rng.integers(-128, 120, (1, 16)).astype(np.int8)
            bias = rng.integers(-128, 128, (1, 4)).astype(np.int8)
            y, totals = session.run([x.tobytes(), bias.tobytes()])
            expected_y, expected_totals = expected_outputs(x, bias)
            np.testing.assert_array_equal(np.frombuffer(y, np.int8).reshape(1, 16), expected_y)
            np.testing.assert_array_equal(np.frombuffer(totals, np.int32), expected_totals)
    assert all(16 <= stats.stack_bytes <= 64 for stats in session.stats if stats.stack_bytes is not None)
    assert all(stats.stack_bytes for stats in session.stats)


@pytest.mark.parametrize("board", BOARDS)
def test_a_fault_is_reported_with_registers_and_functions(board: str, fake_project: ProjectDir) -> None:
    with pytest.raises(
        FaultError, match=r"HardFault, .*in \w+ \(fake_fault\+0x\w+\) called from \w+ \(misbeh"
    ) as caught:
        inference(fake_project(board), FAULT)
    registers = caught.value.fault.registers
    assert {"PC", "LR", "R0", "R1", "R2", "R3", "R12", "xPSR", "SP", "CFSR", "HFSR", "BFAR"} <= registers.keys()
    assert caught.value.fault.reasons == ("data access violation", "at f0000000")
    assert registers["MMFAR"] == 0xF0000000
    assert 0x1234 in registers.values()


@pytest.mark.parametrize("board", BOARDS)
def test_a_stack_that_is_too_deep_is_noticed(board: str, fake_project: ProjectDir) -> None:
    with pytest.raises(FaultError, match="stack overflow") as caught:
        inference(fake_project(board), OVERFLOW)
    assert caught.value.hints == ("more stack: --project-option stack_bytes=N",)


def test_stack_is_measured(fake_project: ProjectDir) -> None:
    (stats,) = inference(fake_project("qemu-m4"), STACK).stats
    assert stats.stack_bytes is not None
    # Four frames of fake_recurse: 256 bytes of array, and at most 32 of registers each.
    assert 3 * 256 < stats.stack_bytes < 4 * (256 + 32) + 64


def test_a_model_that_hangs(fake_project: ProjectDir) -> None:
    start = time.monotonic()
    with pytest.raises(RunError, match="device did not answer in time"):
        inference(fake_project("qemu-m4"), HANG, timeout_s=0.5)
    assert time.monotonic() - start < 10


def test_an_interrupt_ends_everything(
    fake_project: ProjectDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the emulator's folder is made there

    def interrupt(*_: object) -> None:
        assert any(tmp_path.iterdir())
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with GeneratedProject.from_directory(fake_project("qemu-m4"), {}) as project:
            session = Session(project.transport())
            server = project._client._process
            assert server is not None
            (emulator,) = children(server.pid)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt), session:
                session.run([bytes([HANG, *[0] * 15]), bytes(4)])
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - start < 5
    assert not state(emulator)
    assert not any(tmp_path.iterdir())


def test_the_status_of_the_model(fake_project: ProjectDir) -> None:
    with pytest.raises(RunError, match="run function returned -5, expected 0"):
        inference(fake_project("qemu-m4"), STATUS)


def test_unaligned_accesses_fault_where_the_core_has_none(fake_project: ProjectDir) -> None:
    with pytest.raises(RunError, match="run function returned 1"):  # the word was read
        inference(fake_project("qemu-m3"), UNALIGNED)
    with pytest.raises(FaultError, match="unaligned access"):
        inference(fake_project("rp2040"), UNALIGNED)


def test_large_inputs_are_fast(tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    info = copy.deepcopy(DEFAULT)
    info["inputs"][0].update(shape=[1, 224, 224, 3], size_bytes=150_528)
    archive = write_archive(tmp_path / "m.tar", archive_files(tinyml=info))
    with generate_project_from_mlf("qemu", tmp_path / "p", archive, {"board": "qemu-m7"}) as project:
        project.build()
        x = np.random.default_rng(2).integers(-128, 120, 150_528).astype(np.int8)
        with Session(project.transport()) as session:
            start = time.monotonic()
            for _ in range(3):
                y, _ = session.run([x.tobytes(), bytes(4)])
            seconds = (time.monotonic() - start) / 3
    expected, _ = expected_outputs(x[np.newaxis, :16], np.zeros((1, 4), np.int8))
    assert y == expected.tobytes()
    assert seconds < 1.0


def test_a_project_needs_nothing_but_the_standard_library(fake_project: ProjectDir, tmp_path: Path) -> None:
    folder = tmp_path / "moved, to a place with a comma"
    subprocess.run(["cp", "-r", fake_project("qemu-m4"), folder], check=True)
    script = folder / "launch_microtvm_api_server.sh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')  # no site-packages
    script.chmod(0o755)
    with GeneratedProject.from_directory(folder, {}) as project:
        assert project.info().platform_name == "qemu"
        project.build()
        with Session(project.transport()) as session:
            session.run([bytes(16), bytes(4)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qemu": "no-such-qemu"}, "'no-such-qemu' not found"),
        ({"qemu": "false"}, "process ended: exit code 1"),
        ({"qemu_plugin": "/no/such/plugin.so"}, "(?s)process ended: exit code 1.*plugin"),
    ],
)
def test_an_emulator_that_does_not_start(options: Mapping[str, str], words: str, fake_project: ProjectDir) -> None:
    with (
        GeneratedProject.from_directory(fake_project("qemu-m4"), options) as project,
        pytest.raises((ToolError, RunError), match=words) as caught,
    ):
        Session(project.transport())
    if "no-such" in words:
        assert caught.value.hints[0] == "install it: sudo apt-get install qemu-system-arm"


def test_without_a_compiler(fake_archive: Path, tmp_path: Path) -> None:
    with generate_project_from_mlf("qemu", tmp_path / "p", fake_archive, {"toolchain": "no-such-"}) as project:
        with pytest.raises(ToolError, match="'no-such-gcc' not found") as caught:
            project.build()
        assert "gcc-arm-none-eabi" in caught.value.hints[0]
        with pytest.raises(ProjectError, match="is not built"):
            project.transport()


def test_a_compiler_error_is_shown(fake_archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("arm-none-eabi-gcc")
    options = {"compile_definitions": "-DFAKE_ARENA_BYTES=brokensize"}
    with (
        generate_project_from_mlf("qemu", tmp_path / "p", fake_archive, options) as project,
        pytest.raises(ToolError, match=r"(?s)failed with exit code 1:.*brokensize"),
    ):
        project.build()


def test_no_emulator_outlives_its_user(fake_project: ProjectDir) -> None:
    """Kill the process that holds the session while the firmware computes for ever."""
    program = textwrap.dedent(
        f"""
        from tvm_tiny.project import GeneratedProject, Session
        project = GeneratedProject.from_directory({str(fake_project("qemu-m4"))!r}, {{}})
        session = Session(project.transport())
        print(project._client._process.pid, flush=True)
        session.run([bytes([{HANG}, *[0] * 15]), bytes(4)])
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        server = int(user.stdout.readline())
        (emulator,) = children(server)
        os.kill(user.pid, signal.SIGKILL)
    wait_for_end([server, emulator])


def options_of(folder: Path) -> dict[str, Any]:
    """Names and methods of a project's options."""
    with GeneratedProject.from_directory(folder, {}) as project:
        return {o.name: [*(o.required or ()), *(o.optional or ())] for o in project.info().project_options}


def test_every_option_names_methods_of_the_api(fake_project: ProjectDir) -> None:
    methods = {"generate_project", "build", "flash", "open_transport"}
    options = options_of(fake_project("qemu-m4"))
    assert {"board", "verbose", "project_type", "toolchain", "optimization", "warning_as_error"} <= options.keys()
    assert all(set(names) <= methods for names in options.values())
