"""The table of cores agrees with what gcc makes of its flags."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

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
def test_a_c_library_fits_the_flags(name: str, tool: Callable[[str], str]) -> None:
    command = [tool("arm-none-eabi-gcc"), *CPUS[name].gcc_flags, "-print-file-name=libc.a"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found != "libc.a"


def test_code_for_a_lower_level_runs_on_a_higher() -> None:
    order = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
    levels = [CPUS[name].level for name in order]
    assert levels == sorted(set(levels))
