"""Convolutions, depthwise convolutions and dense layers that reach every branch of the schedules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.kernel_case import Array, KernelCase, random_int8, random_weights, rng_of, window_rows
from tests.kernel_library import RowsOf
from tvm_tiny.quant import params as qp
from tvm_tiny.quant import scales

# name, input shape, outputs, kernel, strides, padding (top, left, bottom, right), dilation, groups, kind of scales
_CONVOLUTIONS: tuple[tuple[Any, ...], ...] = (
    ("pointwise", (1, 5, 5, 8), 6, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("pointwise-odd", (2, 3, 4, 3), 5, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("pointwise-stride", (1, 5, 5, 8), 3, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1, "left"),
    ("pointwise-padded", (1, 3, 3, 5), 2, (1, 1), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-same", (1, 7, 6, 4), 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-same-batch", (2, 4, 5, 8), 3, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "same"),
    ("3x3-stride", (1, 8, 8, 4), 4, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 1, "usual"),
    ("3x3-odd-channels", (1, 6, 7, 5), 3, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, "usual"),
    ("3x3-odd-channels-valid", (1, 6, 7, 5), 2, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1, "huge"),
    ("first-image", (1, 9, 9, 3), 8, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 1, "usual"),
    ("first-audio", (1, 13, 10, 1), 6, (10, 4), (2, 2), (4, 1, 5, 1), (1, 1), 1, "usual"),
    ("1x5", (1, 4, 9, 4), 2, (1, 5), (1, 2), (0, 2, 0, 2), (1, 1), 1, "dead"),
    ("5x1", (1, 9, 4, 6), 3, (5, 1), (2, 1), (2, 0, 2, 0), (1, 1), 1, "usual"),
    ("larger-than-image", (1, 2, 2, 4), 3, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1, "usual"),
    ("larger-than-image-odd", (1, 2, 3, 1), 3, (5, 7), (1, 1), (2, 3, 2, 3), (1, 1), 1, "usual"),
    ("padding-beyond-kernel", (1, 3, 3, 2), 2, (2, 2), (1, 1), (3, 3, 4, 4), (1, 1), 1, "usual"),
    ("padding-beyond-kernel-words", (1, 3, 3, 4), 2, (2, 2), (2, 2), (3, 4, 3, 4), (1, 1), 1, "usual"),
    ("edge-outside", (1, 3, 4, 4), 3, (1, 1), (1, 2), (0, 1, 0, 0), (1, 1), 1, "usual"),
    ("dilated", (1, 9, 8, 4), 4, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1, "usual"),
    ("dilated-rows", (1, 9, 6, 4), 4, (3, 3), (1, 1), (3, 1, 3, 1), (3, 1), 1, "usual"),
    ("dilated-stride", (1, 9, 9, 3), 2, (3, 2), (2, 2), (1, 1, 2, 2), (2, 3), 1, "usual"),
    ("groups", (1, 5, 5, 8), 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2, "usual"),
    ("groups-odd", (1, 4, 5, 6), 9, (2, 3), (2, 1), (0, 1, 1, 1), (1, 1), 3, "left"),
    ("one-pixel", (1, 1, 1, 16), 5, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
    ("one-column", (1, 6, 1, 4), 4, (3, 1), (1, 1), (1, 0, 1, 0), (1, 1), 1, "usual"),
    ("whole-image", (1, 4, 4, 4), 3, (4, 4), (1, 1), (0, 0, 0, 0), (1, 1), 1, "usual"),
)


def convolutions(rounding: str) -> Iterator[KernelCase]:
    for name, shape, outputs, kernel, strides, padding, dilation, groups, kind in _CONVOLUTIONS:
        rng = rng_of(name + rounding)
        weight = random_weights(rng, (outputs, *kernel, shape[3] // groups))
        zero_points = (int(rng.integers(-128, 128)), int(rng.integers(-20, 20)))
        clamp = (-128, 127) if rng.random() < 0.5 else (zero_points[1], 90)
        p = qp.Conv2DParams(strides, padding, dilation, groups, *zero_points, *clamp, rounding)
        arrays = _layer(rng, kind, shape, weight, weight, zero_points[0])
        yield KernelCase(f"qconv2d-{name}", "qconv2d", p, arrays, rows_of=window_rows(p, kernel[0], shape[1]))


# name, input shape, multiplier, kernel, strides, padding, dilation, kind of scales
_DEPTHWISE: tuple[tuple[Any, ...], ...] = (
    ("3x3-same", (1, 6, 6, 8), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("3x3-odd", (2, 5, 4, 7), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("3x3-stride", (1, 8, 8, 4), 1, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), "left"),
    ("3x3-valid", (1, 5, 6, 5), 1, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), "same"),
    ("7x7", (1, 6, 5, 4), 1, (7, 7), (1, 1), (3, 3, 3, 3), (1, 1), "usual"),
    ("5x5-stride", (1, 9, 9, 6), 1, (5, 5), (2, 2), (1, 1, 2, 2), (1, 1), "dead"),
    ("1x9", (1, 3, 12, 4), 1, (1, 9), (1, 1), (0, 4, 0, 4), (1, 1), "usual"),
    ("edge-outside", (1, 3, 4, 4), 1, (1, 1), (1, 2), (0, 1, 0, 0), (1, 1), "usual"),
    ("dilated", (1, 8, 8, 4), 1, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), "huge"),
    ("one-channel", (1, 6, 6, 1), 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("multiplier-of-one-channel", (1, 7, 6, 1), 8, (4, 3), (2, 2), (1, 0, 2, 1), (1, 1), "usual"),
    ("multiplier", (1, 5, 5, 3), 2, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "usual"),
    ("multiplier-odd", (1, 5, 5, 4), 3, (3, 3), (2, 2), (1, 1, 1, 1), (2, 2), "usual"),
)


def depthwise(rounding: str) -> Iterator[KernelCase]:
    for name, shape, repeats, kernel, strides, padding, dilation, kind in _DEPTHWISE:
        rng = rng_of(name + rounding)
        outputs = shape[3] * repeats
        weight = random_weights(rng, (*kernel, outputs))
        zero_points = (int(rng.integers(-128, 128)), int(rng.integers(-20, 20)))
        p = qp.Conv2DParams(strides, padding, dilation, 1, *zero_points, -128, 100, rounding)
        arrays = _layer(rng, kind, shape, weight, weight.transpose(2, 0, 1), zero_points[0])
        rows = window_rows(p, kernel[0], shape[1])
        yield KernelCase(f"qdepthwise_conv2d-{name}", "qdepthwise_conv2d", p, arrays, rows_of=rows)
        relu = replace(p, clamp_min=p.output_zero_point)
        yield KernelCase(f"qdepthwise_conv2d-{name}-relu", "qdepthwise_conv2d", relu, arrays, rows_of=rows)


# name, input shape, outputs
_SUMS = (("words", (1, 4, 3, 8), 12), ("odd", (1, 2, 5, 7), 11))


def accumulations() -> Iterator[KernelCase]:
    """Parts of a 1x1 convolution: the first one, from a bias, and a later one."""
    for name, shape, outputs in _SUMS:
        rng = rng_of(name)
        data, weight = random_int8(rng, shape), random_weights(rng, (outputs, shape[3]))
        sums = rng.integers(-(2**31), 2**31, (*shape[:3], outputs)).astype(np.int32)
        rows: RowsOf = lambda _, y: (y, y + 1)  # noqa: E731
        for part, start, activations in (("first", sums[0, 0, 0], (0,)), ("later", sums, (0, 2))):
            arrays, operator = (data, weight, start), "qconv2d_accumulate"
            yield KernelCase(f"{operator}-{part}-{name}", operator, qp.AccumulateParams(), arrays, activations, rows)


def requantized_sums(rounding: str) -> Iterator[KernelCase]:
    for name, shape, outputs in _SUMS:
        rng = rng_of(name + rounding)
        sums = rng.integers(-(2**31), 2**31, (*shape[:3], outputs)).astype(np.int32)
        multipliers, shifts = scales.quantize_multipliers(rng.uniform(1e-9, 1e-7, outputs))
        p = qp.RequantizeParams(int(rng.integers(-20, 20)), -100, 120, rounding)
        rows: RowsOf = lambda _, y: (y, y + 1)  # noqa: E731
        yield KernelCase(f"requantize-{name}", "requantize", p, (sums, multipliers, shifts), rows_of=rows)


def dense(rounding: str) -> Iterator[KernelCase]:
    for name, rows, length, outputs, kind in (
        ("words", 1, 64, 12, "usual"),
        ("odd", 3, 13, 7, "same"),
        ("one", 2, 5, 1, "left"),
        ("three", 1, 640, 3, "huge"),
    ):
        rng = rng_of(name + rounding)
        weight = random_weights(rng, (outputs, length))
        p = qp.DenseParams(int(rng.integers(-128, 128)), 3, -128, 127, rounding)
        arrays = _layer(rng, kind, (rows, length), weight, weight, p.input_zero_point)
        yield KernelCase(f"qdense-{name}", "qdense", p, arrays)


def _layer(
    rng: np.random.Generator, kind: str, shape: Sequence[int], weight: Array, outputs_first: Array, zero_point: int
) -> tuple[Array, ...]:
    """Data, weight, bias, multiplier and shift, such that outputs spread over their range.

    Parameters
    ----------
    kind : "usual"; "left" has shifts from -1 to 3; "same" one multiplier for all; "huge" a bias beyond 2**30; "dead" a
        multiplier of 0
    outputs_first : a view of ``weight`` with the output channels in front
    """
    taps = outputs_first.reshape(len(outputs_first), -1)
    data = random_int8(rng, shape)
    factors = 60.0 / (73.0 * 73.0 * np.sqrt(taps.shape[1])) * rng.uniform(0.2, 3.0, len(taps))
    # On average an activation is -1/2, which is that much less its zero point.
    bias = np.round(taps.sum(axis=1, dtype=np.int64) * (zero_point + 0.5)) + rng.integers(-9000, 9000, len(taps))
    if kind == "left":
        np.clip(weight, -1, 1, out=weight)
        data = np.clip(zero_point + rng.integers(-4, 5, shape), -128, 127).astype(np.int8)
        factors, bias = rng.choice([0.6, 1.1, 2.5, 6.0], len(taps)), rng.integers(-5, 5, len(taps))
    if kind == "same":
        factors[:] = factors[0]
    multipliers, shifts = scales.quantize_multipliers(factors)
    if kind == "huge":
        bias[0] = 2**30 + 12345
    if kind == "dead":
        multipliers[0], shifts[0] = 0, 0
    return data, weight, bias.astype(np.int32), multipliers, shifts
