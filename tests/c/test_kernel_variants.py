"""The plain-C twins of every kernel that a tuner may choose, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel_case import KernelCase
from tests.kernel_cases_weights import convolutions, depthwise
from tests.kernel_library import KernelLibrary
from tests.kernel_variants import variants
from tvm_tiny.schedules import Decisions

CPU = "cortex-m4"
CANDIDATES: list[tuple[KernelCase, Decisions]] = [
    (case, decisions)
    for case in (*list(convolutions("tflm"))[::2], *depthwise("tflm"))
    for decisions in variants(case.call, CPU)
    if decisions["kernel"] != "general"
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    calls = [case.kernel_call(CPU, decisions=decisions) for case, decisions in CANDIDATES]
    return KernelLibrary(calls, tmp_path_factory.mktemp("variants"))


@pytest.mark.parametrize("index", range(len(CANDIDATES)))
def test_variant_matches_reference(index: int, library: KernelLibrary) -> None:
    case, decisions = CANDIDATES[index]
    np.testing.assert_array_equal(library.run(index, ring=True)[0], case.expected, f"{case.name} {decisions}")


def test_every_kernel_is_among_them() -> None:
    kernels = {decisions["kernel"] for _, decisions in CANDIDATES}
    assert kernels == {"dsp", "dsp_3x3", "dsp_any", "dsp_compact", "dsp_narrow"}
