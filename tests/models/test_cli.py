"""``tvmc`` on the bundled model: compile, inspect, run, projects; what it prints and what it writes."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.cli.tensor_files import npz_bytes

MODEL, HELD_OUT = demo.TFLITE, demo.TEST_SET


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "model.tar"
    assert main(["compile", "--target", "tinyml", str(MODEL), "-o", str(path)]) == 0
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Five of the held-out images with the reference's outputs, in one file."""
    with np.load(HELD_OUT) as file:
        np.savez(tmp_path / "few.npz", inputs=file["inputs"][:5], outputs=file["outputs"][:5])
    return tmp_path / "few.npz"


def _arrays(path: Path) -> dict[str, np.typing.NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


def test_compile_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.tar"
    line = "compile --target tinyml/nrf52840dk --output-format mlf --rounding single --module-name digits -O3"
    assert main([*line.split(), str(MODEL), "-o", str(path), "--dump-ir", str(tmp_path / "ir")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{path}: digits for tinyml/nrf52840dk (cortex-m4), 10 layers, 49,216 MACs, arena ")
    assert err == ""
    with tarfile.open(path) as tar:
        assert "./codegen/host/include/tvmgen_digits.h" in tar.getnames()
    assert list((tmp_path / "ir").iterdir())


def test_compiling_twice_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    assert main(["compile", str(MODEL), "-o", str(tmp_path / "again.tar")]) == 0
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_inspect(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(archive)]) == 0
    out = capsys.readouterr().out
    assert "digits for tinyml/qemu-m7 (cortex-m7), C name tvmgen_default_run" in out
    (row,) = (line for line in out.splitlines() if "│ 6 │ qconv2d " in line)
    cells = [cell.strip() for cell in row.split("│")]
    assert cells[1:6] == ["6", "qconv2d", "conv_6", "1x4x4x32", "16,384"]
    # SMLAD; SMMLA and SSAT per output; 32 by 32 weights, 8 bytes a channel and 56 of sizes, loaded and split; 512 bytes
    # in and out
    assert int(cells[6].replace(",", "")) == 16_384 // 2 + 2 * 512 + 2 * (1024 + 8 * 32 + 56) // 4 + 2 * 512 // 4


def test_inspect_as_json(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(archive)]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["module_name"], info["model"], info["macs"]) == ("default", "digits", 49_216)
    layer = info["layers"][6]
    assert (layer["op"], layer["output_shape"], layer["macs"]) == ("qconv2d", [1, 4, 4, 32], 16_384)
    assert layer["macs"] / 2 < layer["floor_instructions"] < layer["macs"]


@pytest.mark.parametrize("device", ["native", pytest.param("qemu", marks=pytest.mark.qemu)])
def test_a_batch_runs_and_gives_the_reference_s_outputs(device: str, archive: Path, few: Path, tmp_path: Path) -> None:
    y = tmp_path / "y.npz"
    assert main(["run", str(archive), "--device", device, "--inputs", str(few), "--outputs", str(y)]) == 0
    got, expected = _arrays(y), _arrays(few)["outputs"]
    assert got.keys() == {"probabilities", "outputs"}
    for array in got.values():
        np.testing.assert_array_equal(array, expected, strict=True)


def test_an_input_by_its_name_and_without_a_batch(archive: Path, few: Path, tmp_path: Path) -> None:
    y = tmp_path / "y.npz"
    np.savez(tmp_path / "one.npz", image=_arrays(few)["inputs"][2])
    assert main(["run", str(archive), "-i", str(tmp_path / "one.npz"), "-o", str(y)]) == 0
    np.testing.assert_array_equal(_arrays(y)["outputs"], _arrays(few)["outputs"][2], strict=True)


@pytest.mark.qemu
def test_the_json_report_has_the_promised_keys(archive: Path, few: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = ["run", str(archive), "--device", "qemu", "--board", "nrf52840dk", "-i", str(few), "--json", str(path)]
    assert main(command) == 0
    report = json.loads(path.read_text())
    assert list(report) == [
        *("model", "target", "board", "macs", "executed_macs"),
        *("instructions", "instructions_min", "instructions_max", "instruction_mix"),
        *("modelled_cycles", "cycle_model", "cycles", "cycle_counter", "ram", "flash", "layers"),
    ]
    assert (report["model"], report["target"], report["board"]) == ("digits", "tinyml/qemu-m7", "nrf52840dk")
    keys = ["arena_bytes", "io_bytes", "data_bss_bytes", "stack_bytes", "total_bytes", "weights_bytes", "memories"]
    assert list(report["ram"]) == keys
    assert list(report["flash"]) == ["code_bytes", "weights_bytes", "total_bytes", "external_bytes"]
    assert report["ram"]["memories"] == {"sram": report["ram"]["total_bytes"]}
    keys = ["name", "op", "output_shape", "macs", "instructions", "share", "instructions_per_mac"]
    assert all(list(layer) == [*keys, "floor_instructions", "modelled_cycles"] for layer in report["layers"])
    assert sum(layer["share"] for layer in report["layers"]) == pytest.approx(1, abs=0.01)
    assert all(layer["floor_instructions"] < layer["instructions"] for layer in report["layers"])
    # Inputs and outputs are part of the arena.
    parts = [report["ram"][k] for k in ("arena_bytes", "data_bss_bytes", "stack_bytes")]
    assert report["ram"]["total_bytes"] == sum(parts)
    assert report["instructions_min"] <= report["instructions"] <= report["instructions_max"]
    assert 0 < sum(layer["instructions"] for layer in report["layers"]) <= report["instructions"]


@pytest.mark.qemu
def test_printing_times_layers_and_top_values(archive: Path, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(archive), "--device", "qemu", "-i", str(few), "--print-time", "--profile", "--print-top", "2"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "instructions per inference: mean " in out
    assert "│ qsoftmax" in out
    assert "modelled cycles" in out
    assert "a model, not measured: cortex-m7, memory without wait states" in out
    best = np.argsort(-_arrays(few)["outputs"][0, 0].astype(int), kind="stable")[0]
    assert f"probabilities: [{best}] {_arrays(few)['outputs'][0, 0, best]}" in out
    assert err == ""


@pytest.mark.parametrize("mode", ["zeros", "ones", "random"])
def test_inputs_can_be_made_up(mode: str, archive: Path, tmp_path: Path) -> None:
    outputs = []
    for name in ("a.npz", "b.npz"):
        assert main(["run", str(archive), "--fill-mode", mode, "-o", str(tmp_path / name)]) == 0
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]
    assert _arrays(tmp_path / "a.npz")["probabilities"].shape == (1, 10)


def test_the_onnx_model_gives_the_tflite_model_s_outputs(few: Path, tmp_path: Path) -> None:
    # Same weights and scales, float32 edges: with --quantized-io the host converts, with the same arithmetic.
    vectors = _arrays(few)
    images = (vectors["inputs"].astype(np.float32) + 128) * np.float32(1 / 255)
    np.savez(tmp_path / "float.npz", image=images.transpose(0, 1, 4, 2, 3))
    expected = (vectors["outputs"].astype(np.float32) + 128) * np.float32(1 / 256)
    for options in ([], ["--quantized-io"]):
        tar, y = tmp_path / "o.tar", tmp_path / "y.npz"
        assert main(["compile", str(demo.ONNX), "-o", str(tar), *options]) == 0
        assert main(["run", str(tar), "-i", str(tmp_path / "float.npz"), "-o", str(y)]) == 0
        np.testing.assert_array_equal(_arrays(y)["outputs"], expected, strict=True)


@pytest.mark.parametrize("platform", ["native", pytest.param("qemu", marks=pytest.mark.qemu)])
def test_the_way_of_a_project(
    platform: str,
    archive: Path,
    few: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project, y = tmp_path / "project", tmp_path / "y.npz"
    options = ["--project-option", "optimization=-O1", "verbose=false"]
    assert main(["micro", "create-project", str(project), str(archive), platform, *options]) == 0
    assert main(["micro", "build", str(project), platform]) == 0
    assert main(["micro", "flash", str(project), platform]) == 0
    assert main(["run", "--device", "micro", str(project), "-i", str(few), "-o", str(y)]) == 0
    np.testing.assert_array_equal(_arrays(y)["outputs"], _arrays(few)["outputs"], strict=True)
    capsys.readouterr()

    assert main(["micro", "build", str(project)]) == 1
    assert "is built already\nThings to try:\n  - build it again: --force" in capsys.readouterr().err
    assert main(["micro", "build", str(project), "--force"]) == 0
    assert main(["micro", "create", str(project), str(archive), platform]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["micro", "create", "-f", str(project), str(archive), platform]) == 0
    assert not (project / "build").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []

    # As the project's own README says, in its folder.
    (commands,) = re.findall(r"```sh\n(.*?)```", (project / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(project)
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "tvmc"
        assert main(arguments) == 0, command
    assert (project / "outputs.npz").is_file()


def test_a_failed_replacement_keeps_the_old_project(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    assert main(["micro", "create", str(project), str(archive), "native"]) == 0
    command = ["micro", "create", "-f", str(project), str(tmp_path / "none.tar"), "native"]
    assert main(command) == 1
    assert "none.tar" in capsys.readouterr().err
    assert (project / "microtvm_api_server.py").is_file()


def test_force_deletes_nothing_but_projects(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    assert main(["micro", "create", "-f", str(tmp_path / "thesis"), str(archive), "native"]) == 1
    assert "is not a project: --force does not delete it" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "precious"


def test_a_project_of_another_platform(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    assert main(["micro", "create", str(project), str(archive), "native"]) == 0
    assert main(["micro", "build", str(project), "qemu"]) == 1
    assert f"error: '{project}' was made for platform 'native', not 'qemu'" in capsys.readouterr().err
    assert main(["micro", "build", str(tmp_path / "none")]) == 1
    assert "make it: tvmc micro create-project" in capsys.readouterr().err
    assert main(["micro", "create", str(tmp_path / "p"), str(archive), "template"]) == 1
    assert "platform template needs --template-dir" in capsys.readouterr().err


def test_options_of_a_platform_are_listed(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["micro", "create", str(tmp_path / "p"), str(archive), "qemu", "--list-options"]) == 0
    out = capsys.readouterr().out
    assert "│ stack_bytes " in out
    assert not (tmp_path / "p").exists()
    assert main(["run", str(archive), "--device", "qemu", "--list-options"]) == 0
    assert "qemu: open_transport" in capsys.readouterr().out


def test_an_array_may_have_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), np.int8), "allow_pickle": np.zeros(1)}
    (tmp_path / "x.npz").write_bytes(npz_bytes(arrays))
    read = _arrays(tmp_path / "x.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


@pytest.mark.qemu
def test_the_demo_is_exact(tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    from tvm_tiny.cli.console import stdout_console
    from tvm_tiny.demo.demo import print_outcome, run_demo

    tool("qemu-system-arm")
    outcome = run_demo()
    assert outcome.is_exact
    assert (outcome.images, outcome.output_bytes) == (360, 3600)
    assert outcome.correct == outcome.reference_correct > 342
    print_outcome(outcome, stdout_console())
    out = capsys.readouterr().out
    assert "3,600 bytes: identical" in out
    for word in ("instructions", "RAM bytes", "flash bytes", f"({outcome.correct} of 360)"):
        assert word in out
