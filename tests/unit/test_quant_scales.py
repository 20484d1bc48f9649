"""scales.py: which products are formed in float32; operators against TFLite Micro over many random scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.op_cases import interpreter_factors, oracle
from tests.tflite_evaluator import Evaluator
from tests.tflite_writer import TfliteWriter
from tvm_tiny.quant import scales
from tvm_tiny.quant.fixed_point import quantize_multiplier

Build = Callable[[TfliteWriter, np.random.Generator], None]


def f32(value: float) -> float:
    return float(np.float32(value))


def assert_like_tflite_micro(build: Build, seed: int, count: int) -> None:
    """Random models of one operator give what the interpreter gives."""
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        w = TfliteWriter()
        build(w, rng)
        model = w.finish()
        inputs: dict[str, NDArray[Any]] = {t.name: rng.integers(-128, 128, t.shape).astype(np.int8) for t in w.inputs}
        want = oracle(model, inputs)
        for name, got in Evaluator(model, factors=interpreter_factors()).run(inputs).items():
            np.testing.assert_array_equal(got, want[name], err_msg=f"seed {seed}, model {i}")


def random_quant(rng: np.random.Generator, decades: float = 2.0) -> tuple[float, int]:
    return f32(0.03 * 10.0 ** rng.uniform(-decades / 2, decades / 2)), int(rng.integers(-128, 128))


@pytest.mark.parametrize("operator", ["add", "sub", "mul"])
def test_binary_operators_over_random_scales(operator: str) -> None:
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        a, b = w.input("a", (1, 400), *random_quant(rng)), w.input("b", (1, 400), *random_quant(rng))
        real = (a.scale * b.scale if operator == "mul" else max(a.scale, b.scale)) * 10.0 ** rng.uniform(-1, 1.5)
        w.output(getattr(w, operator)(a, b, out_scale=real, out_zp=int(rng.integers(-128, 128)), name="y"))

    assert_like_tflite_micro(build, 11, 150)


@pytest.mark.parametrize("per_channel", [False, True])
def test_dense_over_random_scales(per_channel: bool) -> None:
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", (16, 32), *random_quant(rng))
        spread = rng.uniform(0.1, 1.0, 16 if per_channel else 1)
        weight = w.const("w", rng.integers(-127, 128, (16, 32)).astype(np.int8), 0.02 * spread)
        w.output(w.fully_connected(x, weight, out_scale=x.scale * rng.uniform(1, 30), out_zp=1, name="y"))

    assert_like_tflite_micro(build, 12, 100)


def test_convolution_over_random_scales() -> None:
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", (1, 4, 4, 8), *random_quant(rng))
        values = rng.integers(-127, 128, (32, 1, 1, 8)).astype(np.int8)
        weight = w.const("w", values, 0.05 * 10.0 ** rng.uniform(-4, 1, 32))
        activation = str(rng.choice(["none", "relu", "relu6", "relu_n1_to_1"]))
        w.output(w.conv2d(x, weight, out_scale=x.scale * 9, out_zp=-3, activation=activation, name="y"))

    assert_like_tflite_micro(build, 13, 100)


def test_mean_over_random_scales() -> None:
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        height, width = (int(v) for v in rng.integers(1, 13, 2))
        x = w.input("x", (1, height, width, 40), *random_quant(rng))
        to = f32(x.scale * 10.0 ** rng.uniform(-1.5, 0.5)), int(rng.integers(-128, 128))
        w.output(w.mean(x, (1, 2), bool(rng.integers(2)), out_scale=to[0], out_zp=to[1], name="y"))

    assert_like_tflite_micro(build, 14, 150)


@pytest.mark.parametrize("operator", ["add", "sub"])
def test_sums_of_all_pairs(operator: str) -> None:
    # Among 65536 pairs some come so close to a tie that the last bit of a multiplier decides.
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        values = np.arange(-128, 128).astype(np.int8)
        a = w.const("a", values.reshape(256, 1), *random_quant(rng))
        b = w.input("b", (1, 256), *random_quant(rng))
        real = max(a.scale, b.scale) * 10.0 ** rng.uniform(-0.5, 1)
        y = getattr(w, operator)(a, b, out_scale=real, out_zp=int(rng.integers(-128, 128)), name="y")
        w.output(y)

    assert_like_tflite_micro(build, 15, 30)


def test_per_tensor_dense_may_multiply_scales_in_float32() -> None:
    a, b, out = f32(0.0173917), f32(0.00391731), f32(0.0723)
    before, _ = scales.dense_multipliers(a, b, out, per_tensor=True, factors="float32")
    today, _ = scales.dense_multipliers(a, b, out, per_tensor=True)
    per_channel, _ = scales.dense_multipliers(a, b, out, per_tensor=False, factors="float32")
    assert before.tolist() == [quantize_multiplier(f32(a * b) / out)[0]]
    assert today.tolist() == per_channel.tolist() == [quantize_multiplier(a * b / out)[0]]
    assert today[0] != before[0]


def test_sub_may_form_its_factors_in_float32() -> None:
    arguments = (f32(0.0173917), 1, f32(0.0271931), 2, f32(0.0331117), 3)
    add, sub = scales.add_params(*arguments), scales.sub_params(*arguments)
    assert add == sub
    assert (add.left_shift, add.b_multiplier, add.b_shift) == (20, 2**30, 0)
    assert add.a_multiplier == quantize_multiplier(f32(0.0173917) / (2 * f32(0.0271931)))[0]
    assert (add.a_zero_point, add.b_zero_point, add.output_zero_point) == (1, 2, 3)
    before = scales.sub_params(*arguments, factors="float32")
    assert before.a_multiplier == quantize_multiplier(f32(f32(0.0173917) / (2 * f32(0.0271931))))[0]
    assert before.a_multiplier != sub.a_multiplier


def test_one_weight_scale_is_repeated_for_all_channels() -> None:
    multiplier, shift = scales.conv_multipliers(0.5, 0.25, 1.0, channels=3)
    assert multiplier.tolist() == [2**30] * 3
    assert shift.tolist() == [-2] * 3
    assert multiplier.dtype == shift.dtype == np.int32
    per_channel, bits = scales.conv_multipliers(0.5, [0.25, 0.5], 1.0, channels=2)
    assert (per_channel.tolist(), bits.tolist()) == ([2**30] * 2, [-2, -1])


@pytest.mark.parametrize(
    ("activation", "scale", "zero_point", "want"),
    [
        ("none", 0.1, 5, (-128, 127)),
        ("relu", 0.1, 5, (5, 127)),
        ("relu", 0.1, -128, (-128, 127)),
        ("relu6", 0.1, 5, (5, 65)),
        ("relu6", 0.01, 5, (5, 127)),
        ("relu_n1_to_1", 0.1, 5, (-5, 15)),
        ("relu_0_to_1", 0.1, 5, (5, 15)),
        # 6 / 4 is 1.5 and 1 / 0.4 is 2.5: ties go away from zero.
        ("relu6", 4.0, 0, (0, 2)),
        ("relu_n1_to_1", 0.4, 0, (-3, 3)),
        ("relu6", 1e-30, 5, (5, 127)),
    ],
)
def test_activation_range(activation: str, scale: float, zero_point: int, want: tuple[int, int]) -> None:
    assert scales.activation_range(activation, f32(scale), zero_point) == want


def test_clamp_range_of_uint8() -> None:
    assert scales.clamp_range(-1.0, None, 0.1, 128, "uint8") == (118, 255)
    assert scales.clamp_range(None, None, 0.1, 128, "uint8") == (0, 255)


def test_mean_folds_the_count_into_the_multiplier() -> None:
    params = scales.mean_params((1, 5, 7, 3), (-2, 1, 2), True, 0.5, 3, 0.5, 3)
    assert params.axes == (1, 2)
    assert (params.multiplier, params.shift) == ((2**30 << 5) // 35, 1 - 5)
    whole = scales.mean_params((1, 8, 8, 3), (1, 2), False, 0.5, 3, 0.5, 3)
    assert (whole.multiplier, whole.shift) == (2**30, 1 - 6)


def test_mean_keeps_its_shift_within_31_bits() -> None:
    params = scales.mean_params((1, 64), (1,), False, f32(2.0**-30), 0, 1.0, 0)
    assert (params.multiplier, params.shift) == ((2**30 << 2) // 64, -31)


def test_pool_and_mul_params() -> None:
    pool = scales.pool_params((2, 3), (1, 2), (0, 1, 0, 1), f32(0.1), 5, "relu6")
    assert (pool.pool_size, pool.strides, pool.padding) == ((2, 3), (1, 2), (0, 1, 0, 1))
    assert (pool.clamp_min, pool.clamp_max) == (5, 65)
    product = scales.mul_params(0.5, 1, 0.25, 2, 1.0, 3, "relu", "single")
    assert (product.multiplier, product.shift, product.clamp_min, product.rounding) == (2**30, -2, 3, "single")


def test_input_radius() -> None:
    # 31 in Q5.26 is 31 * 2**26; a left shift by 20 leaves 31 * 2**6.
    assert scales.input_radius(5, 20) == 31 * 64
    assert scales.input_radius(5, 31) == 0
    assert scales.input_radius(5, -20) == 2**31 - 1
