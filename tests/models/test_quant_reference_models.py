"""The NumPy reference on whole models equals the vectors, which TFLite Micro computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tflite_evaluator import Evaluator

MODELS = ["ad01_int8", "kws_int8", "mcunet_vww", "mobilenet_v2_224_int8", "resnet8_int8", "vww96_int8"]


@pytest.mark.parametrize("name", MODELS)
def test_reference_equals_vectors(name: str, shared_file: Callable[[str], Path]) -> None:
    evaluator = Evaluator(shared_file(f"models/{name}.tflite").read_bytes())
    vectors = np.load(shared_file(f"vectors/{name}.npz"))
    input_name = evaluator.name(evaluator.graph.Inputs(0))
    for inputs, want in zip(vectors["inputs"], vectors["outputs"], strict=True):
        (got,) = evaluator.run({input_name: inputs}).values()
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_single_rounding_is_another_arithmetic(shared_file: Callable[[str], Path]) -> None:
    evaluator = Evaluator(shared_file("models/resnet8_int8.tflite").read_bytes(), rounding="single")
    vectors = np.load(shared_file("vectors/resnet8_int8.npz"))
    inputs = {evaluator.name(evaluator.graph.Inputs(0)): vectors["inputs"][0]}
    evaluator.run(inputs)
    single = dict(evaluator.values)
    double = Evaluator(shared_file("models/resnet8_int8.tflite").read_bytes())
    double.run(inputs)
    assert any(not np.array_equal(single[i], double.values[i]) for i in single)
