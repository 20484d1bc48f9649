"""Rows handed in one at a time on an emulated core: bits, bytes of RAM and instructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model

# Bytes of RAM, stack and static data included, that a model may take.
LIMITS = {
    "kws_int8": 7_400,
    "resnet8_int8": 15_000,
    "vww96_int8": 17_500,
    "mcunet_vww": 20_000,
    "mobilenet_v2_224_int8": 130_000,
}
QUICK = ("kws_int8", "resnet8_int8")


@pytest.mark.qemu
@pytest.mark.parametrize("model", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in LIMITS])
def test_shared_models(model: str, shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    vectors = np.load(shared_file(f"vectors/{model}.npz"))
    path = shared_file(f"models/{model}.tflite")
    # The float32 input of mcunet_vww alone has 76,800 bytes.
    compiled = compile_model(path, "tinyml/qemu-m4", stream_input=True, quantized_io=model == "mcunet_vww")
    archive = compiled.export(tmp_path / "model.tar")
    result = run_model(archive, device="qemu", inputs={"inputs": vectors["inputs"]}, check_stores=model in QUICK)
    (got,) = result.outputs.values()
    np.testing.assert_array_equal(got, vectors["outputs"], strict=True)
    report = result.report
    assert report.ram.total_bytes is not None
    assert report.ram.total_bytes <= LIMITS[model]
    assert report.executed_macs <= report.macs  # less where channels are dead


@pytest.mark.qemu
def test_many_calls_take_hardly_more_than_one(shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Instructions of all 49 calls, against those of one call that has the whole input."""
    given = np.load(shared_file("vectors/kws_int8.npz"))["inputs"][:1]
    instructions = []
    for streamed in (False, True):
        model = compile_model(
            shared_file("models/kws_int8.tflite"), "tinyml/qemu-m4", stream_input=streamed, fusion="rows"
        )
        archive = model.export(tmp_path / f"{streamed}.tar")
        report = run_model(archive, device="qemu", inputs={"inputs": given}).report
        assert report.instructions is not None
        instructions.append(report.instructions)
        assert sum(layer.instructions or 0 for layer in report.layers) > 0.99 * report.instructions
    whole, rows = instructions
    assert whole < rows < 1.01 * whole
