"""scales.py, lut.py and reference.py against TFLite Micro's interpreter: every case of the operator table, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op_cases import OpCase, all_cases, interpreter_factors, oracle
from tests.tflite_evaluator import Evaluator

QUANTIZED = [case for case in all_cases() if not case.name.startswith("float-")]


@pytest.mark.parametrize("case", QUANTIZED, ids=lambda c: c.name)
def test_case_equals_tflite_micro(case: OpCase) -> None:
    model = case.model()
    evaluator = Evaluator(model, factors=interpreter_factors())
    for inputs in case.inputs():
        expected = oracle(model, inputs)
        outputs = evaluator.run(inputs)
        assert outputs.keys() == expected.keys()
        for name, want in expected.items():
            assert outputs[name].dtype == want.dtype
            np.testing.assert_array_equal(outputs[name], want, err_msg=f"{case.name}, output {name}, seed {case.seed}")
