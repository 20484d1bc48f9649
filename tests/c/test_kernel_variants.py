"""The plain-C twins of kernels that only a tuner chooses, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.kernel_cases_weights import convolutions, depthwise
from tests.kernel_library import KernelLibrary
from tests.kernel_variants import variants

CPU = "cortex-m4"
CASES = ("2d-pointwise", "2d-3x3-same", "2d-first-audio", "2d-larger-than-image", "3x3-odd", "3x3-stride", "3x3-valid")


def test_variants_match_the_reference(tmp_path: Path) -> None:
    candidates = [
        (case, decisions)
        for case in (*convolutions("tflm"), *depthwise("tflm"))
        if case.name.removesuffix("-relu").endswith(CASES)
        for decisions in variants(case.call, CPU)
        if decisions["kernel"] == "dsp_narrow" or decisions.get("pixels") == 5
    ]
    assert {decisions["kernel"] for _, decisions in candidates} == {"dsp", "dsp_narrow"}
    library = KernelLibrary([case.kernel_call(CPU, decisions=d) for case, d in candidates], tmp_path)
    for index, (case, decisions) in enumerate(candidates):
        np.testing.assert_array_equal(library.run(index, ring=True)[0], case.expected, f"{case.name} {decisions}")
