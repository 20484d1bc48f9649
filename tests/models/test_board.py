"""Compiled models on an attached board, which is QEMU behind a pty: bit-exact, also over a bad line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tvm_tiny
from tests import emulated_board
from tests.bad_line import BadLine
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.measure import Board, run_loaded, run_model
from tvm_tiny.project import generate_project_from_mlf

pytestmark = pytest.mark.qemu


@pytest.fixture
def folder(tmp_path: Path, tool: Callable[[str], str]) -> Iterator[Path]:
    """Where the emulated board lives; with its board file ``emulated.toml``."""
    tool("qemu-system-arm")
    tool("arm-none-eabi-gcc")
    emulated_board.board_file(tmp_path / "board", "cortex-m4", "mps2-an386")
    yield tmp_path / "board"
    emulated_board.stop(tmp_path / "board")


def test_the_bundled_model_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(demo.TEST_SET) as file:
        images, expected = file["inputs"][:5], file["outputs"][:5]
    np.savez(tmp_path / "x.npz", inputs=images)
    board, archive = str(folder / "emulated.toml"), str(tmp_path / "model.tar")
    x, y = str(tmp_path / "x.npz"), tmp_path / "y.npz"
    assert main(["compile", "--target", f"tinyml/{board}", str(demo.TFLITE), "-o", archive]) == 0
    report = tmp_path / "report.json"
    line = ["run", archive, "--device", "board", "--port", str(folder / "port"), "-i", x, "-o", str(y), "--print-time"]
    assert main([*line, "--json", str(report)]) == 0
    assert "cycles per inference, of counter systick: mean " in capsys.readouterr().out
    numbers = json.loads(report.read_text())
    assert (numbers["board"], numbers["cycle_counter"], numbers["instructions"]) == ("emulated", "systick", None)
    assert 10_000 < numbers["cycles"] < 1_000_000
    assert 0 < numbers["ram"]["stack_bytes"] < 2000
    with np.load(y) as file:
        np.testing.assert_array_equal(file["outputs"], expected, strict=True)

    y.unlink()
    project = str(tmp_path / "project")
    assert main(["micro", "create-project", project, archive, "board", "--project-option", "port_wait_s=20"]) == 0
    assert main(["micro", "build", project]) == 0
    assert main(["micro", "flash", project, "board"]) == 0
    with BadLine(folder, rate=1 / 400) as line_:
        assert main(["run", project, "--device", "micro", "-i", x, "-o", str(y)]) == 0
        assert line_.faults > 1
    with np.load(y) as file:
        np.testing.assert_array_equal(file["outputs"], expected, strict=True)

    # The board still has this firmware: another model is noticed.
    other = str(tmp_path / "other")
    assert (
        main(["compile", "--target", f"tinyml/{board}", "--optimize", "balanced", str(demo.TFLITE), "-o", archive]) == 0
    )
    assert main(["micro", "create-project", other, archive, "board"]) == 0
    capsys.readouterr()
    assert main(["run", other, "--device", "micro", "-i", x]) == 1
    error = capsys.readouterr().err
    assert "the device runs model 'digits', hash" in error
    assert "tvmc micro flash" in error


@pytest.mark.slow
def test_keyword_spotting(folder: Path, tmp_path: Path, shared_file: Callable[[str], Path]) -> None:
    with np.load(shared_file("vectors/kws_int8.npz")) as file:
        inputs, expected = file["inputs"][:3], file["outputs"][:3]
    compiled = tvm_tiny.compile(shared_file("models/kws_int8.tflite"), f"tinyml/{folder / 'emulated.toml'}")
    archive = compiled.export(tmp_path / "model.tar")
    result = run_model(archive, device="board", inputs={"inputs": inputs})
    (outputs,) = result.outputs.values()
    np.testing.assert_array_equal(outputs, expected, strict=True)


def test_models_from_ram_of_a_board_flashed_once(folder: Path, tmp_path: Path) -> None:
    with np.load(demo.TEST_SET) as file:
        images, expected = file["inputs"][:2], file["outputs"][:2]
    target = f"tinyml/{folder / 'emulated.toml'}"
    speed, balanced = (
        tvm_tiny.compile(demo.TFLITE, target, optimize=goal).export(tmp_path / f"{goal}.tar")
        for goal in ("speed", "balanced")
    )
    with generate_project_from_mlf("board", tmp_path / "project", speed, {"model": "false"}) as project:
        project.build()
    cycles = []
    with Board.open(tmp_path / "project", flash=True) as board:
        for archive in (speed, balanced, speed):
            result = run_loaded(board, archive, inputs={"inputs": images})
            (outputs,) = result.outputs.values()
            np.testing.assert_array_equal(outputs, expected, strict=True)
            assert result.cycles is not None
            assert result.layer_cycles is not None
            assert 0.9 * result.cycles < sum(result.layer_cycles) <= result.cycles
            cycles.append(result.cycles)
        assert board.restarts == 0
    assert abs(cycles[0] - cycles[2]) <= 1
