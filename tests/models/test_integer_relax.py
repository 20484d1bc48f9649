"""Whole models as the passes leave them, evaluated by the NumPy reference: exact before any kernel is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate import evaluate
from tests.op_cases import OpCase, all_cases, oracle
from tests.relax_builder import calls, simplified
from tvm_tiny.frontend import load_model
from tvm_tiny.ops import get_io
from tvm_tiny.passes import LowerQdq
from tvm_tiny.pipeline import Options

VECTORS = {
    "ad01_int8": 8,
    "kws_int8": 4,
    "resnet8_int8": 4,
    "vww96_int8": 2,
    "mcunet_vww": 1,
    "mobilenet_v2_224_int8": 1,
}


@pytest.mark.parametrize("name", VECTORS)
def test_shared_models_are_exact(name: str, shared_file: Callable[[str], Path]) -> None:
    mod = load_model(shared_file(f"models/{name}.tflite"))
    vectors = np.load(shared_file(f"vectors/{name}.npz"))
    for variant in (LowerQdq()(mod), simplified(mod)):
        for given, wanted in zip(vectors["inputs"][: VECTORS[name]], vectors["outputs"], strict=False):
            np.testing.assert_array_equal(evaluate(variant, given)[0], wanted)


def test_nothing_is_left_to_move(shared_file: Callable[[str], Path]) -> None:
    """Pads are folded; of the transposes only the one at the input of a model with NCHW input remains."""
    found = calls(simplified(load_model(shared_file("models/mobilenet_v2_224_int8.tflite"))))
    assert found.count("permute_dims") == 1
    assert found[0] == "permute_dims"
    assert "nn.pad" not in found


def test_quantized_io_converts_on_the_host(shared_file: Callable[[str], Path]) -> None:
    mod = simplified(load_model(shared_file("models/mcunet_vww.tflite")), Options(quantized_io=True))
    vectors = np.load(shared_file("vectors/mcunet_vww.npz"))
    (source,), (target,) = get_io(mod["main"]).inputs, get_io(mod["main"]).outputs
    assert (source.host_dtype, target.host_dtype) == ("float32", "float32")
    assert source.scale is not None
    assert target.scale is not None
    quotient = vectors["inputs"][0] / np.float32(source.scale)
    rounded = np.copysign(np.floor(np.abs(quotient) + np.float32(0.5)), quotient) + source.zero_point
    (got,) = evaluate(mod, np.clip(rounded, -128, 127).astype(np.int8))
    real = (got.astype(np.float32) - target.zero_point) * np.float32(target.scale)
    np.testing.assert_array_equal(real, vectors["outputs"][0])


QUANTIZED = [c for c in all_cases() if not c.name.startswith("float-")]


@pytest.mark.slow
@pytest.mark.parametrize("case", QUANTIZED, ids=lambda c: c.name)
def test_operator_cases_are_exact(case: OpCase) -> None:
    model = case.model()
    mod = simplified(load_model(model))
    for tensors in case.inputs():
        got = evaluate(mod, *(tensors[t.name] for t in get_io(mod["main"]).inputs))
        wanted = oracle(model, tensors)
        for io, array in zip(get_io(mod["main"]).outputs, got, strict=True):
            np.testing.assert_array_equal(array, wanted[io.name])
