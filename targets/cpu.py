"""Cortex-M cores: instruction set level and compiler flags. A new core is a row of ``CPUS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Isa = Literal["scalar", "dsp", "mve"]


@dataclass(frozen=True)
class Cpu:
    """One core.

    Parameters
    ----------
    name : as gcc and TVM spell it in ``-mcpu``, like "cortex-m7"
    level : code for a core runs on every core of the same or a higher level
    isa : "scalar" has no SIMD; "dsp" has the Armv7E-M SIMD instructions (SMLAD, SXTB16); "mve" has Helium
    has_fpu : whether floating-point arguments travel in FPU registers (``-mfloat-abi=hard``)
    gcc_flags : what selects this core, instruction set and float ABI with arm-none-eabi-gcc 12
    """

    name: str
    level: int
    isa: Isa
    has_fpu: bool
    gcc_flags: tuple[str, ...]

    @property
    def has_dsp(self) -> bool:
        """Whether the Armv7E-M SIMD instructions are there (every core with MVE has them)."""
        return self.isa in ("dsp", "mve")

    @property
    def is_armv6m(self) -> bool:
        """Whether multiplications give 32 bits and add nothing, and unaligned accesses fault."""
        return self.level == 0

    @property
    def has_mve(self) -> bool:
        return self.isa == "mve"


def _cpu(name: str, level: int, isa: Isa, *select: str, fpu: bool = False) -> Cpu:
    selection = select or (f"-mcpu={name}",)
    return Cpu(name, level, isa, fpu, (*selection, "-mthumb", f"-mfloat-abi={'hard' if fpu else 'soft'}"))


CPUS: dict[str, Cpu] = {
    cpu.name: cpu
    for cpu in (
        _cpu("cortex-m0", 0, "scalar"),
        _cpu("cortex-m0plus", 0, "scalar"),
        _cpu("cortex-m3", 1, "scalar"),
        _cpu("cortex-m4", 2, "dsp", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", fpu=True),
        # Single precision although some M7 have a double-precision FPU: the STM32F74x has not, and nothing needs it.
        _cpu("cortex-m7", 3, "dsp", "-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", fpu=True),
        _cpu("cortex-m33", 4, "dsp", "-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", fpu=True),
        _cpu("cortex-m55", 5, "mve", fpu=True),
        # gcc 12 does not know -mcpu=cortex-m85; this is the same instruction set.
        _cpu("cortex-m85", 5, "mve", "-march=armv8.1-m.main+mve.fp+fp.dp", fpu=True),
    )
}
