"""Kernels against the NumPy reference, byte for byte: whole images, rings of rows, in place; and for every core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.kernel_case import KernelCase, rng_of
from tests.kernel_cases import all_cases
from tests.kernel_library import FLAGS, KernelCall, KernelLibrary, c_source, driver_source, run_tool, support_folder
from tests.segments import segments_of
from tvm_tiny.targets import CPUS

CASES = {case.name: case for case in all_cases()}
INDEX = {name: i for i, name in enumerate(CASES)}


@pytest.fixture(scope="module", params=["cortex-m3", "cortex-m4"])
def core(request: pytest.FixtureRequest) -> str:
    """A core with general kernels only, and one with micro-kernels, of which the host runs the C twins."""
    return str(request.param)


@cache
def kernel_calls(core: str) -> dict[str, KernelCall]:
    """Those of all cases: choosing and making kernels takes longer than all that is done with them."""
    return {name: case.kernel_call(core) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def library(core: str, tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    return KernelLibrary(list(kernel_calls(core).values()), tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_kernel_matches_reference(case: KernelCase, core: str, library: KernelLibrary) -> None:
    index, call = INDEX[case.name], kernel_calls(core)[case.name]
    np.testing.assert_array_equal(library.run(index)[0], case.expected)
    if call.kernel.granularity != "tensor":
        np.testing.assert_array_equal(library.run(index, ring=True)[0], case.expected, "from a ring of rows")
    for i in call.kernel.in_place_inputs:
        np.testing.assert_array_equal(library.run(index, in_place=i)[0], case.expected, f"over input {i}")


@pytest.fixture(scope="module")
def segments(core: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[KernelLibrary, dict[str, int]]:
    """The kernels of parts of rows, and which of them is whose."""
    calls = kernel_calls(core).items()
    parts = {n: replace(c, kernel=c.kernel.segment) for n, c in calls if c.kernel.segment is not None}
    library = KernelLibrary(list(parts.values()), tmp_path_factory.mktemp("segments"))
    return library, {name: i for i, name in enumerate(parts)}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_parts_of_rows(case: KernelCase, core: str, segments: tuple[KernelLibrary, dict[str, int]]) -> None:
    library, index = segments
    call = kernel_calls(core)[case.name]
    part = call.kernel.segment
    if part is None:
        assert call.kernel.granularity != "row" or core != "cortex-m3" or case.op == "qresize2d"
        return
    assert part.granularity == "segment"
    for ours, of_rows in zip(part.constants, call.kernel.constants, strict=True):
        np.testing.assert_array_equal(ours, of_rows, "constants are stored once for both")
    for at, got in segments_of(library, index[case.name], call, rng_of(case.name)):
        np.testing.assert_array_equal(got, case.expected[at], f"{at}")


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_compiles_for_core(cpu: str, tmp_path: Path, arm_gcc: list[str]) -> None:
    sample = [case for i, case in enumerate(CASES.values()) if i % 7 == 0]
    source = tmp_path / "kernels.c"
    source.write_text(c_source([case.kernel_call(cpu).kernel for case in sample]))
    options = [*FLAGS, *CPUS[cpu].gcc_flags, f"-I{support_folder()}", "-c", str(source), "-o", str(tmp_path / "k.o")]
    run_tool([*arm_gcc, *options])


@pytest.mark.slow
def test_sanitizers_find_nothing(core: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """No undefined behaviour, nothing read or written outside of buffers; rings hold the rows needed and no more."""
    source = tmp_path / "kernels.c"
    cases = [case for name, case in CASES.items() if not name.endswith("-single")]
    source.write_text(driver_source([kernel_calls(core)[case.name] for case in cases]))
    sanitizers = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = str(tmp_path / "kernels")
    run_tool([tool("gcc"), *FLAGS, *sanitizers, f"-I{support_folder()}", str(source), "-o", program, "-lm"])
    assert run_tool([program]).strip() == f"{len(cases)} kernels"


STRICT = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wundef", "-Werror")


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
def test_header_is_clean(compiler: str, tmp_path: Path, optional_tool: Callable[[str], str]) -> None:
    _compile_header([optional_tool(compiler)], tmp_path, is_cpp=compiler.endswith("++"))


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O2"])
def test_header_is_clean_for_core(cpu: str, level: str, tmp_path: Path, arm_gcc: list[str]) -> None:
    # Functions that nobody calls are compiled as well.
    _compile_header(
        [*arm_gcc, *CPUS[cpu].gcc_flags, level, "-fkeep-inline-functions", "-fkeep-static-functions"], tmp_path
    )


def _compile_header(compiler: list[str], folder: Path, *, is_cpp: bool = False) -> None:
    source = folder / ("use.cpp" if is_cpp else "use.c")
    source.write_text('#include "tvm_tiny_kernels.h"\n')
    standard = "-std=c++11" if is_cpp else "-std=c99"
    run_tool([*compiler, standard, *STRICT, f"-I{support_folder()}", "-c", str(source), "-o", str(folder / "o")])
