"""Tuning on a board behind a serial port, which is QEMU behind a pty: over a good line and over a bad one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests import emulated_board
from tests.bad_line import BadLine
from tvm_tiny import demo
from tvm_tiny.targets import resolve
from tvm_tiny.tune import BoardDevice, TuneResult, tune
from tvm_tiny.tune.image import Candidate, Measurement

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Iterator[Path]:
    """Where the emulated board lives."""
    tool("qemu-system-arm")
    tool("arm-none-eabi-gcc")
    path = tmp_path_factory.mktemp("emulated") / "board"
    yield path
    emulated_board.stop(path)


class _Faulty(BoardDevice):
    """Something happens to the board or its line after every 20 candidates."""

    faults = 0
    line: BadLine | None = None

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        results: list[Measurement] = []
        for first in range(0, len(candidates), 20):
            results += super().measure(candidates[first : first + 20])
            self.faults += 1
            assert self._link is not None
            if self.faults % 2:
                emulated_board.reset(self.folder)
            elif self.line is not None:
                self.line.be_silent(1.0)
        return results

    folder: Path


def _tune(board: Path, records: Path, device: BoardDevice) -> TuneResult:
    options = {"tuner": "gridsearch", "objective": "time", "tasks": ["qdepthwise*", "qdense*"]}
    return tune(demo.TFLITE, str(board), output=records, device=device, **options)  # type: ignore[arg-type]


def test_the_same_kernels_win_with_faults(folder: Path, tmp_path: Path) -> None:
    board = emulated_board.board_file(folder, "cortex-m7", "mps2-an500")
    options = {"port_wait_s": "10"}
    with BoardDevice(resolve(str(board)), options) as device:
        clean = _tune(board, tmp_path / "clean", device)
    with _Faulty(resolve(str(board)), options) as device:
        device.folder = folder
        with BadLine(folder, rate=0.0) as line:
            device.line = line
            faulty = _tune(board, tmp_path / "faulty", device)
    assert clean.measured == faulty.measured > 20
    assert device.faults >= 2  # a reset and a silence
    assert sum(s.invalid for s in clean.states) == sum(s.invalid for s in faulty.states)
    for a, b in zip(clean.states, faulty.states, strict=True):
        assert a.best_decisions == b.best_decisions
        # The emulated SysTick is off by some ticks when a request comes in the middle.
        assert a.untuned == pytest.approx(b.untuned, rel=0.02)
