"""Where constants are read from: flash, RAM that they are copied to at start, or flash outside the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import Program, TirProgram

RAM_SECTION = ".data.tvm_tiny.weights"
FLASH_SECTION_PREFIX = ".rodata.tvm_tiny."
_ALIGNMENT = 8


@dataclass(frozen=True)
class Home:
    """Where a constant array goes.

    Parameters
    ----------
    section : for linker scripts; None: ``.rodata``, in flash
    writable : the startup code copies it from flash to RAM
    size_bytes : that it offers to constants
    """

    name: str
    section: str | None
    writable: bool
    size_bytes: int


def place_weights(program: Program, tir: TirProgram, homes: Sequence[Home]) -> dict[str, Home]:
    """Home of every constant array: those read most often get the first homes in which there is room.

    An array that fits nowhere gets the last home, which is then too small.
    """
    reads = count_reads(program, tir)
    left = [home.size_bytes for home in homes]
    placed: dict[str, Home] = {}
    for name in sorted(tir.constants, key=lambda n: (-reads[n], tir.constants[n].nbytes)):
        size = -(-tir.constants[name].nbytes // _ALIGNMENT) * _ALIGNMENT
        index = next((i for i, free in enumerate(left) if size <= free), len(homes) - 1)
        left[index] -= size
        placed[name] = homes[index]
    return placed


def count_reads(program: Program, tir: TirProgram) -> dict[str, int]:
    """How many calls of an inference read each constant array: a kernel that makes a row reads all of its constants."""
    names = {_content(array): name for name, array in tir.constants.items()}
    reads = dict.fromkeys(tir.constants, 0)
    for index, _ in tir.steps:
        kernel = program.layers[index].kernel
        for array in () if kernel is None else kernel.constants:
            reads[names[_content(array)]] += program.graph.op_rows(index)
    return reads


def bytes_by_home(placed: Mapping[str, Home], constants: Mapping[str, NDArray[np.generic]]) -> dict[str, int]:
    """Bytes of constants in every home that has some."""
    total: dict[str, int] = {}
    for name, home in placed.items():
        total[home.name] = total.get(home.name, 0) + constants[name].nbytes
    return total


def _content(array: NDArray[np.generic]) -> tuple[str, bytes]:
    return array.dtype.name, array.tobytes()
