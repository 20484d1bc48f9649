"""One call of an integer operator, from Relax to the reference's result."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tests.kernel_library import KernelCall, RowsOf, normalized_call
from tvm_tiny.ops import WEIGHTED, make_call
from tvm_tiny.quant import params as qp
from tvm_tiny.quant import reference
from tvm_tiny.schedules import Chooser, Decisions, Optimize, select
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.targets import CPUS

Array = NDArray[Any]


@dataclass(frozen=True)
class KernelCase:
    """One call.

    activations : positions of the activations in ``arrays``; the rest are constants
    """

    name: str
    op: str
    params: Any
    arrays: tuple[Array, ...]
    activations: tuple[int, ...] = (0,)
    rows_of: RowsOf | None = None

    @cached_property
    def call(self) -> relax.Call:
        variables: list[relax.Var] = []
        args: list[Any] = []
        for i, array in enumerate(self.arrays):
            if i in self.activations:
                variables.append(relax.Var(f"x{i}", relax.TensorType(list(array.shape), array.dtype.name)))
                args.append(variables[-1])
            else:
                args.append(relax.const(array))
        return normalized_call(make_call(self.op, args, self.params), variables)

    @cached_property
    def expected(self) -> Array:
        return reference.run(self.op, self.params, *self.arrays)

    def kernel_call(
        self, cpu: str = "cortex-m4", optimize: Optimize = "speed", decisions: Decisions | None = None
    ) -> KernelCall:
        """The call; with a micro-kernel wherever there is one, though so small layers have cheaper general ones."""
        inputs = tuple(self.arrays[i] for i in self.activations)
        output = (self.expected.shape, self.expected.dtype.name)
        with mock.patch.multiple(cost, worth=mock.DEFAULT, worth_dense=mock.DEFAULT):
            kernel = select(self.call, CPUS[cpu], Chooser(optimize, decisions))
        kept = sum(array.nbytes for array in kernel.constants)
        assert self.op not in WEIGHTED or kept >= self.arrays[1].nbytes, "aot.flash takes a weight for a byte at least"
        return KernelCall(kernel, inputs, (output,), self.rows_of)


def rng_of(name: str) -> np.random.Generator:
    """A generator seeded by the name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def random_int8(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    """Any value, the extremes more often."""
    values = rng.integers(-128, 128, shape)
    return np.where(rng.random(shape) < 0.05, rng.choice([-128, 127], shape), values).astype(np.int8)


def random_weights(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    """Never -128, as quantizers write them."""
    return rng.integers(-127, 128, shape).astype(np.int8)


def window_rows(p: qp.Conv2DParams | qp.PoolParams, kernel_h: int, height: int) -> RowsOf:
    """The rows under a sliding window."""
    dilation = p.dilation[0] if isinstance(p, qp.Conv2DParams) else 1

    def rows(_: int, y: int) -> tuple[int, int]:
        top = y * p.strides[0] - p.padding[0]
        inside = [row for row in range(top, top + kernel_h * dilation, dilation) if 0 <= row < height]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    return rows
