"""JSON outputs are what docs/schemas promises: they validate, and the schemas describe every key of theirs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.models.test_fusion import residual_network
from tests.models.test_validation import break_layer
from tests.schemas import SCHEMAS, check, schema
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Plain, with buffers of the caller, streamed, and with patches."""
    folder = tmp_path_factory.mktemp("schemas")
    patched = compile_model(residual_network(), "tinyml/qemu-m4", effort="fast", patch="2x2@t_7")
    return {
        "plain": compile_model(demo.TFLITE, "tinyml/qemu-m4").export(folder / "plain.tar"),
        "caller": compile_model(demo.TFLITE, "tinyml/qemu-m4", caller_io=True).export(folder / "caller.tar"),
        "streamed": compile_model(demo.TFLITE, "tinyml/qemu-m4", stream_input=True).export(folder / "streamed.tar"),
        "patched": patched.export(folder / "patched.tar"),
    }


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda p: p.stem)
def test_schemas_are_schemas(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(path.stem))
    assert f"schemas/{path.name}" in (SCHEMAS.parent / "command_line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["plain", "caller", "streamed", "patched"])
def test_inspect_and_report(
    kind: str, archives: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(archives[kind]), "--json"]) == 0
    check("inspect", json.loads(capsys.readouterr().out))
    front = "fast" if kind == "plain" else "off"
    assert main(["report", str(archives[kind]), "--front", front, "-o", str(tmp_path / "r.json")]) == 0
    check("report", json.loads((tmp_path / "r.json").read_text()))


def test_plan_and_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(demo.TFLITE), "--effort", "fast", "--json"]) == 0
    check("plan", json.loads(capsys.readouterr().out))
    assert main(["targets", "--json"]) == 0
    check("targets", json.loads(capsys.readouterr().out))


def test_compare(archives: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for other, code in (("plain", 0), ("patched", 3)):
        files = [str(archives["plain"]), str(archives[other])]
        assert main(["compare", *files, "--max-growth", "arena=1%", "--json"]) == code
        check("comparison", json.loads(capsys.readouterr().out))


def test_validation(archives: dict[str, Path], tmp_path: Path) -> None:
    broken = break_layer(archives["plain"], tmp_path / "broken.tar", 6)
    assert main(["run", str(broken), "--compare", "reference", "--json", str(tmp_path / "v.json")]) == 3
    check("validation", json.loads((tmp_path / "v.json").read_text()))


@pytest.mark.qemu
def test_runs(archives: dict[str, Path], tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    path = tmp_path / "run.json"
    for device in ("native", "qemu"):
        assert main(["run", str(archives["caller"]), "--device", device, "--json", str(path)]) == 0
        check("run", json.loads(path.read_text()))
    assert main(["report", str(archives["plain"]), "--run", "--front", "off", "-o", str(path)]) == 0
    check("report", json.loads(path.read_text()))


def test_the_check_can_fail(archives: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(archives["plain"]), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    changes: tuple[Callable[[Any], Any], ...] = (
        lambda x: x["layers"][0].update(new=1),
        lambda x: x["layers"][0].pop("macs"),
        lambda x: x["plan"].update(arena_bytes="many"),
    )
    for change in changes:
        changed = copy.deepcopy(content)
        change(changed)
        with pytest.raises(jsonschema.ValidationError):
            check("inspect", changed)
