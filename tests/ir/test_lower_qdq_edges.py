"""LowerQdq: inputs and outputs, floats around the integer part, uint8, modules without anything to do."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from tests.evaluate import evaluate
from tests.relax_builder import (
    apply,
    assert_left_alone,
    const,
    dequantize,
    module,
    quantize,
)
from tvm_tiny.ops import make_call
from tvm_tiny.passes import LowerQdq
from tvm_tiny.quant.params import LookupParams, QuantizeParams

op = relax.op


def test_edges_and_data_movement_around_them() -> None:
    """quantize and dequantize move to the very edges, so that data are moved as int8."""

    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        q = bb.emit(quantize(bb.emit(op.permute_dims(x, [0, 2, 1])), 0.5, 3))
        return op.reshape(bb.emit(dequantize(q, 0.5, 3)), (1, 6))

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        q = bb.emit(make_call("quantize", [x], QuantizeParams(0.5, 3, "int8")))
        flat = bb.emit(op.reshape(bb.emit(op.permute_dims(q, [0, 2, 1])), (1, 6)))
        return make_call("dequantize", [flat], QuantizeParams(0.5, 3, "float32"))

    spec = ((1, 2, 3), "float32")
    tvm.ir.assert_structural_equal(apply(LowerQdq(), module(before, x=spec)), module(expected, x=spec))


def test_float_operators_outside_stay_float() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        q = bb.emit(quantize(bb.emit(op.subtract(x, const(0.5, "float32"))), 0.5, 3))
        return op.nn.softmax(bb.emit(dequantize(q, 0.5, 3)))

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        centred = bb.emit(op.subtract(x, const(0.5, "float32")))
        q = bb.emit(make_call("quantize", [centred], QuantizeParams(0.5, 3, "int8")))
        return op.nn.softmax(bb.emit(make_call("dequantize", [q], QuantizeParams(0.5, 3, "float32"))))

    spec = ((1, 6), "float32")
    tvm.ir.assert_structural_equal(apply(LowerQdq(), module(before, x=spec)), module(expected, x=spec))


def test_uint8_becomes_int8_inside() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(quantize(bb.emit(op.nn.relu(bb.emit(dequantize(x, 0.5, 100)))), 0.25, 10, "uint8"))
        return op.clip(bb.emit(op.reshape(y, (4,))), 0, 200)

    after = apply(LowerQdq(), module(body, x=((2, 2), "uint8")))
    x = np.array([[0, 100], [101, 255]], np.uint8)
    np.testing.assert_array_equal(evaluate(after, x)[0], np.array([10, 10, 12, 200], np.uint8))


def test_float_modules_and_integer_modules_are_left_alone() -> None:
    def conv(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return op.nn.relu(bb.emit(op.nn.conv2d(x, const(np.ones((2, 3, 1, 1)), "float32"))))

    assert_left_alone(LowerQdq(), module(conv, x=((1, 3, 4, 4), "float32")))
    table = relax.const(np.arange(-128, 128, dtype=np.int8)[::-1].copy())
    params = LookupParams("negate", "int8")
    assert_left_alone(LowerQdq(), module(lambda bb, x: make_call("lookup", [x, table], params), x=((2,), "int8")))
