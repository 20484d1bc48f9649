"""When micro-kernels are taken, and that their constants are proven, not hoped for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernel_case import KernelCase
from tests.kernel_cases import all_cases
from tvm_tiny.quant.fixed_point import clamp_to_int8, requantize
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer

CASES = {case.name: case for case in all_cases()}


def _uses(case: KernelCase, cpu: str = "cortex-m4") -> set[str]:
    """Kinds of C functions of the kernel."""
    return {function.name.split("_")[1] for function in case.kernel_call(cpu).kernel.c_functions}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qconv2d-pointwise", "gemm3"),
        ("qconv2d-first-image", "gemm4"),
        ("qconv2d-3x3-same-batch", "border"),
        ("qconv2d-dilated", None),
        ("qconv2d-groups", None),
        ("qdense-three", "dense"),
        ("qdepthwise_conv2d-multiplier-of-one-channel", "gemm3"),
        ("qdepthwise_conv2d-3x3-same-relu", "dw3x3"),
        ("qdepthwise_conv2d-7x7-relu", None),  # higher than the image
        ("qdepthwise_conv2d-5x5-stride-relu", "dw"),
        ("qdepthwise_conv2d-dilated-relu", None),
        ("qdepthwise_conv2d-3x3-same", "dw3x3"),
    ],
)
def test_selection(name: str, kind: str | None) -> None:
    case = CASES[f"{name}-tflm"]
    assert not _uses(case, "cortex-m3")
    used = _uses(case)
    assert kind in used if kind is not None else not used


@pytest.mark.parametrize("name", ["qdepthwise_conv2d-3x3-same-relu", "qdepthwise_conv2d-7x7-relu"])
def test_little_code(name: str) -> None:
    kernel = CASES[f"{name}-tflm"].kernel_call("cortex-m4", "size").kernel
    assert any(function.name.startswith("tinyml_dw_") for function in kernel.c_functions)


def _answers(plan: LayerRequantization, x: np.ndarray, bias: int) -> np.ndarray:
    """What the instructions compute for channel 0, ``x`` with its bias."""
    acc = ((x - bias) << plan.scale_bits) + int(plan.offsets[0])
    assert np.abs(acc).max() < 2**31
    acc = acc - np.where(acc < 0, int(plan.signs[0]), 0)
    value = (((acc * int(plan.multipliers[0])) >> 32) + plan.addend) >> plan.shift
    if plan.zero_based:
        value = np.clip(value, 0, 255) + plan.low
    return np.clip(value, plan.low, plan.high)


@pytest.mark.parametrize("rounding", ["tflm", "single"])
@pytest.mark.parametrize("relu", [False, True])
def test_constants_meet_every_accumulator(rounding: str, relu: bool) -> None:
    rng = np.random.default_rng(11)
    solved = 0
    for _ in range(60):
        multiplier, shift = int(rng.integers(2**30, 2**31)), int(rng.integers(-12, -4))
        zero_point, bias = int(rng.integers(-128, 60)), int(rng.integers(-5000, 5000))
        clamp = (zero_point if relu else -128, int(rng.integers(100, 128)))
        reach = np.array([[-int(rng.integers(1, 60000)), int(rng.integers(1, 60000))]])
        arrays: Any = (np.array([multiplier]), np.array([shift]), np.array([bias]))
        plan = solve_layer(*arrays, reach, zero_point, clamp, rounding == "single")
        if plan is None or plan.constant[0]:
            continue
        solved += 1
        x = np.arange(reach[0, 0], reach[0, 1] + 1)
        expected = clamp_to_int8(requantize(x, multiplier, shift, rounding), zero_point, *clamp)
        np.testing.assert_array_equal(_answers(plan, x, bias), expected)
    assert solved > 40


def test_an_accumulator_that_may_wrap_around_is_declined() -> None:
    arrays: Any = (np.array([2**30]), np.array([3]), np.array([0]))
    assert solve_layer(*arrays, np.array([[-(2**28), 2**28]]), 0, (-128, 127)) is None
