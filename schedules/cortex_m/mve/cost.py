"""How often what takes instructions occurs in a layer's vector kernels, for ``dsp.cost``."""

from __future__ import annotations

from tvm_tiny.schedules.cortex_m.mve.conv_row import ConvColumns
from tvm_tiny.schedules.cortex_m.mve.depthwise import CHANNELS, GROUP, Depthwise
from tvm_tiny.schedules.cortex_m.mve.depthwise_row import DepthwiseColumns
from tvm_tiny.schedules.cortex_m.mve.gemm import BLOCK, LANES


def conv_terms(rows: int, columns: ConvColumns) -> tuple[float, ...]:
    """Of ``rows`` rows: parts of a row and their runs, gathered windows, tiles of two pixels and of one."""
    kernel, (start, stop) = columns.kernel[0], columns.interior
    ends = [n for n in (start, columns.outputs - stop) if n > 0]
    parts = [columns.outputs] if columns.pointwise else [*ends, *([stop - start] if stop > start else [])]
    most = columns.gathered or columns.outputs
    calls = [min(most, n - at) for n in parts for at in range(0, n, most)]
    runs, length = (1, kernel * columns.run) if columns.gathered else (kernel, columns.run)
    blocks = -(-columns.channels[1] // BLOCK)
    terms: list[float] = [
        1,
        *([0, 0, 0] if columns.pointwise else [len(parts), len(parts) * kernel, len(ends) * kernel]),
    ]
    terms += [len(calls), *([len(calls) * kernel, columns.outputs * kernel] if columns.gathered else [0, 0])]
    for tiles in (sum(n // 2 for n in calls), sum(n % 2 for n in calls)):
        each = tiles * blocks * runs
        terms += [tiles, tiles * blocks, each if runs > 1 else 0, each * (length // LANES), each * (length % LANES > 0)]
    return tuple(rows * term for term in terms)


def dense_terms(rows: int, length: int, outputs: int) -> tuple[float, ...]:
    """Of ``rows`` pixels."""
    blocks = -(-outputs // BLOCK)
    terms: list[float] = [1]
    for tiles in (rows // 2, rows % 2):
        each = tiles * blocks
        terms += [tiles, each, each * (length // LANES), each * (length % LANES > 0)]
    return tuple(terms)


def depthwise_terms(rows: int, columns: DepthwiseColumns, kernel: Depthwise) -> tuple[float, ...]:
    """Of ``rows`` rows: strips, blocks of sixteen channels, and groups of four channels or of four pixels."""
    strips = [min(columns.strip, columns.outputs - at) for at in range(0, columns.outputs, columns.strip)]
    blocks, fours = -(-columns.channels // CHANNELS), -(-columns.channels // GROUP)
    words = sum((n - 1) * columns.strides[1] + columns.kernel[1] for n in strips) * columns.groups
    terms: list[float] = [1, len(strips), len(strips) * columns.kernel[0]]
    terms += [len(strips) * blocks, len(strips) * blocks * columns.groups, words * blocks]
    if kernel.by_channels:
        terms += [len(strips) * fours, columns.outputs * fours, 0, 0, 0]
    else:
        tiles = sum(-(-n // GROUP) for n in strips) * columns.channels
        terms += [0, 0, len(strips) * columns.channels, tiles, tiles * kernel.vectors]
    return tuple(rows * term for term in terms)
