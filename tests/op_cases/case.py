"""One case of an operator test: a small model and inputs for it, both from a fixed seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

Tensors = dict[str, NDArray[Any]]
Build = Callable[[TfliteWriter, np.random.Generator], None]

INPUT_SETS = 3
"""Input sets per case: full range, corner values only, near the zero point."""


@dataclass(frozen=True)
class OpCase:
    """A test case.

    name : unique, starts with the operator
    operator : the TFLite operator it is about; "NETWORK" for several
    build : writes the model; random constants come from the generator it gets
    rtol : relative tolerance of float outputs that are summed in an order of the implementation's choice; 0 is exact
    """

    name: str
    operator: str
    build: Build
    rtol: float = 0.0

    @property
    def seed(self) -> int:
        """Seed of the constants and inputs: the checksum of the name."""
        return zlib.crc32(self.name.encode())

    def model(self) -> bytes:
        """The model as a .tflite file."""
        return _write(self)[0]

    def inputs(self) -> list[Tensors]:
        """Input sets, each a dict from tensor name to array; together they hold -128, 127 and the zero point."""
        rng = np.random.default_rng(self.seed + 1)
        refs = _write(self)[1]
        return [{ref.name: _values(ref, kind, rng) for ref in refs} for kind in range(INPUT_SETS)]


@lru_cache(maxsize=4)
def _write(case: OpCase) -> tuple[bytes, tuple[TensorRef, ...]]:
    writer = TfliteWriter()
    case.build(writer, np.random.default_rng(case.seed))
    return writer.finish(), tuple(writer.inputs)


def _values(ref: TensorRef, kind: int, rng: np.random.Generator) -> NDArray[Any]:
    if ref.dtype == "float32":
        return _float_values(ref.shape, kind, rng)
    info = np.iinfo(ref.dtype)
    size = int(np.prod(ref.shape))
    if kind == 0:
        values = np.resize(rng.permutation(np.arange(info.min, info.max + 1)), size)
        values = rng.permutation(values)
    elif kind == 1:
        values = rng.choice([info.min, info.min + 1, info.max - 1, info.max], size)
    else:
        values = np.clip(ref.zero_point + rng.integers(-3, 4, size), info.min, info.max)
    return values.astype(ref.dtype).reshape(ref.shape)


def _float_values(shape: tuple[int, ...], kind: int, rng: np.random.Generator) -> NDArray[Any]:
    """Smooth values; multiples of 1/8, which tie when quantized with such scales; values far outside any range."""
    if kind == 0:
        return rng.normal(0, 3, shape).astype(np.float32)
    if kind == 1:
        return (rng.integers(-600, 601, shape) / 8).astype(np.float32)
    return (rng.normal(0, 1, shape) * 10.0 ** rng.integers(-6, 5, shape)).astype(np.float32)
