"""Shared models on emulated cores: exact, and instructions and code within limits, in one run each."""

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
    ("mcunet_vww", "qemu-m4"): 14_382_203,
    ("mobilenet_v2_224_int8", "qemu-m4"): 287_050_637,
    ("ad01_int8", "qemu-m55"): 50_968,
    ("kws_int8", "qemu-m55"): 755_768,
    ("resnet8_int8", "qemu-m55"): 2_425_729,
    ("vww96_int8", "qemu-m55"): 1_535_791,
    ("mcunet_vww", "qemu-m55"): 4_123_719,
    ("mobilenet_v2_224_int8", "qemu-m55"): 74_029_771,
    ("ad01_int8", "qemu-m7"): 258_799,
    ("kws_int8", "qemu-m7"): 2_658_372,
    ("resnet8_int8", "qemu-m7"): 11_588_528,
    ("vww96_int8", "qemu-m7"): 4_597_500,
    ("mcunet_vww", "qemu-m7"): 14_382_075,
    ("mobilenet_v2_224_int8", "qemu-m7"): 287_061_999,
    ("kws_int8", "qemu-m33"): 2_657_896,
    ("vww96_int8", "qemu-m33"): 4_600_720,
}
# Cores without SIMD instructions.
MEASURED_SMALL = {
    ("kws_int8", "qemu-m3"): 8_463_507,
    ("resnet8_int8", "qemu-m3"): 37_374_988,
    ("vww96_int8", "qemu-m3"): 13_649_196,
    ("kws_int8", "rp2040"): 11_181_415,
    ("resnet8_int8", "rp2040"): 44_689_872,
    ("vww96_int8", "rp2040"): 15_685_145,
}
PER_MAC = 4.5
MODELS = ("ad01_int8", "kws_int8", "resnet8_int8", "vww96_int8", "mcunet_vww", "mobilenet_v2_224_int8")
# The emulator takes longest for these: on a Cortex-M4 all inputs, elsewhere the first.
LONG = ("mobilenet_v2_224_int8",)
# These run a Cortex-M4's kernels: the first input only.
LIKE_M4 = ("qemu-m7", "qemu-m33")
# In less code, the first input only, and not planned for the smallest RAM, which changes no kernel.
LESS = [
    *((model, "qemu-m4", "size") for model in MODELS),
    *((model, "qemu-m55", "size") for model in MODELS if model not in LONG),
    *((model, "qemu-m4", "balanced") for model in MODELS[2:5]),
]
QUICK = ("ad01_int8", "kws_int8", "vww96_int8")

RUNS = [
    pytest.param(*run, marks=[] if run[0] in QUICK and run[2] == "speed" else [pytest.mark.slow])
    for run in [*((model, board, "speed") for model, board in [*MEASURED, *MEASURED_SMALL]), *LESS]
]


@pytest.mark.qemu
@pytest.mark.parametrize(("model", "board", "optimize"), RUNS)
def test_exact_and_within_limits(
    model: str, board: str, optimize: str, shared_file: Callable[[str], Path], tmp_path: Path
) -> None:
    vectors = np.load(shared_file(f"vectors/{model}.npz"))
    all_inputs = optimize == "speed" and board not in LIKE_M4 and (model not in LONG or board == "qemu-m4")
    count = len(vectors["inputs"]) if all_inputs else 1
    path = shared_file(f"models/{model}.tflite")
    effort = "default" if optimize == "speed" else "fast"
    archive = compile_model(path, f"tinyml/{board}", optimize=optimize, effort=effort).export(tmp_path / "model.tar")
    result = run_model(archive, device="qemu", inputs={"inputs": vectors["inputs"][:count]})
    (output,) = result.outputs.values()
    np.testing.assert_array_equal(output, vectors["outputs"][:count], strict=True)
    report = result.report
    assert report.instructions is not None
    if optimize == "speed":
        limit = MEASURED.get((model, board)) or MEASURED_SMALL[model, board]
        assert report.instructions <= limit * MARGIN
    if (model, board) in MEASURED_SMALL:
        assert report.instructions <= PER_MAC * report.to_dict()["executed_macs"]
        return  # packed for two pixels in a word: more bytes than in the file
    assert report.flash.code_bytes is not None
    assert report.flash.code_bytes <= CODE_LIMITS[optimize]
    assert report.flash.weights_bytes <= _constants_bytes(path)


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
