"""softmax.py and gemmlowp_math.py against the real functions and against TFLite Micro."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.op_cases import oracle
from tests.tflite_writer import TfliteWriter
from tvm_tiny.quant import gemmlowp_math
from tvm_tiny.quant.scales import softmax_params
from tvm_tiny.quant.softmax import exp_table, softmax

ONE = 2.0**31
FIXED_SEED = settings(derandomize=True, deadline=None, max_examples=300)


def c_mul(a: int, b: int) -> int:
    """gemmlowp's product of two Q0.31 numbers, nudged by sign and truncated."""
    product = a * b
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    return nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)


def c_divide_by_pot(x: int, exponent: int) -> int:
    remainder = x & ((1 << exponent) - 1)
    threshold = ((1 << exponent) - 1 >> 1) + (x < 0)
    return (x >> exponent) + (remainder > threshold)


def c_shift_left(x: int, bits: int) -> int:
    return min(max(x << bits, -(2**31)), 2**31 - 1)


def c_exp(a: int, integer_bits: int) -> int:
    """exp_on_negative_values, step by step on Python integers."""
    if a == 0:
        return 2**31 - 1
    fraction_bits = 31 - integer_bits
    quarter = 2 ** (fraction_bits - 2)
    offset = (a & (quarter - 1)) - quarter
    x = c_shift_left(offset, integer_bits) + 2**28
    x2 = c_mul(x, x)
    x3 = c_mul(x2, x)
    x4_over_4 = c_divide_by_pot(c_mul(x2, x2), 2)
    sum_of_higher = c_divide_by_pot(c_mul(x4_over_4 + x3, 715827883) + x2, 1)
    result = 1895147668 + c_mul(1895147668, x + sum_of_higher)
    factors = [1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242]
    for bit, factor in zip(range(fraction_bits - 2, 31), factors, strict=False):
        if (offset - a) >> bit & 1:
            result = c_mul(result, factor)
    return result


def c_newton(a: int) -> int:
    """Three steps towards 2 / (1 + a), Q2.29; RoundingHalfSum rounds away from zero."""
    total = a + 2**31 - 1
    half = (total + 1) // 2
    x = 1515870810 + c_mul(half, -1010580540)
    for _ in range(3):
        x += c_shift_left(c_mul(x, 2**29 - c_mul(half, x)), 2)
    return x


@FIXED_SEED
@given(st.integers(-(2**31), 0))
def test_exp_bit_for_bit(a: int) -> None:
    for integer_bits in (4, 5):
        assert gemmlowp_math.exp_on_negative_values(a, integer_bits) == c_exp(a, integer_bits)


@FIXED_SEED
@given(st.integers(0, 2**31 - 1))
def test_divisions_bit_for_bit(a: int) -> None:
    assert gemmlowp_math.one_over_one_plus_x(a) == c_shift_left(c_newton(a), 1)
    assert gemmlowp_math.one_minus_x_over_one_plus_x(a) == c_shift_left(c_newton(a) - 2**29, 2)


@FIXED_SEED
@given(st.integers(1 - 2**31, 2**31 - 1))
def test_logistic_and_tanh_bit_for_bit(a: int) -> None:
    positive = c_shift_left(c_newton(c_exp(-abs(a), 4)), 1)
    magnitude = c_shift_left(c_newton(c_exp(-abs(a), 5)) - 2**29, 2)
    if a == 0:
        positive, magnitude = 2**30, 0
    assert gemmlowp_math.logistic(a, 4) == (positive if a >= 0 else 2**31 - 1 - positive)
    assert gemmlowp_math.tanh(a, 4) == (magnitude if a >= 0 else -magnitude)


def test_exp_on_negative_values() -> None:
    real = -np.concatenate([np.linspace(0, 1, 500), np.linspace(1, 31, 500)])
    result = gemmlowp_math.exp_on_negative_values(np.round(real * 2**26), 5)
    np.testing.assert_allclose(result / ONE, np.exp(np.round(real * 2**26) / 2**26), atol=3e-7)
    assert gemmlowp_math.exp_on_negative_values(0, 5) == 2**31 - 1
    assert gemmlowp_math.exp_on_negative_values(-(2**31), 5) == 0


def test_logistic_and_tanh() -> None:
    raw = np.round(np.linspace(-15.9, 15.9, 1001) * 2**27).astype(np.int64)
    real = raw / 2**27
    np.testing.assert_allclose(gemmlowp_math.logistic(raw, 4) / ONE, 1 / (1 + np.exp(-real)), atol=1e-6)
    np.testing.assert_allclose(gemmlowp_math.tanh(raw, 4) / ONE, np.tanh(real), atol=1e-6)
    assert gemmlowp_math.logistic(0, 4) == 2**30
    assert gemmlowp_math.tanh(0, 4) == 0


def test_reciprocal() -> None:
    real = np.concatenate([np.linspace(1, 3, 101), np.linspace(3, 4000, 500)])
    raw = np.round(real * 2**19).astype(np.int64)
    scale, bits = gemmlowp_math.reciprocal(raw, 12)
    np.testing.assert_allclose(scale / ONE / 2.0**bits, 2**19 / raw, rtol=1e-6)


def test_exp_table_is_zero_below_the_limit() -> None:
    params = softmax_params(0.5)
    table = exp_table(params)
    assert table.dtype == np.int32
    assert table.shape == (256,)
    assert (table[-params.diff_min + 1 :] == 0).all()
    # exp(-16) and less is in the last steps of Q0.31; what the table says where it says something is the exponential.
    np.testing.assert_allclose(table[:20] / ONE, np.exp(-0.5 * np.arange(20)), atol=1e-6)


def test_large_scales_need_no_more_than_30_bits_of_shift() -> None:
    for scale in (8.0, 16.0, 31.9, 32.0, 1e6):
        params = softmax_params(scale)
        assert params.input_left_shift <= 30
        assert exp_table(params)[0] == 2**31 - 1


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 64])
def test_softmax_equals_tflite_micro_over_random_scales(depth: int) -> None:
    rng = np.random.default_rng(31)
    for _ in range(60):
        scale = float(np.float32(10.0 ** rng.uniform(-5, 2)))
        beta = float(np.float32(rng.choice([1.0, 1.0, 0.3, 2.5])))
        w = TfliteWriter()
        w.output(w.softmax(w.input("x", (20, depth), scale, 0), beta, name="y"))
        data = np.clip(rng.normal(0, 10.0 ** rng.uniform(0, 2.5), (20, depth)), -128, 127).astype(np.int8)
        want = oracle(w.finish(), {"x": data})["y"]
        np.testing.assert_array_equal(softmax(softmax_params(scale, beta), data), want, err_msg=f"{scale} {beta}")


def test_long_flat_rows_go_where_tflite_micro_stops() -> None:
    # The sum passes 512, where the interpreter's check of the output shift fails; 1/3000 rounds to 0.
    flat = np.zeros((1, 3000), dtype=np.int8)
    assert set(softmax(softmax_params(0.1), flat).reshape(-1).tolist()) == {-128}
    peak = flat.copy()
    peak[0, 7] = 127
    assert softmax(softmax_params(0.1), peak)[0, 7] > 100
