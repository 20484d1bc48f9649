"""``tvmc run --compare reference``: every layer's bytes are the reference's, and a broken layer is named."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.models.test_fusion import Network, residual_network
from tests.models.test_views import halves, merged, written
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import ArtifactError, RunError
from tvm_tiny.measure import run_model, validate_model
from tvm_tiny.report.content import report_content
from tvm_tiny.report.graph_onnx import graph_onnx

INPUTS = {"inputs": np.load(demo.TEST_SET)["inputs"][:2]}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_model(demo.TFLITE, "tinyml/qemu-m4").export(tmp_path_factory.mktemp("validate") / "model.tar")


def rewrite(archive: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of an archive; ``change`` gives each file's new content, None leaves it out."""
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member)
            changed = change(member.name, content.read() if content else b"")
            if changed is not None:
                member.size = len(changed)
                new.addfile(member, io.BytesIO(changed))
    return target


def break_layer(archive: Path, target: Path, layer: int) -> Path:
    """Change the last weight that ``layer`` alone uses."""
    texts: dict[str, str] = {}
    rewrite(archive, target, lambda name, content: texts.update({name: content.decode("latin1")}))
    main_text = next(t for name, t in texts.items() if name.endswith("lib0.c")).split("___tvm_main__(", 1)[1]
    call = main_text.split(f"TINYML_MARK({layer})", 1)[1].split("TINYML_MARK(", 1)[0]
    constant = re.findall(r"tvmgen_default_const_\d+", call)[0]

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("lib1.c"):
            return content
        head, tail = content.decode().split(f"{constant}[", 1)[0], content.decode().split(f"{constant}[", 1)[1]
        while "=" not in tail.split(";", 1)[0]:  # a declaration
            more, tail = tail.split(f"{constant}[", 1)
            head += f"{constant}[{more}"
        values, rest = tail.split("};", 1)
        before, last = values.rstrip().rsplit(" ", 1)
        return f"{head}{constant}[{before} {int(last) ^ 64}\n}};{rest}".encode()

    return rewrite(archive, target, change)


def check_exact(result: Any, layers: int) -> None:
    assert result.first is None
    assert len(result.layers) == layers
    assert all(layer.elements == result.inferences * np.prod(layer.shape) for layer in result.layers)


def test_every_layer_is_the_reference_s(archive: Path) -> None:
    result = validate_model(archive, inputs=INPUTS)
    assert result.inferences == 2
    check_exact(result, 10)


@pytest.mark.parametrize("options", [{"patch": "2x2@t_7"}, {"stream_input": True, "fusion": "rows"}])
def test_rolling_buffers_and_patches(options: dict[str, Any], tmp_path: Path) -> None:
    model = compile_model(residual_network(), "tinyml/qemu-m4", effort="fast", **options)
    (image,) = model.report()["inputs"]
    inputs = np.random.default_rng(5).integers(-128, 128, image["shape"]).astype(np.int8)
    check_exact(validate_model(model.export(tmp_path / "m.tar"), inputs={"inputs": inputs}), 9)


@pytest.mark.parametrize("build", [merged, halves])
def test_tensors_that_are_parts_of_others(build: Callable[[Network], None], tmp_path: Path) -> None:
    model = compile_model(written(build), "tinyml/qemu-m4", effort="fast")
    report, rng = model.report(), np.random.default_rng(7)
    inputs = {t["name"]: rng.integers(-128, 128, t["shape"]).astype(np.int8) for t in report["inputs"]}
    check_exact(validate_model(model.export(tmp_path / "m.tar"), inputs=inputs), len(report["layers"]))
    content = report_content("default", report)
    assert {i for layer in content["layers"] for i in layer["inputs"]} <= {*range(-1, len(report["layers"]))}
    onnx.checker.check_model(graph_onnx("default", report, model.files["src/default.relax.json"].decode()))


def test_planes(tmp_path: Path) -> None:
    archive = compile_model(demo.ONNX, "tinyml/qemu-m4", quantized_io=True).export(tmp_path / "m.tar")
    result = validate_model(archive, inputs={"inputs": np.zeros((1, 1, 8, 8), np.float32)})
    assert result.first is None


@pytest.mark.parametrize("layer", [0, 6])
def test_the_broken_layer_is_named(
    layer: int, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, path = break_layer(archive, tmp_path / "broken.tar", layer), tmp_path / "v.json"
    assert main(["run", str(broken), "--compare", "reference", "--json", str(path)]) == 3
    content = json.loads(path.read_text())
    assert content["first_difference"] == layer
    said = capsys.readouterr().out
    assert f"the first layer that differs is {layer}, " in said
    first = content["layers"][layer]
    assert 0 < first["differing"] <= first["elements"]
    assert first["first"]["got"] != first["first"]["expected"]
    assert all(x["differing"] == 0 for x in content["layers"][:layer])


@pytest.mark.qemu
def test_on_an_emulated_board(archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    check_exact(validate_model(archive, device="qemu", inputs=INPUTS), 10)
    broken = validate_model(break_layer(archive, tmp_path / "broken.tar", 4), device="qemu", inputs=INPUTS)
    assert broken.first is not None
    assert broken.first.index == 4


def test_wrong_uses(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(archive), "--compare", "reference", "--profile"]) == 1
    assert "--compare reference and --profile exclude each other" in capsys.readouterr().err
    old = rewrite(
        archive, tmp_path / "old.tar", lambda name, x: None if name.endswith(".json") and "src" in name else x
    )
    folder = tmp_path / "p"
    run_model(old, inputs=INPUTS, project_dir=folder)
    with pytest.raises(ArtifactError, match="does not hold the network itself"):
        validate_model(None, device="micro", project_dir=folder, inputs=INPUTS)
    (folder / "model.tar").write_bytes(archive.read_bytes())
    with pytest.raises(RunError, match="does not tell what its layers write"):
        validate_model(None, device="micro", project_dir=folder, inputs=INPUTS)
