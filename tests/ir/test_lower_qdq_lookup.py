"""LowerQdq: functions of one tensor become tables of 256 entries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.relax_builder import apply, call_named, calls, const, dequantize, module, quantize
from tvm_tiny.errors import ModelError
from tvm_tiny.ops import make_call, params_of, with_float_semantics
from tvm_tiny.passes import LowerQdq
from tvm_tiny.passes._dataflow import array_of
from tvm_tiny.quant import lut
from tvm_tiny.quant.params import LookupParams

op = relax.op
X = (float(np.float32(0.04)), 7)
Y = (float(np.float32(0.03)), -20)


def hard_swish(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    gate = bb.emit(op.clip(bb.emit(op.add(x, const(3, "float32"))), 0, 6))
    return op.multiply(x, bb.emit(op.divide(gate, const(6, "float32"))))


def silu(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return op.multiply(bb.emit(op.sigmoid(x)), x)


def soft_sign(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return op.divide(x, bb.emit(op.add(const(1, "float32"), bb.emit(op.abs(x)))))


def maximum(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return op.negative(bb.emit(op.maximum(bb.emit(op.minimum(x, const(1, "float32"))), const(-2, "float32"))))


CASES = {
    "requantize": (lambda _, x: x, lut.requantize_table(*X, *Y)),
    "sigmoid": (lambda _, x: op.sigmoid(x), lut.logistic_table(*X, *Y)),
    "tanh": (lambda _, x: op.tanh(x), lut.tanh_table(*X, *Y)),
    "relu": (lambda _, x: op.nn.relu(x), lut.relu_table("relu", *X, *Y)),
    "clip": (lambda _, x: op.clip(x, 0, 6), lut.relu_table("relu6", *X, *Y)),
    "leaky_relu": (lambda _, x: op.nn.leakyrelu(x, 0.1), lut.leaky_relu_table(float(np.float64(0.1)), *X, *Y)),
    "hard_swish": (hard_swish, lut.hard_swish_table(*X, *Y)),
    "sigmoid+multiply": (silu, lut.function_table(lambda x: x / (1 + math.exp(-x)), *X, *Y)),
    "silu": (lambda _, x: op.nn.silu(x), lut.function_table(lambda x: x / (1 + math.exp(-x)), *X, *Y)),
    "abs+add+divide": (soft_sign, lut.function_table(lambda x: x / (1 + abs(x)), *X, *Y)),
    "minimum+maximum+negative": (maximum, lut.function_table(lambda x: -max(min(x, 1), -2), *X, *Y)),
    "exp": (lambda _, x: op.exp(x), lut.function_table(math.exp, *X, *Y)),
}


@pytest.mark.parametrize("function", CASES)
def test_table(function: str) -> None:
    build, table = CASES[function]
    before = module(lambda bb, x: quantize(bb.emit(build(bb, bb.emit(dequantize(x, *X)))), *Y), x=((2, 3), "int8"))
    expected = module(
        lambda bb, x: make_call("lookup", [x, relax.const(table)], LookupParams(function, "int8")), x=((2, 3), "int8")
    )
    tvm.ir.assert_structural_equal(apply(LowerQdq(), before), expected)


WIDE = (float(np.float32(240)), 3)
FAR = {
    "tanh": (op.tanh, WIDE, lut.TANH_OUTPUT, math.tanh),
    "sigmoid": (op.sigmoid, WIDE, lut.LOGISTIC_OUTPUT, lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0),
}


@pytest.mark.parametrize("function", FAR)
def test_where_fixed_point_fails_a_model_of_floats_has_the_function_itself(function: str) -> None:
    """Steps of 240: TFLite Micro takes even 0 for the least input, and so does a TFLite model."""
    build, x_q, y_q, real = FAR[function]
    before = module(lambda bb, x: quantize(bb.emit(build(bb.emit(dequantize(x, *x_q)))), *y_q), x=((2, 3), "int8"))
    as_tflite = call_named(apply(LowerQdq(), before), "tinyml.lookup")
    assert set(array_of(as_tflite.args[1])) == {-128, 127}
    before["main"] = with_float_semantics(before["main"])
    as_floats = call_named(apply(LowerQdq(), before), "tinyml.lookup")
    np.testing.assert_array_equal(array_of(as_floats.args[1]), lut.function_table(real, *x_q, *y_q))


def test_hard_swish_that_fixed_point_cannot_tell() -> None:
    x_q, y_q = (13.5, 0), (0.01, 0)
    body = module(
        lambda bb, x: quantize(bb.emit(hard_swish(bb, bb.emit(dequantize(x, *x_q)))), *y_q), x=((2, 3), "int8")
    )
    with pytest.raises(ModelError, match="the output's is too small"):
        apply(LowerQdq(), body)
    body["main"] = with_float_semantics(body["main"])
    table = array_of(call_named(apply(LowerQdq(), body), "tinyml.lookup").args[1])
    np.testing.assert_array_equal(table, [0] * 129 + [127] * 127)


def test_each_use_may_have_its_own_dequantize() -> None:
    """The same tensor dequantized twice is one input; another quantization of it is not."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        gate = bb.emit(op.sigmoid(bb.emit(dequantize(x, *X))))
        return quantize(bb.emit(op.multiply(bb.emit(dequantize(x, *X)), gate)), *Y)

    after = apply(LowerQdq(), module(body, x=((2, 3), "int8")))
    assert params_of(call_named(after, "tinyml.lookup")).function == "sigmoid+multiply"


@pytest.mark.parametrize("activation", [op.nn.relu, lambda x: op.clip(x, -1, 1)])
def test_activation_without_quantize_between(activation: Any) -> None:
    """relu(softmax) and the like: what cannot clamp by itself is clamped by a table."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        mean = bb.emit(op.mean(bb.emit(dequantize(x, *X)), [1]))
        return quantize(bb.emit(activation(mean)), *Y)

    after = apply(LowerQdq(), module(body, x=((2, 3), "int8")))
    assert calls(after) == ["tinyml.qmean", "tinyml.lookup"]
    table = array_of(call_named(after, "tinyml.lookup").args[1])
    low, high = (-20, 127) if activation is op.nn.relu else (-53, 13)
    np.testing.assert_array_equal(table, np.clip(np.arange(-128, 128), low, high))
