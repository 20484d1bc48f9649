"""The plain-C twins of every kernel that a tuner may choose, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.kernel_cases_weights import convolutions, depthwise
from tests.kernel_library import KernelLibrary
from tests.kernel_variants import variants

CPU = "cortex-m4"


def test_variants_match_the_reference(tmp_path: Path) -> None:
    candidates = [
        (case, decisions)
        for case in (*list(convolutions("tflm"))[::3], *depthwise("tflm"))
        for decisions in variants(case.call, CPU)
        if decisions["kernel"] != "general"
    ]
    kernels = {decisions["kernel"] for _, decisions in candidates}
    assert kernels == {"dsp", "dsp_3x3", "dsp_any", "dsp_compact", "dsp_narrow"}
    assert any(decisions.get("pixels") == 5 for _, decisions in candidates)
    library = KernelLibrary([case.kernel_call(CPU, decisions=d) for case, d in candidates], tmp_path)
    for index, (case, decisions) in enumerate(candidates):
        np.testing.assert_array_equal(library.run(index, ring=True)[0], case.expected, f"{case.name} {decisions}")
