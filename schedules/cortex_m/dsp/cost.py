"""Estimated instructions of a layer's micro-kernel and of its general kernel, so that the cheaper one is chosen.

An estimate is a sum of products: how often something happens (a row, a tile, a group of taps) times what it takes. What
it takes was found by non-negative least squares, relative errors, over random layers run on an emulated Cortex-M4 and,
of the kernels for Armv6-M, M0+; ``python -m tests.fit_kernel_costs`` finds it again when kernels have changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.window import Axis

MARGIN = 1.2
"""A micro-kernel has to be so much cheaper by the estimate: the general kernel is never slower than itself."""

ARMV6M = "armv6m_"
"""What the names of general kernels begin with where they run on Armv6-M."""

WEIGHTS: dict[str, tuple[float, ...]] = {
    "general_conv": (
        *(12.7, 21.6, 0.431, 0.0, 45.2, 13.5, 15.4, 31.7, 8.0, 14.8),
        *(24.2, 0.0, 28.5, 17.4, 15.2, 9.25, 14.1, 5.88, 3.27, 0.0),
    ),
    "conv": (
        *(89.4, 9.73, 57.0, 0.0, 7.29, 57.5, 79.2, 0.722),
        *(22.0, 5.73, 9.02, 3.64, 56.7, 4.33, 0.0, 0.577),
    ),
    "general_depthwise": (1.33, 0.0, 66.1, 14.0, 7.34, 0.874, 13.5, 7.61, 15.6, 10.5),
    "depthwise": (108.0, 212.0, 0.0, 8.1, 56.3, 17.0, 0.438, 3.3, 2.64),
    "depthwise3x3": (71.4, 202.0, 188.0, 19.2, 38.8),
    "general_dense": (2.45, 2.35, 48.6, 25.1, 11.6, 28.1, 17.1, 10.4, 15.0, 7.43, 4.12),
    "armv6m_general_conv": (
        *(43.9, 14.8, 3.12, 80.3, 18.2, 107, 58.1, 0.0, 0.0, 8.25),
        *(0.0, 0.0, 124, 47.4, 53.2, 53.7, 41.2, 2.71, 39.1, 0.0),
    ),
    "pairs": (0.0, 9.33, 16.7, 13.8, 76.4, 0.0, 101, 8.05, 27.3, 48.1, 6.43),
    "armv6m_general_depthwise": (4.66, 0.0, 119, 22.4, 3.8, 17.6, 38.5, 9.36, 39.1, 15.4),
    "taps": (123, 0.0, 21.6, 32.4, 516, 0.0, 16.2, 219, 21.1, 5.57),
    "dense": (3.23, 41.9, 6.25, 5.45, 3.32, 3.13, 4.34, 0.0, 1.92),
    "vector_conv": (
        *(73.0, 116.0, 37.3, 8.44, 0.0, 21.0, 8.63),
        *(21.4, 27.4, 8.81, 15.8, 23.6, 3.86, 33.4, 8.24, 12.8, 4.95),
    ),
    "vector_dense": (37.3, 17.7, 30.5, 15.0, 25.1, 2.46, 14.6, 10.5, 22.4),
    "vector_depthwise": (105.0, 35.9, 33.9, 5.66, 0.0, 12.2, 30.9, 21.2, 42.0, 0.0, 8.59),
}
"""By kernel, in the order of its terms; from 80 to 190 layers each (3x3: 13); of 90 in 100 layers the estimate is 0.83
to 1.17 times the count.

Vector kernels were counted on a Cortex-M55 (``--board qemu-m55``), general ones on both, those for Armv6-M (24 to 40
layers) on a Cortex-M0+ (``--board rp2040``), all others on the M4.
"""


def worth(layer: ConvLayer, kind: str, terms: Sequence[float], core: str = "") -> bool:
    """Whether the micro-kernel ``kind`` with ``terms`` takes fewer instructions than the general kernel.

    core : ``ARMV6M`` there
    """
    general = core + ("general_depthwise" if layer.params.groups > 1 else "general_conv")
    return estimate(kind, terms) * MARGIN < estimate(general, general_terms(layer))


def worth_dense(rows: int, length: int, outputs: int, kind: str, terms: Sequence[float]) -> bool:
    """As ``worth``, for a fully connected layer."""
    return estimate(kind, terms) * MARGIN < estimate("general_dense", general_dense_terms(rows, length, outputs))


def estimate(kind: str, terms: Sequence[float]) -> float:
    """Instructions."""
    return sum(weight * term for weight, term in zip(WEIGHTS[kind], terms, strict=True))


def general_terms(layer: ConvLayer) -> tuple[float, ...]:
    """Of the kernels in ``conv2d`` and ``depthwise_conv2d``; depthwise where there are groups."""
    return _general_depthwise(layer) if layer.params.groups > 1 else _general_conv(layer)


def conv_terms(layer: ConvLayer, pixels: int, strip: int) -> tuple[float, ...]:
    """Of ``dsp_conv2d``: tiles of ``pixels``; columns copied by ``strip`` where ``strip`` is not 0."""
    (vertical, horizontal), outputs = layer.axes, layer.weight.shape[0]
    groups = -(-int(layer.weight[0].size) // 4)
    rows, columns = vertical.outputs, horizontal.outputs
    tiles, made = rows * -(-columns // pixels), rows * columns
    border = 0 if strip else made - _whole(vertical) * _whole(horizontal)
    strips = rows * -(-columns // strip) if strip else 0
    copied = (
        strips * vertical.kernel * (min(strip, columns) * horizontal.stride + horizontal.kernel) * layer.input_shape[3]
    )
    pairs, single = outputs // 2, outputs % 2
    return (
        rows,
        rows * vertical.kernel,
        tiles,
        tiles * vertical.kernel,
        made * groups,
        border * vertical.kernel * horizontal.kernel,
        strips * vertical.kernel,
        copied,
        tiles * pairs,
        tiles * pairs * groups,
        made * pairs,
        made * pairs * groups,
        tiles * single,
        tiles * single * groups,
        made * single,
        made * single * groups,
    )


def depthwise3x3_terms(layer: ConvLayer, strip: int) -> tuple[float, ...]:
    """Of ``dsp_depthwise_conv2d``, 3x3 at stride 1 or 2."""
    (vertical, horizontal), groups = layer.axes, -(-layer.input_shape[3] // 4)
    rows, columns = vertical.outputs, horizontal.outputs
    strips = rows * -(-columns // strip)
    needed = (columns - 1) * horizontal.stride + 3
    return (rows, strips, strips * groups, rows * groups * needed, rows * groups * columns)


def depthwise_terms(layer: ConvLayer, strip: int, tile: int) -> tuple[float, ...]:
    """Of ``dsp_depthwise_conv2d``, any kernel."""
    (vertical, horizontal), groups = layer.axes, -(-layer.input_shape[3] // 4)
    rows, columns = vertical.outputs, horizontal.outputs
    strips, channels = -(-columns // strip), 4 * groups
    tiles = sum(-(-min(strip, columns - at) // tile) for at in range(0, columns, strip))
    pairs = sum(-(-count // 2) for count in _inside(vertical))
    needed = (columns - 1) * horizontal.stride + horizontal.kernel
    return (
        rows * vertical.kernel,
        rows * strips * groups,
        pairs * strips * groups,
        pairs * groups * needed,
        rows * channels * tiles,
        pairs * channels * tiles,
        pairs * channels * tiles * tile * horizontal.kernel,
        rows * channels * columns,
        rows * channels * vertical.kernel * horizontal.kernel,
    )


def pair_terms(layer: ConvLayer, quads: bool) -> tuple[float, ...]:
    """Of ``conv2d_pairs``, with tiles of four pixels or without."""
    (vertical, horizontal), outputs = layer.axes, layer.weight.shape[0]
    rows, columns, length = vertical.outputs, horizontal.outputs, int(layer.weight[0].size)
    fours = rows * (columns // 4) if quads else 0
    twos = rows * ((columns - 4 * fours // rows + 1) // 2)
    border = rows * (columns - _whole(horizontal))
    pairs = 2 * fours + twos
    per_tile = (1, outputs, outputs * length)
    fixed = (rows, rows * vertical.kernel, pairs * vertical.kernel, pairs * length, border * vertical.kernel)
    return (*fixed, *(tiles * n for tiles in (fours, twos) for n in per_tile))


def tap_terms(layer: ConvLayer, at_once: int) -> tuple[float, ...]:
    """Of ``depthwise_taps``, ``at_once`` pixels of the inside at a time."""
    (vertical, horizontal), channels = layer.axes, layer.input_shape[3]
    rows, taps = vertical.outputs, vertical.kernel * horizontal.kernel
    tiles = rows * (_whole(horizontal) // at_once)
    singles = rows * horizontal.outputs - tiles * at_once
    once, fours = (singles + tiles, 0) if at_once == 1 else (singles, tiles)
    per_tile = (1, channels, channels * taps)
    return (rows, rows * taps, singles * taps, tiles * taps, *(n * m for n in (fours, once) for m in per_tile))


def dense_terms(rows: int, length: int, outputs: int) -> tuple[float, ...]:
    """Of ``dsp_dense``: rows by blocks of four outputs by words."""
    blocks, words, rest = -(-outputs // 4), length // 4, length % 4
    per_row = (1, blocks, outputs, blocks * words, outputs * words, blocks * rest, outputs * rest, words)
    return (1, *(rows * n for n in per_row))


def general_dense_terms(rows: int, length: int, outputs: int) -> tuple[float, ...]:
    """Of the kernel in ``dense``."""
    counts = (outputs // 4, outputs % 4 // 2, outputs % 2)
    return (1, rows, *(rows * n * m for m in (1, length // 4, length % 4) for n in counts))


def _general_depthwise(layer: ConvLayer) -> tuple[float, ...]:
    (vertical, horizontal), channels = layer.axes, layer.input_shape[3]
    blocks, singles = channels // 4, channels % 4
    pixels, tap_rows = vertical.outputs * horizontal.outputs, sum(_inside(vertical))
    # Windows inside the image have their taps written out.
    inner = tap_rows * _whole(horizontal) * horizontal.kernel if horizontal.kernel <= 7 else 0
    edge = tap_rows * sum(_inside(horizontal)) - inner
    per_channel = (pixels, tap_rows * horizontal.outputs, inner, edge)
    return (vertical.outputs * vertical.kernel, pixels, *(n * m for n in per_channel for m in (blocks, singles)))


def _general_conv(layer: ConvLayer) -> tuple[float, ...]:
    (vertical, horizontal), (outputs, _, _, channels) = layer.axes, layer.weight.shape
    rows, columns, length = vertical.outputs, horizontal.outputs, int(layer.weight[0].size)
    in_place = channels % 4 == 0 or not horizontal.has_border
    pairs = rows * ((_whole(horizontal) if in_place else columns) // 2)
    singles = rows * columns - 2 * pairs
    blocks, odd = outputs // 2, outputs % 2
    terms = [rows * vertical.kernel]
    if in_place:
        tap_rows = sum(_inside(vertical))
        # Rows of taps that are read, per pair of pixels and per single pixel, and their words and odd bytes.
        calls = (tap_rows * (pairs // rows), tap_rows * (singles // rows))
        share = sum(_inside(horizontal)) / (columns * horizontal.kernel)
        words, rest = horizontal.kernel * channels // 4, horizontal.kernel * channels % 4
        reads = (calls[0] * words, calls[1] * words * share, calls[0] * rest, calls[1] * rest)
        terms += [0, 0, 0]
    else:
        border = rows * columns - _whole(vertical) * _whole(horizontal)
        terms += [rows * columns * vertical.kernel, rows * columns * length, border * vertical.kernel]
        calls = (pairs, singles)
        words, rest = length // 4, length % 4
        reads = (pairs * words, singles * words, pairs * rest, singles * rest)
    return (*terms, *(n * m for n in (pairs, singles, *calls, *reads) for m in (blocks, odd)))


def _inside(axis: Axis) -> list[int]:
    """Taps inside the image, of every output."""
    counts = []
    for output in range(axis.outputs):
        at = axis.origin(output) + axis.dilation * (axis.kernel - 1)
        positions = range(axis.origin(output), at + 1, axis.dilation)
        counts.append(sum(0 <= p < axis.size for p in positions))
    return counts


def _whole(axis: Axis) -> int:
    """Outputs with all taps inside the image."""
    start, stop = axis.interior
    return stop - start
