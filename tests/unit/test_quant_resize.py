"""resize.py over many sizes against TFLite Micro."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op_cases import oracle
from tests.tflite_writer import TfliteWriter
from tvm_tiny.quant.params import ResizeParams
from tvm_tiny.quant.reference import resize2d
from tvm_tiny.quant.resize import bilinear_sources, nearest_sources

FLAGS = [(False, False), (True, False), (False, True)]


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize(("align_corners", "half_pixel_centers"), FLAGS)
def test_random_sizes_equal_tflite_micro(method: str, align_corners: bool, half_pixel_centers: bool) -> None:
    rng = np.random.default_rng(41)
    for _ in range(80):
        height, width, out_h, out_w = (int(v) for v in rng.integers(1, 40, 4))
        flags = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
        w = TfliteWriter()
        w.output(w.resize(w.input("x", (1, height, width, 2), 0.1, 0), (out_h, out_w), method, name="y", **flags))
        data = rng.integers(-128, 128, (1, height, width, 2)).astype(np.int8)
        want = oracle(w.finish(), {"x": data})["y"]
        got = resize2d(ResizeParams((out_h, out_w), method, align_corners, half_pixel_centers), data)
        np.testing.assert_array_equal(got, want, err_msg=f"{height}x{width} to {out_h}x{out_w}")


@pytest.mark.parametrize(("align_corners", "half_pixel_centers"), [*FLAGS, (True, True)])
def test_sources_stay_inside_the_input(align_corners: bool, half_pixel_centers: bool) -> None:
    for input_size in (1, 2, 3, 7, 30):
        for output_size in (1, 2, 5, 64, 2048):
            nearest = nearest_sources(input_size, output_size, align_corners, half_pixel_centers)
            lower, upper, weight = bilinear_sources(input_size, output_size, align_corners, half_pixel_centers)
            for index in (nearest, lower, upper):
                assert index.shape == (output_size,)
                assert index.min() >= 0
                assert index.max() < input_size
            assert (upper - lower).max() <= 1
            assert weight.min() >= 0
            assert weight.max() < 1024


def test_height_and_width_are_not_swapped() -> None:
    data = np.arange(6, dtype=np.int8).reshape(1, 2, 3, 1)
    out = resize2d(ResizeParams((4, 3), "nearest", False, False), data)
    assert out[0, :, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
