"""When vector kernels are taken, and that what their instructions compute is what the constants were proven for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernel_cases import all_cases
from tvm_tiny.quant.fixed_point import clamp_to_int8, requantize
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer
from tvm_tiny.schedules.cortex_m.mve.requantization import VectorRequantization, vector_requantization

CASES = {case.name: case for case in all_cases()}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("qconv2d-pointwise", {"gemm", "pointwise"}),
        ("qconv2d-first-audio", {"gemm", "gather"}),
        ("qconv2d-3x3-same-batch", {"gemm", "columns"}),
        ("qconv2d-dilated", set()),
        ("qconv2d-groups", set()),
        ("qdense-three", {"gemm", "dense"}),
        ("qdepthwise_conv2d-multiplier-of-one-channel", {"gemm"}),
        ("qdepthwise_conv2d-3x3-same", {"interleave3", "depthwise"}),
        ("qdepthwise_conv2d-7x7-relu", {"interleave3", "interleave4", "depthwise"}),
        ("qdepthwise_conv2d-dilated-relu", set()),
    ],
)
def test_selection(name: str, kinds: set[str]) -> None:
    kernel = CASES[f"{name}-tflm"].kernel_call("cortex-m55").kernel
    used = {function.name.split("_")[2] for function in kernel.c_functions if function.name.startswith("tinyml_mve_")}
    assert kinds <= used if kinds else not used
    assert (kernel.segment is not None) == (kernel.granularity == "row")


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -(2**31), 2**31 - 1)


def _wrapped(values: np.ndarray) -> np.ndarray:
    return (values + 2**31) % 2**32 - 2**31


def _answers(plan: LayerRequantization, vector: VectorRequantization, x: np.ndarray, bias: int) -> np.ndarray:
    """The instructions, one by one, for channel 0 and accumulators ``x`` with their bias."""
    steps = vector.steps
    t = ((x - bias) << 8) + int(plan.offsets[0])
    if steps.signed:
        t = t - np.where(t < 0, int(plan.signs[0]), 0)
    t = t * int(plan.multipliers[0]) >> (31 if steps.uniform else 32)
    t = t + (vector.addend if steps.add else 0)
    assert np.abs(t).max() < 2**31
    t = _saturated(t << vector.left) if vector.left >= 0 else t >> -vector.left
    t = _saturated(t + vector.raise_high) if steps.raises else t
    t = _saturated(t + vector.second) if steps.raises > 1 else t
    t = _wrapped(t + vector.back) if steps.back else t
    t = _saturated(t - vector.second) + vector.second if steps.low else t
    return t >> 24


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("rounding", ["tflm", "single"])
@pytest.mark.parametrize("relu", [False, True])
def test_instructions_meet_every_accumulator(rounding: str, relu: bool, uniform: bool) -> None:
    rng = np.random.default_rng(12)
    solved = set()
    for _ in range(80):
        multiplier, shift = int(rng.integers(2**30, 2**31)), int(rng.integers(-12, -4))
        zero_point, bias = int(rng.integers(-128, 90)), int(rng.integers(-5000, 5000))
        low = -128 if rng.random() < 0.5 else min(zero_point, -1) - int(rng.integers(0, 20))
        clamp = (zero_point if relu else max(low, -128), int(rng.integers(min(zero_point + 10, 100), 128)))
        reach = np.array([[-int(rng.integers(1, 60000)), int(rng.integers(1, 60000))]])
        arrays: Any = (np.array([multiplier]), np.array([shift]), np.array([bias]))
        plan = solve_layer(*arrays, reach, zero_point, clamp, rounding == "single")
        vector = vector_requantization(plan, arrays[2], reach, uniform=uniform) if plan is not None else None
        if plan is None or vector is None or plan.constant[0]:
            continue
        solved.add((vector.steps.signed, vector.steps.raises, vector.steps.low))
        x = np.arange(reach[0, 0], reach[0, 1] + 1)
        expected = clamp_to_int8(requantize(x, multiplier, shift, rounding), zero_point, *clamp)
        np.testing.assert_array_equal(_answers(plan, vector, x, bias), expected)
    assert len(solved) >= 2


def test_bounds_that_do_not_fit_are_declined() -> None:
    # One bound below zero and one inside of int8 as well: there is one number for the two.
    arrays: Any = (np.array([2**30]), np.array([-6]), np.array([0]))
    reach = np.array([[-9000, 9000]])
    plan = solve_layer(*arrays, reach, -100, (-120, -20))
    assert plan is not None
    assert vector_requantization(plan, arrays[2], reach) is None
    # One value is left: its bound would be raised by twice 128, which int32 does not hold.
    plan = solve_layer(*arrays, reach, 5, (5, 5))
    assert plan is not None
    assert vector_requantization(plan, arrays[2], reach) is None
