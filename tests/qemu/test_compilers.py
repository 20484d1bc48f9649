"""Generated C answers the same whichever compiler makes machine code of it, at whatever level; its stack is bounded.

Always a few of all combinations, in which each model meets each compiler and each level; TVM_TINY_COMPILERS=all is
`make test-compilers`: all levels of both compilers for all models, the small ones on all cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.arm_compilers import toolchain
from tvm_tiny import demo
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.measure.stack_bound import stack_bound

pytestmark = pytest.mark.qemu

ALL = os.environ.get("TVM_TINY_COMPILERS") == "all"
BOARDS = ("qemu-m4", "qemu-m55", "rp2040", "qemu-m3", "qemu-m7", "qemu-m33")
SMALL = ("digits", "ad01_int8", "kws_int8")
LARGE = ("resnet8_int8", "vww96_int8", "mcunet_vww", "mobilenet_v2_224_int8")
# Clang's link time optimization needs a linker of LLVM's.
LEVELS = [("gcc", level) for level in ("-O0", "-Os", "-O2", "-O3", "-O2 -flto")]
LEVELS += [("clang", level) for level in ("-O0", "-Os", "-O2", "-O3")]
# Beside gcc at -O2, which all other tests take.
SOME = [
    ("digits", "qemu-m4", "gcc", "-O0"),
    ("digits", "qemu-m4", "gcc", "-O2 -flto"),
    ("digits", "qemu-m55", "clang", "-Os"),
    ("digits", "rp2040", "clang", "-O2"),
    ("digits", "qemu-m55", "clang", "-O3"),
    ("ad01_int8", "qemu-m3", "gcc", "-Os"),
    ("ad01_int8", "qemu-m55", "gcc", "-O2 -flto"),
    ("ad01_int8", "qemu-m55", "gcc", "-O3"),
    ("ad01_int8", "qemu-m3", "clang", "-O0"),
    ("ad01_int8", "qemu-m4", "clang", "-O2"),
]
EVERY = [(model, board, *level) for model in SMALL for board in BOARDS for level in LEVELS]
EVERY += [(model, "qemu-m4", *level) for model in LARGE for level in LEVELS]
# Between what a run takes and what the call graph allows: the deepest functions may meet in no layer of the model.
STACK_GAP_BYTES = 128

Vectors = tuple[NDArray[np.generic], NDArray[np.generic]]


@pytest.fixture(scope="module")
def compiled(
    shared_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], tuple[Path, Vectors]]:
    """``compiled(model, board)``: the archive, and inputs with what they give."""
    known: dict[tuple[str, str], Path] = {}

    def get(model: str, board: str) -> tuple[Path, Vectors]:
        path = demo.TFLITE if model == "digits" else shared_file(f"models/{model}.tflite")
        vectors = demo.TEST_SET if model == "digits" else shared_file(f"vectors/{model}.npz")
        if (model, board) not in known:
            target = tmp_path_factory.mktemp("model") / f"{model}.tar"
            known[model, board] = compile_model(path, f"tinyml/{board}").export(target)
        with np.load(vectors) as arrays:
            return known[model, board], (arrays["inputs"][:2], arrays["outputs"][:2])

    return get


@pytest.mark.parametrize(("model", "board", "compiler", "flags"), EVERY if ALL else SOME)
def test_outputs(
    model: str,
    board: str,
    compiler: str,
    flags: str,
    compiled: Callable[[str, str], tuple[Path, Vectors]],
    arm_gcc: list[str],
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    archive, (inputs, outputs) = compiled(model, board)
    level, *more = flags.split()
    options = {
        "toolchain": toolchain(arm_gcc, "gcc" if compiler == "gcc" else tool(compiler), tmp_path, *more),
        "optimization": level,
        "warning_as_error": True,
    }
    result = run_model(
        archive,
        device="qemu",
        inputs={"inputs": inputs},
        project_dir=tmp_path / "project",
        project_options=options,
        check_stores=True,
    )
    (got,) = result.outputs.values()
    np.testing.assert_array_equal(got, outputs, strict=True)
    bound = stack_bound(tmp_path / "project/build/firmware.elf", "tvmgen_default_run")
    measured = result.report.ram.stack_bytes
    assert measured is not None
    assert measured <= bound.bytes <= measured + STACK_GAP_BYTES, bound.path
