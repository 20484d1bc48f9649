"""LowerQdq: data movement between dequantize and quantize is done on integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.evaluate import evaluate
from tests.relax_builder import apply, calls, const, dequantize, int8, module, quantize
from tvm_tiny.ops import make_call
from tvm_tiny.passes import LowerQdq
from tvm_tiny.quant import lut
from tvm_tiny.quant.params import LookupParams

op = relax.op
RNG = np.random.default_rng(7)
X = (float(np.float32(0.04)), 7)
Y = (float(np.float32(0.03)), -20)
SHAPE = (1, 4, 6)

MOVES = {
    "reshape": (lambda x: op.reshape(x, (4, 6)), lambda x: op.reshape(x, (4, 6))),
    "flatten": (op.flatten, lambda x: op.reshape(x, (24,))),
    "squeeze": (lambda x: op.squeeze(x, [0]), lambda x: op.reshape(x, (4, 6))),
    "expand_dims": (lambda x: op.expand_dims(x, [1]), lambda x: op.reshape(x, (1, 1, 4, 6))),
    "permute_dims": (lambda x: op.permute_dims(x, [0, 2, 1]), lambda x: op.permute_dims(x, [0, 2, 1])),
    "strided_slice": (
        lambda x: op.strided_slice(x, [1, 2], [0, 5], [3, 0], [2, -2]),
        lambda x: op.strided_slice(x, [1, 2], [0, 5], [3, 0], [2, -2]),
    ),
    # 0.2 is 5 steps of the input's scale, above its zero point 7.
    "pad": (
        lambda x: op.nn.pad(x, [0, 0, 1, 0, 0, 2], pad_value=0.2),
        lambda x: op.nn.pad(x, [0, 0, 1, 0, 0, 2], pad_value=12),
    ),
}


@pytest.mark.parametrize("same", [True, False], ids=["same", "requantized"])
@pytest.mark.parametrize("name", MOVES)
def test_one_tensor(name: str, same: bool) -> None:
    on_floats, on_integers = MOVES[name]
    out = X if same else Y

    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return quantize(bb.emit(on_floats(bb.emit(dequantize(x, *X)))), *out)

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        if same:
            return on_integers(x)
        table = relax.const(lut.requantize_table(*X, *Y))
        return make_call("lookup", [bb.emit(on_integers(x)), table], LookupParams("requantize", "int8"))

    after = apply(LowerQdq(), module(before, x=(SHAPE, "int8")))
    tvm.ir.assert_structural_equal(after, module(expected, x=(SHAPE, "int8")))


def test_concat_requantizes_the_parts_that_differ() -> None:
    fixed = int8(RNG, 1, 2, 6)

    def before(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        constant = bb.emit(dequantize(const(fixed, "int8"), *X))
        parts = [bb.emit(dequantize(x, *X)), bb.emit(dequantize(y, *Y)), constant]
        return quantize(bb.emit(op.nn.relu(bb.emit(op.concat(parts, 1)))), *Y)

    def expected(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        tables = [np.maximum(lut.requantize_table(*q, *Y), Y[1]) for q in (X, Y)]
        a, b = (
            bb.emit(make_call("lookup", [v, relax.const(t)], LookupParams("requantize", "int8")))
            for v, t in zip((x, y), tables, strict=True)
        )
        return op.concat([a, b, relax.const(tables[0][fixed.astype(int) + 128])], 1)

    specs = {"x": (SHAPE, "int8"), "y": (SHAPE, "int8")}
    tvm.ir.assert_structural_equal(apply(LowerQdq(), module(before, **specs)), module(expected, **specs))


def test_split_is_shared_by_its_parts() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        parts = bb.emit(op.split(bb.emit(dequantize(x, *X)), [1, 3], axis=1))
        return [bb.emit(quantize(bb.emit(relax.TupleGetItem(parts, i)), *q)) for i, q in enumerate((X, Y, X))]

    after = apply(LowerQdq(), module(body, x=(SHAPE, "int8")))
    assert calls(after) == ["split", "tinyml.lookup"]
    x = int8(RNG, *SHAPE)
    got = evaluate(after, x)
    np.testing.assert_array_equal(got[0], x[:, :1])
    np.testing.assert_array_equal(got[1], lut.requantize_table(*X, *Y)[x[:, 1:3].astype(int) + 128])
    np.testing.assert_array_equal(got[2], x[:, 3:])


def test_movement_without_quantize_on_either_side() -> None:
    """A reshape, and a function in front of a transpose, need no quantize of their own; a dense layer does."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        flat = bb.emit(op.reshape(bb.emit(dequantize(x, *X)), (1, 24)))
        weight = bb.emit(dequantize(const(int8(RNG, 24, 3), "int8"), 0.01))
        moved = bb.emit(op.permute_dims(bb.emit(op.tanh(bb.emit(op.matmul(flat, weight)))), [1, 0]))
        return quantize(moved, *Y)

    def lowered(build: Any) -> list[str]:
        return calls(apply(LowerQdq(), module(build, x=(SHAPE, "int8"))))

    def with_quantize(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        flat = bb.emit(op.reshape(bb.emit(dequantize(x, *X)), (1, 24)))
        weight = bb.emit(dequantize(const(int8(RNG, 24, 3), "int8"), 0.01))
        dense = bb.emit(quantize(bb.emit(op.matmul(flat, weight)), *Y))
        moved = bb.emit(op.permute_dims(bb.emit(op.tanh(bb.emit(dequantize(dense, *Y)))), [1, 0]))
        return quantize(moved, *Y)

    assert lowered(with_quantize) == ["reshape", "tinyml.qdense", "tinyml.lookup", "permute_dims"]
    with pytest.raises(Exception, match="tanh for tensor 'gv': has no integer form"):
        lowered(body)


def test_movement_of_integers_is_kept() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        padded = bb.emit(op.nn.pad(x, [0, 0, 1, 1, 0, 0], pad_value=7))
        parts = bb.emit(op.split(padded, 2, axis=1))
        joined = bb.emit(op.concat([bb.emit(relax.TupleGetItem(parts, i)) for i in (1, 0)], axis=2))
        return quantize(bb.emit(op.nn.relu(bb.emit(dequantize(joined, *X)))), *X)

    after = apply(LowerQdq(), module(body, x=(SHAPE, "int8")))
    assert calls(after) == ["nn.pad", "split", "concat", "tinyml.lookup"]


def test_movement_of_uint8_with_padding() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        padded = bb.emit(op.nn.pad(x, [1, 0], pad_value=200))
        return quantize(bb.emit(dequantize(padded, 0.5, 100)), 0.25, 50, "uint8")

    after = apply(LowerQdq(), module(body, x=((2,), "uint8")))
    np.testing.assert_array_equal(evaluate(after, np.array([100, 90], np.uint8))[0], [250, 50, 30])
