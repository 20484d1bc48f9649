"""The benchmark of shipped and tuned kernels, with a session that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tune.fake_device import FakeDevice
from tvm_tiny import bench_tuning, demo, tune

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


def test_a_line_per_model(
    tool: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("qemu-system-arm")
    real = tune.tune

    def few(model: Any, board: str, *, output: Path) -> tune.TuneResult:
        return real(model, board, output=output, device=FakeDevice(), trials=8, objective="instructions")

    monkeypatch.setattr(tune, "tune", few)
    assert bench_tuning.main([str(demo.TFLITE), "--board", "qemu-m4", "--sessions", str(tmp_path)]) == 0
    heading, _, line = capsys.readouterr().out.splitlines()
    names, cells = ([c.strip() for c in text.strip("|").split("|")] for text in (heading, line))
    assert len(names) == len(cells) == 9
    assert cells[:2] == [demo.TFLITE.stem, "qemu-m4"]
    untuned, shipped = (float(cells[i].replace(",", "")) for i in (3, 4))
    assert 0 < shipped <= 1.03 * untuned


def test_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_tuning.main([str(tmp_path / "none.tflite"), "--board", "qemu-m4"]) == 1
    assert "none.tflite" in capsys.readouterr().err
