"""The C twins of the vector kernels against the NumPy reference: images, rings of rows, parts of rows, in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernel_case import KernelCase, rng_of
from tests.kernel_cases import all_cases
from tests.kernel_library import FLAGS, KernelCall, KernelLibrary, driver_source, run_tool, support_folder
from tests.segments import segments_of

OPERATORS = ("qconv2d", "qdepthwise_conv2d", "qdense", "qadd", "qsub")


@pytest.fixture(scope="module")
def calls() -> dict[str, tuple[KernelCase, KernelCall]]:
    cases = [case for case in all_cases() if case.op in OPERATORS]
    calls = {case.name: (case, case.kernel_call("cortex-m55")) for case in cases}
    compact = [case for case in cases if not case.name.endswith("-single")]
    calls |= {f"{case.name}-size": (case, case.kernel_call("cortex-m55", "size")) for case in compact}
    return {n: c for n, c in calls.items() if any("_mve_" in f.name for f in c[1].kernel.c_functions)}


def test_whole_rows(calls: dict[str, tuple[KernelCase, KernelCall]], tmp_path: Path) -> None:
    library = KernelLibrary([call for _, call in calls.values()], tmp_path)
    assert len(calls) > 120
    for i, (name, (case, call)) in enumerate(calls.items()):
        np.testing.assert_array_equal(library.run(i)[0], case.expected, name)
        if call.kernel.granularity == "row":
            np.testing.assert_array_equal(library.run(i, ring=True)[0], case.expected, f"{name} from a ring of rows")
        for j in call.kernel.in_place_inputs:
            np.testing.assert_array_equal(library.run(i, in_place=j)[0], case.expected, f"{name} over input {j}")


def test_parts_of_rows(calls: dict[str, tuple[KernelCase, KernelCall]], tmp_path: Path) -> None:
    rows = {name: pair for name, pair in calls.items() if pair[1].kernel.granularity == "row"}
    parts = [replace(call, kernel=call.kernel.segment) for _, call in rows.values()]
    library = KernelLibrary(parts, tmp_path)
    for i, (name, (case, call)) in enumerate(rows.items()):
        for ours, of_rows in zip(parts[i].kernel.constants, call.kernel.constants, strict=True):
            np.testing.assert_array_equal(ours, of_rows, f"{name}: constants are stored once for both")
        for at, got in segments_of(library, i, call, rng_of(name)):
            np.testing.assert_array_equal(got, case.expected[at], f"{name} {at}")


@pytest.mark.slow
def test_sanitizers_find_nothing(
    calls: dict[str, tuple[KernelCase, KernelCall]], tmp_path: Path, tool: Callable[[str], str]
) -> None:
    source = tmp_path / "kernels.c"
    chosen = [call for name, (_, call) in calls.items() if not name.endswith("-single")]
    source.write_text(driver_source(chosen))
    sanitizers = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = str(tmp_path / "kernels")
    run_tool([tool("gcc"), *FLAGS, *sanitizers, f"-I{support_folder()}", str(source), "-o", program, "-lm"])
    assert run_tool([program]).strip() == f"{len(chosen)} kernels"
