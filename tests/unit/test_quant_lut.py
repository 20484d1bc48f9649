"""lut.py: tables against TFLite Micro over many random quantizations, and against the real functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.op_cases import interpreter_factors, oracle
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.errors import ModelError
from tvm_tiny.quant import lut
from tvm_tiny.quant.fixed_point import quantize_multiplier, requantize

Quant = tuple[float, int]
ALL_INT8 = np.arange(-128, 128).astype(np.int8).reshape(1, 256)


def f32(value: float) -> float:
    return float(np.float32(value))


def interpreter_table(q: Quant, make: Callable[[TfliteWriter, TensorRef], TensorRef], dtype: str = "int8") -> list[int]:
    """What TFLite Micro answers for all 256 inputs."""
    w = TfliteWriter()
    y = make(w, w.input("x", (1, 256), *q, dtype=dtype))
    w.output(y)
    values = ALL_INT8 if dtype == "int8" else np.arange(256, dtype=np.uint8).reshape(1, 256)
    return oracle(w.finish(), {"x": values})[y.name].reshape(-1).tolist()


def random_quants(seed: int, count: int, decades: float) -> list[tuple[Quant, Quant]]:
    """(input, output) quantizations; scales around 0.03, ``decades`` wide."""
    rng = np.random.default_rng(seed)
    return [
        (
            (f32(0.03 * 10.0 ** rng.uniform(-decades / 2, decades / 2)), int(rng.integers(-128, 128))),
            (f32(0.03 * 10.0 ** rng.uniform(-decades / 2, decades / 2)), int(rng.integers(-128, 128))),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_saturating_functions_equal_tflite_micro(name: str) -> None:
    table = getattr(lut, f"{name}_table")
    for q, _ in random_quants(21, 150, 6):
        assert table(*q).tolist() == interpreter_table(q, lambda w, x: getattr(w, name)(x)), q


@pytest.mark.parametrize("scale", [7.9, 8.0, 15.9, 16.0, 1000.0, 1e-6, 2.0**-27])
def test_saturating_functions_at_extreme_scales(scale: float) -> None:
    for zero_point in (-128, 0, 127):
        q = (f32(scale), zero_point)
        assert lut.logistic_table(*q).tolist() == interpreter_table(q, lambda w, x: w.logistic(x)), q
        assert lut.tanh_table(*q).tolist() == interpreter_table(q, lambda w, x: w.tanh(x)), q


def test_relu_equals_tflite_micro() -> None:
    for q, to in random_quants(22, 100, 3):
        want = interpreter_table(q, lambda w, x, to=to: w.unary("RELU", x, out_scale=to[0], out_zp=to[1]))
        assert lut.relu_table("relu", *q, *to).tolist() == want, (q, to)


def test_relu6_equals_tflite_micro_where_quantizations_agree() -> None:
    for q, _ in random_quants(23, 100, 3):
        want = interpreter_table(q, lambda w, x: w.unary("RELU6", x))
        assert lut.relu_table("relu6", *q, *q).tolist() == want, q


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.5, -0.3])
def test_leaky_relu_equals_tflite_micro(alpha: float) -> None:
    for q, to in random_quants(24, 50, 3):
        want = interpreter_table(q, lambda w, x, to=to: w.leaky_relu(x, alpha, out_scale=to[0], out_zp=to[1]))
        assert lut.leaky_relu_table(f32(alpha), *q, *to).tolist() == want, (q, to)


def scales_near_ties(seed: int) -> list[tuple[float, float]]:
    """(input scale, output scale): some input less its zero point comes out as a half within float32's precision."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(300):
        value, out_scale = int(rng.integers(100, 256)), f32(0.03 * 10.0 ** rng.uniform(-1, 1))
        pairs.append((f32(out_scale * (int(rng.integers(20, value // 2)) + 0.5) / value), out_scale))
    return pairs


def test_relu_where_the_last_bit_of_the_factor_decides() -> None:
    count = 0
    for scale, out in scales_near_ties(27):
        double, single = (lut.relu_table("relu", scale, -128, out, -128, factors=t) for t in ("float64", "float32"))
        if (double == single).all():
            continue
        count += 1
        want = interpreter_table((scale, -128), lambda w, x, out=out: w.unary("RELU", x, out_scale=out, out_zp=-128))
        table = {"float64": double, "float32": single}[interpreter_factors()]
        assert table.tolist() == want, (scale, out)
    assert count >= 5


@pytest.mark.parametrize("zero_point", [-128, 127])
def test_leaky_relu_where_the_last_bit_of_a_factor_decides(zero_point: int) -> None:
    # With zero point -128 all inputs are positive, with 127 all are negative.
    alpha = f32(0.3)
    count = 0
    for product, out in scales_near_ties(28):
        scale = product if zero_point < 0 else f32(product / alpha)
        arguments = (alpha, scale, zero_point, out, zero_point)
        double, single = (lut.leaky_relu_table(*arguments, factors=t) for t in ("float64", "float32"))
        if (double == single).all():
            continue
        count += 1
        to = {"out_scale": out, "out_zp": zero_point}
        want = interpreter_table((scale, zero_point), lambda w, x, to=to: w.leaky_relu(x, alpha, **to))
        assert {"float64": double, "float32": single}[interpreter_factors()].tolist() == want, (scale, out)
    assert count >= 5


def test_hard_swish_where_the_last_bit_of_a_factor_decides() -> None:
    count = 0
    rng = np.random.default_rng(29)
    for _ in range(400):
        # The multiplier has 15 bits here, so only factors half-way between two of them tell.
        out = f32(0.03 * 10.0 ** rng.uniform(-1, 1))
        factor = (int(rng.integers(16384, 32768)) + 0.5) * 2.0 ** int(rng.integers(-21, -18))
        q, to = (f32(out * 128 * factor), int(rng.integers(-128, 128))), (out, int(rng.integers(-128, 128)))
        double, single = (lut.hard_swish_table(*q, *to, factors=t) for t in ("float64", "float32"))
        if (double == single).all():
            continue
        count += 1
        want = interpreter_table(q, lambda w, x, to=to: w.hard_swish(x, out_scale=to[0], out_zp=to[1]))
        assert {"float64": double, "float32": single}[interpreter_factors()].tolist() == want, (q, to)
    assert count >= 3


def test_requantize_where_the_last_bit_of_the_factor_decides() -> None:
    count = 0
    inputs = np.arange(256)
    for scale, out in scales_near_ties(30):
        single = requantize(inputs, *quantize_multiplier(f32(scale / out))) - 128
        table = lut.requantize_table(scale, -128, out, -128)
        if (table == np.clip(single, -128, 127)).all():
            continue
        count += 1
        assert table.tolist() == interpreter_table((scale, -128), lambda w, x, out=out: w.quantize(x, out, -128))
    assert count >= 5


def test_hard_swish_equals_tflite_micro() -> None:
    # From a ratio of 128 on TFLite Micro refuses the operator.
    for q, to in (pair for pair in random_quants(25, 200, 3.5) if pair[0][0] < 127 * pair[1][0]):
        want = interpreter_table(q, lambda w, x, to=to: w.hard_swish(x, out_scale=to[0], out_zp=to[1]))
        assert lut.hard_swish_table(*q, *to).tolist() == want, (q, to)


@pytest.mark.parametrize(("scale", "out_scale"), [(1e-7, 1e-7), (1e-8, 1.0), (0.01, 2.0), (1e-5, 30.0), (500.0, 400.0)])
def test_hard_swish_at_extreme_scales(scale: float, out_scale: float) -> None:
    q, to = (f32(scale), 3), (f32(out_scale), -5)
    want = interpreter_table(q, lambda w, x: w.hard_swish(x, out_scale=to[0], out_zp=to[1]))
    assert lut.hard_swish_table(*q, *to).tolist() == want


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("int8", "uint8"), ("uint8", "int8")])
def test_requantize_equals_tflite_micro(dtypes: tuple[str, str]) -> None:
    shift_in, shift_out = (128 if d == "uint8" else 0 for d in dtypes)
    for (scale, zp), (out_scale, out_zp) in random_quants(26, 60, 3):
        q, to = (scale, zp + shift_in), (out_scale, out_zp + shift_out)
        want = interpreter_table(q, lambda w, x, to=to: w.quantize(x, *to, dtype=dtypes[1]), dtypes[0])
        assert lut.requantize_table(*q, *to, in_dtype=dtypes[0], out_dtype=dtypes[1]).tolist() == want, (q, to)


def test_equal_scales_and_shifted_zero_points_flip_the_top_bit() -> None:
    table = lut.requantize_table(0.1, -3, 0.1, 125, in_dtype="int8", out_dtype="uint8")
    assert table.tolist() == list(range(256))
    assert table.dtype == np.uint8
    back = lut.requantize_table(0.1, 125, 0.1, -3, in_dtype="uint8", out_dtype="int8")
    assert back.tolist() == list(range(-128, 128))


def test_rounding_mode_reaches_the_tables() -> None:
    arguments = (f32(0.05), 0, f32(0.11), 0)
    assert lut.requantize_table(*arguments).tolist() != lut.requantize_table(*arguments, "single").tolist()


Q, TO = (f32(0.06), -10), (f32(0.05), -4)


@pytest.mark.parametrize(
    ("table", "to", "function"),
    [
        (lut.logistic_table(*Q), lut.LOGISTIC_OUTPUT, lambda x: 1 / (1 + math.exp(-x))),
        (lut.tanh_table(*Q), lut.TANH_OUTPUT, math.tanh),
        (lut.hard_swish_table(*Q, *TO), TO, lambda x: x * min(max(x + 3, 0), 6) / 6),
        (lut.leaky_relu_table(0.1, *Q, *TO), TO, lambda x: max(x, 0.1 * x)),
        (lut.relu_table("relu6", *Q, *TO), TO, lambda x: min(max(x, 0.0), 6.0)),
        (lut.relu_table("relu_0_to_1", *Q, *TO), TO, lambda x: min(max(x, 0.0), 1.0)),
        (lut.clip_table(-2.0, None, *Q, *TO), TO, lambda x: max(x, -2.0)),
    ],
    ids=["logistic", "tanh", "hard_swish", "leaky_relu", "relu6", "relu_0_to_1", "clip"],
)
def test_tables_are_close_to_the_real_function(
    table: NDArray[np.int8], to: Quant, function: Callable[[float], float]
) -> None:
    difference = table.astype(int) - lut.function_table(function, *Q, *to)
    assert np.abs(difference).max() <= 1


def test_logistic_with_another_output_quantization_is_rounded_from_the_function() -> None:
    q = (f32(0.06), -10)
    table = lut.logistic_table(*q, 1 / 255, 0)
    for index in (0, 100, 138, 200, 255):
        real = 1 / (1 + math.exp(-q[0] * (index - 128 - q[1])))
        assert table[index] == min(math.floor(real * 255 + 0.5), 127)
    assert lut.tanh_table(*q, 1 / 127, 0)[255] == 127


def test_function_table_survives_infinities_of_scale() -> None:
    assert set(lut.function_table(lambda x: x * 1e30, 1.0, 0, 1e-30, 0).tolist()) == {-128, 0, 127}


def test_hard_swish_refuses_an_output_too_fine() -> None:
    with pytest.raises(ModelError, match="output's is too small") as error:
        lut.hard_swish_table(1.0, 0, 0.001, 0)
    assert error.value.hints
