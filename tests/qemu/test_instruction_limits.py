"""Kernels do not get slower or larger unnoticed: instructions and code of models stay within limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite

from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model

MARGIN = 1.03
# Code beside the weights, in bytes.
CODE_LIMITS = {"speed": 24_000, "balanced": 24_000, "size": 12_000}
# Measured with gcc 12.2 at -O2.
MEASURED = {
    ("ad01_int8", "qemu-m4"): 258_797,
    ("kws_int8", "qemu-m4"): 2_656_937,
    ("resnet8_int8", "qemu-m4"): 11_578_944,
    ("vww96_int8", "qemu-m4"): 4_596_345,
    ("ad01_int8", "qemu-m55"): 50_968,
    ("kws_int8", "qemu-m55"): 755_768,
    ("resnet8_int8", "qemu-m55"): 2_425_729,
    ("vww96_int8", "qemu-m55"): 1_535_791,
    ("ad01_int8", "qemu-m7"): 258_799,
    ("kws_int8", "qemu-m7"): 2_658_372,
    ("resnet8_int8", "qemu-m7"): 11_588_528,
    ("vww96_int8", "qemu-m7"): 4_597_500,
}
# Cores without SIMD instructions, one inference.
MEASURED_SMALL = {
    ("kws_int8", "qemu-m3"): 8_463_507,
    ("resnet8_int8", "qemu-m3"): 37_374_988,
    ("vww96_int8", "qemu-m3"): 13_649_196,
    ("kws_int8", "rp2040"): 11_181_415,
    ("resnet8_int8", "rp2040"): 44_689_872,
    ("vww96_int8", "rp2040"): 15_685_145,
}
PER_MAC = 4.5


@pytest.mark.qemu
@pytest.mark.parametrize(("model", "board"), list(MEASURED_SMALL))
def test_instructions_per_product(model: str, board: str, shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    vectors = np.load(shared_file(f"vectors/{model}.npz"))
    archive = compile_model(shared_file(f"models/{model}.tflite"), f"tinyml/{board}").export(tmp_path / "model.tar")
    result = run_model(archive, device="qemu", inputs={"inputs": vectors["inputs"][:1]})
    (output,) = result.outputs.values()
    np.testing.assert_array_equal(output, vectors["outputs"][:1], strict=True)
    report = result.report
    assert report.instructions is not None
    assert report.instructions <= MEASURED_SMALL[model, board] * MARGIN
    assert report.instructions <= PER_MAC * report.to_dict()["executed_macs"]


@pytest.mark.qemu
@pytest.mark.parametrize(("model", "board"), list(MEASURED))
def test_instructions(model: str, board: str, shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    given = np.load(shared_file(f"vectors/{model}.npz"))["inputs"][:2]
    path = shared_file(f"models/{model}.tflite")
    archive = compile_model(path, f"tinyml/{board}").export(tmp_path / "model.tar")
    report = run_model(archive, device="qemu", inputs={"inputs": given}).report
    assert report.instructions is not None
    assert report.instructions <= MEASURED[model, board] * MARGIN
    assert report.flash.code_bytes is not None
    assert report.flash.code_bytes <= CODE_LIMITS["speed"]
    assert report.flash.weights_bytes <= _constants_bytes(path)


QUICK, SLOW = ("ad01_int8", "kws_int8"), ("resnet8_int8", "vww96_int8", "mcunet_vww", "mobilenet_v2_224_int8")
# Of the first two and of resnet8_int8 and vww96_int8 at speed test_instructions() knows.
CODE = [
    *((model, "size", board) for model in QUICK for board in ("qemu-m4", "qemu-m55")),
    *((model, "size", board) for model in SLOW for board in ("qemu-m4", "qemu-m55")),
    *((model, "balanced", "qemu-m4") for model in SLOW[:3]),
    *((model, "speed", board) for model in SLOW[2:] for board in ("qemu-m4", "qemu-m55")),
]


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("model", "optimize", "board"),
    [pytest.param(*each, marks=[pytest.mark.slow] if each[0] in SLOW else []) for each in CODE],
)
def test_code_size(model: str, optimize: str, board: str, shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Shared models in less code; what they answer stays what it is."""
    vectors = np.load(shared_file(f"vectors/{model}.npz"))
    path = shared_file(f"models/{model}.tflite")
    compiled = compile_model(path, f"tinyml/{board}", optimize=optimize)
    result = run_model(compiled.export(tmp_path / "model.tar"), device="qemu", inputs={"inputs": vectors["inputs"][:1]})
    (output,) = result.outputs.values()
    np.testing.assert_array_equal(output, vectors["outputs"][:1], strict=True)
    flash = result.report.flash
    assert flash.code_bytes is not None
    assert flash.code_bytes <= CODE_LIMITS[optimize]
    assert flash.weights_bytes <= _constants_bytes(path)


def _constants_bytes(path: Path) -> int:
    """What a model file has for its operators: weights, biases, their scales and zero points."""
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    read = {operator.Inputs(i) for operator in operators for i in range(operator.InputsLength())} - {-1}
    total = 0
    for tensor in map(graph.Tensors, read):
        data = model.Buffers(tensor.Buffer()).DataLength()
        quantization = tensor.Quantization()
        if data:
            total += data
            total += 4 * quantization.ScaleLength() + 8 * quantization.ZeroPointLength() if quantization else 0
    return total
