"""Convolutions of Armv6-M: the C twins of assembly on the host against the NumPy reference, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernel_case import rng_of
from tests.kernel_cases import all_cases
from tests.kernel_library import KernelLibrary
from tests.segments import segments_of

CPU = "cortex-m0plus"


@pytest.mark.parametrize(
    ("op", "helper"), [("qconv2d", "tinyml_pixel_pairs"), ("qdepthwise_conv2d", "tinyml_depthwise_one")]
)
def test_kernels_with_assembly(op: str, helper: str, tmp_path: Path) -> None:
    cases = [(case, case.kernel_call(CPU)) for case in all_cases() if case.op == op]
    pairs = [(case, call) for case, call in cases if helper in str(call.kernel.func)]
    assert len(cases) > len(pairs) > len(cases) // 5
    # Four pixels at once, where they pay.
    assert op != "qconv2d" or any("tinyml_pixel_quads" in str(call.kernel.func) for _, call in pairs)
    library = KernelLibrary([call for _, call in pairs], tmp_path)
    for i, (case, _) in enumerate(pairs):
        np.testing.assert_array_equal(library.run(i)[0], case.expected, case.name)
        np.testing.assert_array_equal(library.run(i, ring=True)[0], case.expected, case.name)
    parts = tmp_path / "parts"
    parts.mkdir()
    segments = [replace(call, kernel=call.kernel.segment) for _, call in pairs if call.kernel.segment is not None]
    assert len(segments) == len(pairs)
    library = KernelLibrary(segments, parts)
    for i, (case, call) in enumerate(pairs):
        for at, got in segments_of(library, i, call, rng_of(case.name)):
            np.testing.assert_array_equal(got, case.expected[at], f"{case.name} {at}")


def test_a_weight_of_minus_128_would_overflow() -> None:
    case = next(c for c in all_cases() if c.op == "qconv2d" and "pixel_pairs" in str(c.kernel_call(CPU).kernel.func))
    weight = case.arrays[1].copy()
    weight.reshape(-1)[0] = -128
    changed = replace(case, arrays=(case.arrays[0], weight, *case.arrays[2:]))
    assert "pixel_pairs" not in str(changed.kernel_call(CPU).kernel.func)
