"""run_model: archive and arrays in, arrays and report out, on every kind of device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fake_archive import expected_outputs
from tests.qemu.conftest import ProjectDir
from tvm_tiny.errors import ArtifactError, InputDataError, OptionError, RunError
from tvm_tiny.measure import run_model

pytestmark = pytest.mark.qemu

RNG = np.random.default_rng(3)
X = RNG.integers(-100, 100, (4, 1, 16)).astype(np.int8)
BIAS = RNG.uniform(-40, 40, (4, 1, 4)).astype(np.float32)  # quantized by the host: scale 0.5, zero point -3
OUTSIDE = 126


def expected() -> dict[str, np.ndarray]:
    scaled = BIAS.astype(np.float64) / 0.5
    bias = np.clip(np.trunc(scaled + np.copysign(0.5, scaled)) - 3, -128, 127).astype(np.int8)
    pairs = [expected_outputs(x, b) for x, b in zip(X, bias, strict=True)]
    return {"y": np.stack([y for y, _ in pairs]), "totals": np.stack([t for _, t in pairs])}


def assert_outputs(outputs: dict[str, np.ndarray]) -> None:
    assert outputs.keys() == expected().keys()
    for name, array in expected().items():
        np.testing.assert_array_equal(outputs[name], array, strict=True)


def test_native(fake_archive: Path, tool: Callable[[str], str]) -> None:
    tool("gcc")
    result = run_model(fake_archive, device="native", inputs={"x:0": X, "bias": BIAS})
    assert_outputs(result.outputs)
    content = result.report.to_dict()
    assert (content["board"], content["instructions"], result.counts) == ("native", None, None)
    assert all(stats.seconds is not None for stats in result.stats)


def test_qemu(fake_archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    done: list[tuple[int, int]] = []
    result = run_model(
        fake_archive,
        device="qemu",
        inputs={"x:0": X, "bias": BIAS},
        project_dir=tmp_path / "p",
        check_stores=True,
        on_progress=lambda i, n: done.append((i, n)),
    )
    assert_outputs(result.outputs)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    content = result.report.to_dict()
    assert content["board"] == "qemu-m4"  # the one the model was compiled for
    assert content["instructions_min"] <= content["instructions"] <= content["instructions_max"]
    scale, totals = (layer["instructions"] for layer in content["layers"])
    assert scale > 16 * 4  # a load, a multiplication, a division and a store for each of 16 values
    assert totals > 64 * 3
    outside = content["instructions"] - scale - totals
    assert 4 <= outside <= 40
    assert content["ram"]["arena_bytes"] == 64
    assert content["ram"]["io_bytes"] == 52
    assert content["ram"]["data_bss_bytes"] == 4  # one counter
    assert 16 <= content["ram"]["stack_bytes"] <= 64
    assert content["flash"]["weights_bytes"] == 64
    assert 200 <= content["flash"]["code_bytes"] <= 600
    # The same project, built and on disk, as "micro".
    again = run_model(None, device="micro", project_dir=tmp_path / "p", inputs={"x:0": X, "bias": BIAS})
    assert_outputs(again.outputs)
    assert again.report == result.report


def test_one_inference_without_a_batch(fake_project: ProjectDir) -> None:
    folder = fake_project("qemu-m4")
    result = run_model(None, device="micro", project_dir=folder, inputs={"x:0": X[1], "bias": BIAS[1]})
    np.testing.assert_array_equal(result.outputs["totals"], expected()["totals"][1], strict=True)


def test_stores_outside_are_found(fake_project: ProjectDir) -> None:
    x = np.zeros((1, 16), np.int8)
    x[0, 0] = OUTSIDE
    inputs = {"x:0": x, "bias": BIAS[0]}
    folder = fake_project("qemu-m4")
    run_model(None, device="micro", project_dir=folder, inputs=inputs)
    with pytest.raises(RunError, match=r"writes outside .*\n  \w+ \(misbehave\+0x\w+\) writes to 20\w{6}"):
        run_model(None, device="micro", project_dir=folder, inputs=inputs, check_stores=True)


def test_wrong_uses(fake_archive: Path, tmp_path: Path) -> None:
    inputs = {"x:0": X, "bias": BIAS}
    with pytest.raises(OptionError, match="unknown device 'cuda'; known: native, qemu, board, micro"):
        run_model(fake_archive, device="cuda", inputs=inputs)
    with pytest.raises(OptionError, match="device 'micro' needs a project directory"):
        run_model(None, device="micro", inputs=inputs)
    with pytest.raises(OptionError, match="takes its board from the project"):
        run_model(None, device="micro", board="qemu-m4", project_dir=tmp_path, inputs=inputs)
    with pytest.raises(OptionError, match="needs a Model Library Format archive"):
        run_model(None, device="qemu", inputs=inputs)
    with pytest.raises(ArtifactError):
        run_model(tmp_path / "none.tar", device="qemu", inputs=inputs)
    with pytest.raises(InputDataError, match="no 'bias'"):  # before anything is built
        run_model(fake_archive, device="qemu", inputs={"x:0": X}, project_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()
    with pytest.raises(OptionError, match="unknown board 'qemu-m99'"):
        run_model(fake_archive, device="qemu", board="qemu-m99", inputs=inputs, project_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()
