"""The table of cores agrees with what gcc makes of its flags."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_tiny.targets import CPUS


@pytest.mark.parametrize("name", CPUS)
def test_gcc_flags_select_the_instruction_set_and_float_abi(name: str, tool: Callable[[str], str]) -> None:
    cpu = CPUS[name]
    command = [tool("arm-none-eabi-gcc"), *cpu.gcc_flags, "-dM", "-E", "-x", "c", "/dev/null"]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("__ARM_FEATURE_DSP 1" in macros) == cpu.has_dsp
    assert ("__ARM_FEATURE_MVE" in macros) == cpu.has_mve
    assert ("__ARM_PCS_VFP 1" in macros) == cpu.has_fpu
    assert "__thumb__ 1" in macros


@pytest.mark.parametrize("name", CPUS)
def test_a_c_library_fits_the_flags(name: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    gcc = tool("arm-none-eabi-gcc")
    source = "#include <string.h>\nint main(int n, char **v) { return memcmp(v[0], v[1], (size_t)n); }\n"
    results = []
    for specs in ("picolibc.specs", "nosys.specs"):  # picolibc or newlib, whichever is installed
        command = [gcc, *CPUS[name].gcc_flags, f"--specs={specs}", "-x", "c", "-", "-o", str(tmp_path / "a.elf")]
        results.append(subprocess.run(command, input=source, capture_output=True, text=True, check=False))
    assert any(done.returncode == 0 for done in results), "".join(done.stderr for done in results)


def test_code_for_a_lower_level_runs_on_a_higher() -> None:
    order = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
    levels = [CPUS[name].level for name in order]
    assert levels == sorted(set(levels))
