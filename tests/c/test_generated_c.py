"""C of a sample of all operators: sanitizers find nothing, and neither strict warnings nor cppcheck have a word to say.

`make test-sanitized` has all native tests run under AddressSanitizer and UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.c.test_kernels import STRICT
from tests.fuzz.firmware import run_on_board
from tests.kernel_library import run_tool
from tests.op_cases import OpCase, all_cases, oracle
from tvm_tiny import demo
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import RunError

SANITIZE = {"sanitize": True, "optimization": "-O1"}
# A core without SIMD instructions, one with, one with vectors: the host runs the plain-C twins of their kernels.
TARGETS = ("tinyml/qemu-m3", "tinyml/qemu-m7", "tinyml/qemu-m55", "tinyml/rp2040")
SAMPLE = 40
"""Every so many of the operator cases are taken."""


@pytest.fixture(scope="module")
def sample() -> list[tuple[OpCase, CompiledModel]]:
    """Operator cases, compiled for the targets in turn."""
    cases = [case for case in all_cases()[::SAMPLE] if not case.rtol]
    return [
        (
            case,
            compile_model(
                case.model(), TARGETS[i % len(TARGETS)], module_name=f"case{i}", caller_io=i // len(TARGETS) % 2 == 0
            ),
        )
        for i, case in enumerate(cases)
    ]


def test_sanitizers_find_nothing(
    sample: list[tuple[OpCase, CompiledModel]], tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """Arenas, constants, inputs and outputs are objects of exactly their size."""
    tool("gcc")
    sets = [case.inputs() for case, _ in sample]
    models = [model for _, model in sample]
    outputs = run_on_board(models, sets, tmp_path, device="native", project_options=SANITIZE)
    for (case, _), got in zip(sample, outputs, strict=True):
        for inputs, answer in zip(case.inputs(), got, strict=True):
            for name, expected in oracle(case.model(), inputs).items():
                np.testing.assert_array_equal(answer[name], expected, case.name)


def write_sources(model: CompiledModel, folder: Path) -> list[str]:
    """The model's C files, headers beside them."""
    files = {folder / Path(path).name: content for path, content in model.files.items() if path.endswith((".c", ".h"))}
    for file, content in files.items():
        file.write_bytes(content)
    return [str(file) for file in files if file.suffix == ".c"]


def test_warnings(
    sample: list[tuple[OpCase, CompiledModel]], digits: CompiledModel, tmp_path: Path, arm_gcc: list[str]
) -> None:
    """No conversion that is not written down, no array of variable length."""
    for model in (digits, *(model for _, model in sample)):
        sources = write_sources(model, tmp_path)
        flags = [*model.board.cpu.gcc_flags, "-std=c99", *STRICT, "-Wvla", "-fsyntax-only", f"-I{tmp_path}"]
        run_tool([*arm_gcc, *flags, *sources])


@pytest.mark.parametrize("defines", [("TINYML_PORTABLE",), ("__GNUC__=12", "__arm__=1", "__ARM_FEATURE_DSP=1")])
def test_cppcheck(defines: tuple[str, ...], digits: CompiledModel, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """Negative numbers are shifted right, which is arithmetic with all compilers for Arm, as the header says."""
    sources = write_sources(digits, tmp_path)
    checks = ["--enable=warning,performance,portability", "--suppress=shiftTooManyBitsSigned", "--std=c99"]
    command = [tool("cppcheck"), "--quiet", "--error-exitcode=1", *checks, *(f"-D{d}" for d in defines)]
    run_tool([*command, f"-I{tmp_path}", *sources])


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
