"""A fixed part of `make test-sanitized`: models under AddressSanitizer and UndefinedBehaviorSanitizer, always run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.firmware import run_on_board
from tests.op_cases import all_cases, oracle
from tvm_tiny import demo
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import RunError

SANITIZE = {"sanitize": True, "optimization": "-O1"}
# A core without SIMD instructions, one with, one with vectors: the host runs the plain-C twins of their kernels.
TARGETS = ("tinyml/qemu-m3", "tinyml/qemu-m7", "tinyml/qemu-m55", "tinyml/rp2040")
SAMPLE = 40
"""Every so many of the operator cases are taken."""


def test_operators(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """Arenas, constants, inputs and outputs are objects of exactly their size."""
    tool("gcc")
    cases = [case for case in all_cases()[::SAMPLE] if not case.rtol]
    targets = (TARGETS[i % len(TARGETS)] for i in range(len(cases)))
    models = [
        compile_model(case.model(), target, module_name=f"case{i}", caller_io=i % 2 == 0)
        for i, (case, target) in enumerate(zip(cases, targets, strict=False))
    ]
    sets = [case.inputs() for case in cases]
    outputs = run_on_board(models, sets, tmp_path, device="native", project_options=SANITIZE)
    for case, got in zip(cases, outputs, strict=True):
        for inputs, answer in zip(case.inputs(), got, strict=True):
            for name, expected in oracle(case.model(), inputs).items():
                np.testing.assert_array_equal(answer[name], expected, case.name)


@pytest.fixture(scope="module")
def digits() -> CompiledModel:
    return compile_model(demo.TFLITE, "tinyml/qemu-m7")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("workspace[{size}]", "workspace[{size} - 200]", "AddressSanitizer: global-buffer-overflow"),
        ("  return 0;\n", "  return 0x7fffffff + (*(uint8_t*)workspace | 1);\n", "runtime error: signed integer"),
    ],
)
def test_what_is_wrong_is_found(
    old: str, new: str, problem: str, digits: CompiledModel, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """An arena without its end, a sum that overflows."""
    tool("gcc")
    size = digits.plan.arena_bytes
    name = "codegen/host/src/default_lib0.c"
    text = digits.files[name].decode()
    assert text.count(old.format(size=size)) == 1
    changed = text.replace(old.format(size=size), new.format(size=size))
    wrong = replace(digits, files={**digits.files, name: changed.encode()})
    with np.load(demo.TEST_SET) as arrays:
        given = {"inputs": arrays["inputs"][0]}
    with pytest.raises(RunError, match=rf"(?s)process ended.*{problem}"):
        run_on_board([wrong], [[given]], tmp_path, device="native", project_options=SANITIZE)
