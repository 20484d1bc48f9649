"""RAM against work on the command line, bounds of compile, and errors that say what would fit."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import tvm_tiny
from tests.models.test_fusion import residual_network
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import MemoryBudgetError, OptionError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "net.tflite"
    path.write_bytes(residual_network())
    return path


@pytest.fixture(scope="module")
def fronts(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = tvm_tiny.plan(model, effort="fast").to_dict()["fronts"]
    return found


def test_plan(model: Path, fronts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg = tmp_path / "front.svg"
    assert main(["plan", str(model), "--effort", "fast", "--json", "--svg", str(svg)]) == 0
    assert json.loads(capsys.readouterr().out)["fronts"] == fronts
    assert "net for tinyml/qemu-m7" in "".join(ET.fromstring(svg.read_text()).itertext())
    assert main(["plan", str(model), "--effort", "fast"]) == 0
    said = capsys.readouterr().out
    assert "net, input resident" in said
    assert f"{fronts['streamed'][-1]['ram_bytes']:,}" in said


def test_plan_refuses_a_folder_first(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(model), "--svg", str(tmp_path)]) == 1
    assert "--svg" in capsys.readouterr().err


def test_compile_within_a_bound(model: Path, fronts: dict[str, Any]) -> None:
    first, second, *_ = fronts["resident"]
    fits = compile_model(model, ram=first["ram_bytes"], effort="fast")
    assert fits.plan.ram_bytes == first["ram_bytes"]
    less = compile_model(model, ram=str(first["ram_bytes"] - 1), effort="fast")
    assert second["ram_bytes"] <= less.plan.ram_bytes < first["ram_bytes"] or less.plan.ram_bytes <= second["ram_bytes"]
    assert compile_model(model, objective="time", effort="fast").plan.ram_bytes == first["ram_bytes"]


def test_nothing_fits(model: Path, fronts: dict[str, Any]) -> None:
    with pytest.raises(MemoryBudgetError, match=r"needs [\d,]+ bytes of RAM .*--ram allows 4,000\n") as caught:
        compile_model(model, ram=4000, max_overhead="0%", effort="fast")
    assert "live at the peak: " in caught.value.message
    hints = "\n".join(caught.value.hints)
    assert "--stream-input" in hints
    # What is named has been tried.
    least = min(x["ram_bytes"] for x in fronts["streamed"])
    named = [int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) bytes", hints)]
    assert all(n >= least for n in named)


def test_options_are_checked(model: Path) -> None:
    with pytest.raises(OptionError, match="--ram lots"):
        compile_model(model, ram="lots")
    with pytest.raises(OptionError, match="--max-overhead much"):
        tvm_tiny.plan(model, max_overhead="much")


def test_inspect_draws_the_arena(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, svg = str(tmp_path / "m.tar"), tmp_path / "arena.svg"
    assert main(["compile", str(model), "--effort", "fast", "-o", archive]) == 0
    assert re.search(r"arena [\d,]+ B \((optimal|at most [\d,]+ B above the optimum)\)", capsys.readouterr().out)
    assert main(["inspect", archive, "--svg", str(svg)]) == 0
    assert "over time: bytes upwards" in capsys.readouterr().out
    assert ET.fromstring(svg.read_text()).tag.endswith("svg")
