"""Platform ``board`` against QEMU behind a pty: flashed by restart, reset through QMP, over good and bad lines."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import emulated_board
from tests.bad_line import BadLine
from tests.fake_archive import expected_outputs
from tvm_tiny.errors import DeviceRestartedError, RunError
from tvm_tiny.measure import Board
from tvm_tiny.project import FaultError, GeneratedProject, Session, generate_project_from_mlf

pytestmark = pytest.mark.qemu
FAULT, HANG = 120, 121

CANDIDATES = """
#include <stdint.h>
__attribute__((section(".text.0"))) int add(int a, int b, int c, int d, int e, int f) { return a + b - c + 10 * d + e * f; }
__attribute__((section(".text.1"))) int bus(void) { return *(volatile int*)0xF0000000u; }
__attribute__((section(".text.2"))) void undefined(void) { __asm volatile("udf #0"); }
__attribute__((section(".text.3"))) void hang(void) { for (;;) __asm volatile(""); }
__attribute__((section(".text.4"))) void fill(int8_t* to, int n, int v) { while (n--) *to++ = (int8_t)v; }
__attribute__((section(".text.5"))) void wait(unsigned n) { __asm volatile("1: subs %0, #1\\nbne 1b" : "+r"(n)); }
__attribute__((section(".text.6"))) float half(float* x) { __asm volatile("cpsid i"); *x *= 0.5f; __asm volatile("udf #1"); return *x; }
__attribute__((section(".text.7"))) int deep(int n) { volatile char room[256]; room[0] = 1; return n ? deep(n - 1) + room[0] : 0; }
"""  # noqa: E501


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Iterator[Path]:
    """Where the emulated board lives."""
    tool("qemu-system-arm")
    path = tmp_path_factory.mktemp("emulated") / "board"
    yield path
    emulated_board.stop(path)


@pytest.fixture(scope="module")
def project_dir(folder: Path, fake_archive: Path, tool: Callable[[str], str]) -> Path:
    """A project of the hand-written model, built and flashed."""
    tool("arm-none-eabi-gcc")
    board = emulated_board.board_file(folder, "cortex-m7", "mps2-an500")
    options = {"board": str(board), "warning_as_error": "true", "port_wait_s": "10"}
    with generate_project_from_mlf("board", folder.parent / "project", fake_archive, options) as project:
        project.build()
        project.flash()
    return folder.parent / "project"


@pytest.fixture(scope="module")
def candidates(
    project_dir: Path, tmp_path_factory: pytest.TempPathFactory, arm_gcc: list[str]
) -> tuple[bytes, dict[str, int]]:
    """Code for the start of the board's free RAM, and its functions' addresses."""
    tmp = tmp_path_factory.mktemp("candidates")
    with Board.open(project_dir) as board:
        address = board.memory_address
    (tmp / "c.c").write_text(CANDIDATES)
    flags = [
        "-mcpu=cortex-m7",
        "-mthumb",
        "-mfpu=fpv5-sp-d16",
        "-mfloat-abi=hard",
        "-Os",
        "-fno-optimize-sibling-calls",
    ]
    flags += ["-ffreestanding", "-nostdlib", "-Wl,--build-id=none", "-Wl,-e,add", f"-Wl,-Ttext={address:#x}"]
    subprocess.run([*arm_gcc, *flags, "c.c", "-o", "c.elf"], cwd=tmp, check=True)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", "c.elf", "c.bin"], cwd=tmp, check=True)
    lines = subprocess.run(["arm-none-eabi-nm", "c.elf"], cwd=tmp, check=True, capture_output=True, text=True).stdout
    symbols = {name: int(value, 16) for value, kind, name in map(str.split, lines.splitlines()) if kind == "T"}
    return (tmp / "c.bin").read_bytes(), symbols


def infer(session: Session, seed: int) -> None:
    """One inference; raises unless it is right, byte for byte."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 120, (1, 16)).astype(np.int8)
    bias = rng.integers(-128, 128, (1, 4)).astype(np.int8)
    y, totals = session.run([x.tobytes(), bias.tobytes()])
    expected_y, expected_totals = expected_outputs(x, bias)
    assert (y, totals) == (expected_y.tobytes(), expected_totals.tobytes())


def test_inferences(project_dir: Path) -> None:
    with GeneratedProject.from_directory(project_dir, {}) as project, Session(project.transport()) as session:
        assert (session.info.core, session.info.counter, session.info.counter_hz) == (
            "cortex-m7",
            "systick",
            25_000_000,
        )
        assert session.info.model_name == "fake"
        for seed in range(5):
            infer(session, seed)
        ticks = [s.cycles for s in session.stats if s.cycles is not None]
        assert len(ticks) == 5
        assert max(ticks) - min(ticks) <= 1
        assert all(s.stack_bytes and 16 <= s.stack_bytes <= 64 for s in session.stats)
        session.run([bytes(16), bytes(4)], times=10)
        assert abs((session.stats[-1].cycles or 0) - ticks[0]) <= 2
        with pytest.raises(FaultError, match=r"HardFault, .*precise data bus error"):
            session.run([bytes([FAULT, *[0] * 15]), bytes(4)])
        infer(session, 6)  # the firmware serves on


def test_a_bad_line_changes_nothing(project_dir: Path, folder: Path) -> None:
    with (
        BadLine(folder, rate=1 / 200) as line,
        GeneratedProject.from_directory(project_dir, {}) as project,
        Session(project.transport()) as session,
    ):
        for seed in range(20):
            if seed == 10:
                line.be_silent(1.0)
            infer(session, seed)
        assert line.faults > 20
        assert session._link.repeats > 15


def test_a_reset_in_the_middle_of_inferences(project_dir: Path, folder: Path) -> None:
    done = threading.Event()

    def press() -> None:
        while not done.wait(0.8):
            emulated_board.reset(folder)

    with GeneratedProject.from_directory(project_dir, {}) as project, Session(project.transport()) as session:
        presser = threading.Thread(target=press)
        presser.start()
        try:
            seed, deadline = 0, time.monotonic() + 60
            while seed < 12 or (session._link.sessions < 2 and time.monotonic() < deadline):
                infer(session, seed)
                seed += 1
        finally:
            done.set()
            presser.join()
        assert session._link.sessions > 1


def test_calls(project_dir: Path, candidates: tuple[bytes, dict[str, int]]) -> None:
    code, at = candidates
    with Board.open(project_dir) as board:
        assert board.memory_bytes > 500_000
        board.load(board.memory_address, code)
        assert board.read(board.memory_address, len(code)) == code
        assert board.call(at["add"], [1, -2, 3, 4, 5, 6]).value == 1 - 2 - 3 + 40 + 30
        data = board.memory_address + 4096
        board.load(data, bytes(range(200)) * 20)
        assert board.call(at["fill"], [data + 100, 2000, -7]).status == "ok"
        assert (
            board.read(data, 4000) == (bytes(range(200)) * 20)[:100] + b"\xf9" * 2000 + (bytes(range(200)) * 20)[2100:]
        )
        # 32 ns an instruction, 40 ns a tick.
        short, long = (board.call(at["wait"], [n]).cycles for n in (1000, 101_000))
        assert short is not None
        assert long is not None
        assert abs((long - short) - 2 * 100_000 * 32 / 40) <= 2
        assert abs((board.call(at["wait"], [1000], times=7).cycles or 0) - short) <= 1
        for start, size in ((board.memory_address - 4, 4), (board.memory_address + board.memory_bytes - 2, 4)):
            with pytest.raises(RunError, match="refused request LOAD: .* address does not exist"):
                board.load(start, bytes(size))
        assert board.restarts == 0


def test_a_fault_of_a_candidate_is_its_answer(project_dir: Path, candidates: tuple[bytes, dict[str, int]]) -> None:
    code, at = candidates
    reasons = {"bus": "precise data bus error", "undefined": "undefined instruction", "half": "undefined instruction"}
    with Board.open(project_dir) as board:
        board.load(board.memory_address, code)
        for name, reason in reasons.items():
            result = board.call(at[name], [board.memory_address + 4096])
            assert result.status == "fault"
            assert result.fault is not None
            assert reason in result.fault.reasons
            assert at[name] <= result.fault.registers["PC"] < at[name] + 32
            assert board.call(at["add"], [1, 2, 3, 4, 5, 6]).value == 70
        deep = board.call(at["deep"], [10_000])
        assert deep.fault is not None
        assert any("stack overflow" in r or "bus error" in r for r in deep.fault.reasons)
        with pytest.raises(FaultError, match="precise data bus error"):
            board.read(0xF000_0000, 4)
        assert board.call(at["add"], [1, 2, 3, 4, 5, 6]).value == 70
        assert board.restarts == 0


def test_a_candidate_that_hangs_costs_a_reset(project_dir: Path, candidates: tuple[bytes, dict[str, int]]) -> None:
    code, at = candidates
    with Board.open(project_dir) as board:
        board.load(board.memory_address, code)
        start = time.monotonic()
        assert board.call(at["hang"], timeout_s=2.0).status == "timeout"
        assert time.monotonic() - start < 30
        assert board.restarts == 1
        board.load(board.memory_address, code)
        assert board.call(at["add"], [1, 2, 3, 4, 5, 6]).value == 70


def test_lost_memory_is_told(project_dir: Path, folder: Path, candidates: tuple[bytes, dict[str, int]]) -> None:
    code, at = candidates
    with Board.open(project_dir) as board:
        board.load(board.memory_address, code)
        emulated_board.reset(folder)
        with pytest.raises(DeviceRestartedError, match="has restarted"):
            board.call(at["add"], [1, 2, 3, 4, 5, 6])
        assert board.restarts == 1
        board.load(board.memory_address, code)
        assert board.call(at["add"], [1, 2, 3, 4, 5, 6]).value == 70


def test_candidates_over_a_bad_line(project_dir: Path, folder: Path, candidates: tuple[bytes, dict[str, int]]) -> None:
    """What a tuner does: load, call, read back; every third candidate something happens to the board or the line."""
    code, at = candidates
    ticks: list[set[int]] = []
    with BadLine(folder, rate=1 / 400) as line, Board.open(project_dir) as board:
        data = board.memory_address + 4096
        for trial in range(9):
            event = trial % 3 == 1
            while True:
                try:
                    board.load(board.memory_address, code)
                    board.load(data, bytes(64))
                    if event:
                        event = False
                        (line.be_silent(0.7) if trial == 1 else emulated_board.reset(folder))
                        if trial == 7:
                            assert board.call(at["hang"], timeout_s=2.0).status == "timeout"
                    result = board.call(at["fill"], [data, 50, trial])
                    assert board.read(data, 64) == bytes([trial]) * 50 + bytes(14)
                    break
                except DeviceRestartedError:
                    continue
            assert result.cycles is not None
            ticks.append({result.cycles})
        assert line.faults > 3
        assert board.repeats + board.restarts > 2
    assert max(map(max, ticks)) - min(map(min, ticks)) <= 1


def test_a_port_that_vanishes_is_waited_for(project_dir: Path, folder: Path) -> None:
    elf = project_dir / "build" / "firmware.elf"
    with GeneratedProject.from_directory(project_dir, {}) as project, Session(project.transport()) as session:
        infer(session, 1)
        emulated_board.stop(folder)
        back = threading.Timer(1.0, emulated_board.plug_back, (folder, "mps2-an500", elf))
        back.start()
        infer(session, 2)
        back.join()


def test_a_port_that_stays_away(project_dir: Path, folder: Path) -> None:
    elf = project_dir / "build" / "firmware.elf"
    emulated_board.stop(folder)
    try:
        with (
            GeneratedProject.from_directory(project_dir, {"port_wait_s": "1"}) as project,
            pytest.raises(RunError, match=r"serial port '.*/port' is not there, waited for 1 s") as caught,
        ):
            project.transport()
        assert "is the board plugged in?" in caught.value.hints
    finally:
        emulated_board.plug_back(folder, "mps2-an500", elf)
