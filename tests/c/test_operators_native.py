"""Every operator case, compiled to C and run on the host, is TFLite Micro's answer to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.native import build_library
from tests.op_cases import OpCase, all_cases, oracle
from tvm_tiny.compiler import compile_model

OPERATORS = sorted({case.operator for case in all_cases()})


def difference(case: OpCase, got: NDArray[Any], expected: NDArray[Any]) -> str | None:
    """What is wrong, or None. Only floats summed in another order may differ, by the case's own tolerance."""
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return f"{case.name}: {got.dtype} {got.shape} instead of {expected.dtype} {expected.shape}"
    if case.rtol:
        scale = np.abs(expected).max(initial=0)
        if np.allclose(got, expected, rtol=case.rtol, atol=case.rtol * scale, equal_nan=True):
            return None
    elif np.array_equal(got, expected, equal_nan=got.dtype.kind == "f"):
        return None
    wrong = np.flatnonzero(got.reshape(-1) != expected.reshape(-1))
    first = wrong[0]
    return (
        f"{case.name}: {wrong.size} of {got.size} differ, first at {first}: "
        f"{got.reshape(-1)[first]} instead of {expected.reshape(-1)[first]}"
    )


@pytest.mark.parametrize("operator", OPERATORS)
def test_operator(operator: str, tmp_path: Path) -> None:
    cases = [case for case in all_cases() if case.operator == operator]
    models = [compile_model(case.model(), "tinyml/qemu-m7", module_name=f"case{i}") for i, case in enumerate(cases)]
    library = build_library(models, tmp_path)
    problems = []
    for i, (case, model) in enumerate(zip(cases, models, strict=True)):
        report = model.report()
        for inputs in case.inputs():
            expected = oracle(case.model(), inputs)
            got = library.run(f"case{i}", [inputs[t["name"]] for t in report["inputs"]])
            for tensor, array in zip(report["outputs"], got, strict=True):
                problem = difference(case, array, expected[tensor["name"]])
                problems += [problem] if problem else []
    assert not problems, "\n".join(problems)
