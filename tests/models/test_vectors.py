"""The models of ../shared reproduce TFLite Micro's outputs to the last bit on the host; cores are in tests/qemu."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.native import build_library
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.measure import run_model

MODELS = ("ad01_int8", "kws_int8", "resnet8_int8", "vww96_int8", "mcunet_vww", "mobilenet_v2_224_int8")


def compiled(path: Path, board: str, **options: bool) -> CompiledModel:
    return compile_model(path, f"tinyml/{board}", **options)


@pytest.mark.parametrize("model", MODELS)
def test_native(model: str, shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    vectors = np.load(shared_file(f"vectors/{model}.npz"))
    library = build_library([compiled(shared_file(f"models/{model}.tflite"), "qemu-m7")], tmp_path)
    for i, (given, expected) in enumerate(zip(vectors["inputs"], vectors["outputs"], strict=True)):
        (got,) = library.run("default", [given])
        np.testing.assert_array_equal(got, expected, err_msg=f"{model}, vector {i}", strict=True)


def test_quantized_io_gives_the_same_floats(shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    vectors = np.load(shared_file("vectors/mcunet_vww.npz"))
    model = compiled(shared_file("models/mcunet_vww.tflite"), "qemu-m7", quantized_io=True)
    assert [t["dtype"] for t in model.report()["inputs"]] == ["int8"]
    archive = model.export(tmp_path / "model.tar")
    result = run_model(archive, device="native", inputs={"inputs": vectors["inputs"]})
    (got,) = result.outputs.values()
    np.testing.assert_array_equal(got, vectors["outputs"], strict=True)
