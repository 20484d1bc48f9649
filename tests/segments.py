"""Kernels that make some columns of a row, called on input rows that lie wherever a plan may put them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.kernel_library import KernelCall, KernelLibrary

Array = NDArray[Any]
NEVER = 2**31 - 1


@dataclass(frozen=True)
class Stored:
    """Rows of an image in memory; ``address`` as in ``ops.ROW_ADDRESS``."""

    memory: Array
    address: tuple[int, ...]


def columns_of(width: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """All stretches of a narrow row; of a wide one the whole, single columns at the edges, and some others."""
    if width <= 6:
        return [(a, b) for a in range(width) for b in range(a + 1, width + 1)]
    some = [sorted(rng.choice(width + 1, 2, replace=False)) for _ in range(9)]
    return [(0, width), (0, 1), (width - 1, width), *((int(a), int(b)) for a, b in some)]


def store(image: Array, span: tuple[int, int], rng: np.random.Generator) -> Stored:
    """Rows ``span`` of an image [H, W, C]: as a whole, as a ring, dealt out, or in older and new ones."""
    form = rng.integers(4)
    row = image[0].nbytes
    first = 8 * int(rng.integers(3))
    rows = max(1, span[1] - span[0])
    if form == 0:
        return _stored(image, range(len(image)), (first, 1, 0, row, 0, 0, NEVER), rng)
    if form == 1:
        return _stored(image, range(*span), (first, rows, row, 0, 0, 0, NEVER), rng)
    if form == 2:
        modulus = int(rng.integers(2, 5))
        outer = -(-len(image) // modulus) * row + 8 * int(rng.integers(4))
        return _stored(image, range(len(image)), (first, modulus, outer, row, 0, 0, NEVER), rng)
    new_row = int(rng.integers(span[0], span[1] + 1))
    kept = max(1, new_row - span[0])
    staged = first + kept * row + 16
    return _stored(image, range(*span), (first, kept, row, 0, staged, row + 8, new_row), rng)


def _stored(image: Array, rows: Sequence[int], address: tuple[int, ...], rng: np.random.Generator) -> Stored:
    first, modulus, outer, inner, staged, line, new_row = address
    row = image[0].nbytes
    at = {
        r: staged + (r - new_row) * line if r >= new_row else first + r % modulus * outer + r // modulus * inner
        for r in rows
    }
    memory = rng.integers(0, 256, max([0, *at.values()]) + row, dtype=np.uint8)
    for r, offset in at.items():
        memory[offset : offset + row] = image[r].view(np.uint8).reshape(-1)
    return Stored(memory, address)


def segments_of(
    library: KernelLibrary, index: int, call: KernelCall, rng: np.random.Generator
) -> Iterator[tuple[tuple[int, int, slice], Array]]:
    """Position in the output, and what the kernel of granularity "segment" makes there, for many parts of rows.

    Parameters
    ----------
    index : of the kernel in ``library``
    call : images of one batch or several, which are gone through one by one
    """
    assert call.rows_of is not None
    ((shape, dtype),) = call.outputs
    for n in range(shape[0]):
        for y in sorted({0, shape[1] // 2, shape[1] - 1}):
            inputs = [store(a[n], call.rows_of(i, y), rng) for i, a in enumerate(call.arrays)]
            numbers = [number for stored in inputs for number in stored.address]
            for x0, x1 in columns_of(shape[2], rng):
                out = np.full((x1 - x0 + 2, shape[3]), 90).astype(dtype)
                column_0 = out.ctypes.data + (1 - x0) * out[0].nbytes
                library.run_segment(index, [s.memory for s in inputs], column_0, [y, x0, x1, *numbers])
                assert (out[[0, -1]] == 90).all(), f"more than the columns {x0}..{x1} of row {y} was written"
                yield (n, y, slice(x0, x1)), out[1:-1]
