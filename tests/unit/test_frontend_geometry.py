"""Windows, slices and resizing of the front ends, on plain integers."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_tiny.frontend.geometry import (
    ceil_mode_padding,
    normalize_slice,
    onnx_nearest_indices,
    same_padding,
    tflite_nearest_indices,
    window_outputs,
)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        (8, 3, 2, 1, (0, 1)),  # an even input with stride 2: nothing before, one after
        (7, 3, 2, 1, (1, 1)),
        (8, 3, 1, 1, (1, 1)),
        (8, 4, 1, 1, (1, 2)),
        (8, 3, 1, 2, (2, 2)),
        (8, 3, 2, 2, (1, 2)),
        (9, 1, 4, 1, (0, 0)),  # stride beyond the kernel never pads a negative amount
        (5, 10, 1, 1, (4, 5)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, dilation: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride, dilation) == expected
    assert window_outputs(size, kernel, stride, dilation, *expected) == -(-size // stride)


@pytest.mark.parametrize("begin", [None, -9, -2, 0, 1, 4, 9])
@pytest.mark.parametrize("end", [None, -9, -2, 0, 1, 4, 9])
@pytest.mark.parametrize("stride", [1, 2, -1, -3])
def test_normalized_slice_selects_the_same(begin: int | None, end: int | None, stride: int) -> None:
    values = np.arange(5)
    first, last, step = normalize_slice(5, begin, end, stride)
    # Relax counts a negative end from behind once: -6 is one before the first.
    stop = None if last < -5 else last
    assert values[first:stop:step].tolist() == values[begin:end:stride].tolist()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "expected"),
    [(5, 2, 2, (0, 0), 1), (6, 2, 2, (0, 0), 0), (7, 3, 2, (1, 1), 1), (4, 1, 3, (0, 0), 0), (4, 2, 3, (0, 1), 1)],
)
def test_ceil_mode_padding(size: int, kernel: int, stride: int, pads: tuple[int, int], expected: int) -> None:
    assert ceil_mode_padding(size, kernel, stride, *pads) == expected


@pytest.mark.parametrize("mode", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize(("size", "factor"), [(3, 2), (5, 3), (4, 4)])
def test_nearest_indices_of_whole_factors(mode: str, size: int, factor: int) -> None:
    rounding = {"asymmetric": "floor", "half_pixel": "round_prefer_floor", "align_corners": "round_prefer_ceil"}[mode]
    indices = tflite_nearest_indices(size, size * factor, mode)
    assert indices == onnx_nearest_indices(size, size * factor, float(factor), mode, rounding)
    if mode != "align_corners":
        assert indices == [i // factor for i in range(size * factor)]
