"""CancelTransposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.evaluate import evaluate
from tests.integer_layers import REVERSED, RNG, add, conv, dense, lookup, mean
from tests.relax_builder import apply, assert_left_alone, calls, module
from tvm_tiny.ops import make_call
from tvm_tiny.passes import CancelTransposes
from tvm_tiny.passes._dataflow import shape_of
from tvm_tiny.quant import scales
from tvm_tiny.quant.params import QuantizeParams

op = relax.op
IMAGE = ((1, 2, 6, 5), "int8")  # NCHW
POINTWISE = RNG.integers(-128, 128, (4, 1, 1, 4), dtype=np.int8)
FIXED = RNG.integers(-128, 128, (1, 4, 1, 1), dtype=np.int8)


def to_nhwc(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return bb.emit(op.permute_dims(x, [0, 2, 3, 1]))


def to_nchw(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return bb.emit(op.permute_dims(x, [0, 3, 1, 2]))


def conv_nchw(bb: relax.BlockBuilder, x: relax.Expr, **changes: Any) -> relax.Expr:
    """[1, 2, H, W] -> [1, 4, H - 2, W - 2]"""
    return to_nchw(bb, bb.emit(conv(to_nhwc(bb, x), **changes)))


def pointwise_nchw(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return to_nchw(bb, bb.emit(conv(to_nhwc(bb, x), POINTWISE)))


def split_and_swap(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    parts = bb.emit(op.split(x, [1], axis=1))
    a, b = (bb.emit(relax.TupleGetItem(parts, i)) for i in range(2))
    return op.concat([b, a], axis=1)


def join_all_parts(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return op.concat(bb.emit(op.split(x, 2, axis=1)), axis=1)


# Everything the permutation moves past: an operator on [1, 4, 4, 3] (NCHW) with a result of four channels.
PASSED: dict[str, Any] = {
    "lookup": lambda bb, x: lookup(x, REVERSED),
    "sum": lambda bb, x: add(x, bb.emit(lookup(x, REVERSED))),
    "sum with a constant": lambda bb, x: add(relax.const(FIXED), x),
    "sum with a constant of lower rank": lambda bb, x: add(x, relax.const(FIXED[0])),
    "product with a vector": lambda bb, x: make_call(
        "qmul", [x, bb.emit(op.reshape(bb.emit(mean(x, (1, 4, 4, 3), (2, 3), False)), (1, 4, 1, 1)))], MUL
    ),
    "concat": lambda bb, x: op.concat([x, bb.emit(lookup(x, REVERSED))], axis=-1),
    "split and concat": split_and_swap,
    "slice": lambda bb, x: op.strided_slice(x, [2, -1], [3, 0], [0, 3], [-1, 2]),
    "pad": lambda bb, x: op.nn.pad(x, [0, 0, 0, 0, 1, 2, 3, 4], "constant", -7),
    "mean": lambda bb, x: mean(x, (1, 4, 4, 3), (2,), True),
    "another permutation": lambda bb, x: op.permute_dims(bb.emit(op.permute_dims(x, [0, 3, 2, 1])), [0, 3, 2, 1]),
}
MUL = scales.mul_params(0.1, 3, 0.2, -4, 0.25, 5)


@pytest.mark.parametrize("name", PASSED)
def test_moves_past(name: str) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(PASSED[name](bb, conv_nchw(bb, x)))
        return conv(to_nhwc(bb, y), POINTWISE)

    before = module(body, x=IMAGE)
    after = apply(CancelTransposes(), before)
    assert calls(after).count("permute_dims") == 1, "only the one at the input remains"
    assert calls(after)[0] == "permute_dims"
    x = RNG.integers(-128, 128, IMAGE[0], dtype=np.int8)
    np.testing.assert_array_equal(evaluate(after, x)[0], evaluate(before, x)[0])


def test_residual_network_keeps_one_transpose_at_each_edge() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = conv_nchw(bb, x)
        second = pointwise_nchw(bb, bb.emit(lookup(first, REVERSED)))
        return op.permute_dims(to_nhwc(bb, bb.emit(add(first, second))), [0, 3, 1, 2])

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(conv(to_nhwc(bb, x)))
        second = bb.emit(conv(bb.emit(lookup(first, REVERSED)), POINTWISE))
        return op.permute_dims(bb.emit(add(first, second)), [0, 3, 1, 2])

    tvm.ir.assert_structural_equal(apply(CancelTransposes(), module(before, x=IMAGE)), module(expected, x=IMAGE))


def test_sum_with_an_input_reuses_its_transpose() -> None:
    """x is permuted for the convolution anyway, so the sum is done on NHWC, too."""
    square = RNG.integers(-128, 128, (2, 3, 3, 2), dtype=np.int8)

    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = to_nchw(bb, bb.emit(conv(to_nhwc(bb, x), square, padding=(1, 1, 1, 1))))
        return lookup(to_nhwc(bb, bb.emit(add(y, x))), REVERSED)

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        nhwc = to_nhwc(bb, x)
        y = bb.emit(conv(nhwc, square, padding=(1, 1, 1, 1)))
        return lookup(bb.emit(add(y, nhwc)), REVERSED)

    tvm.ir.assert_structural_equal(apply(CancelTransposes(), module(before, x=IMAGE)), module(expected, x=IMAGE))


@pytest.mark.parametrize("batch", [1, 3])
def test_flatten_goes_into_the_order_of_the_weights(batch: int) -> None:
    weight = RNG.integers(-128, 128, (5, 48), dtype=np.int8)

    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        flat = bb.emit(op.reshape(to_nchw(bb, bb.emit(conv(x))), (batch, 48)))
        return dense(flat, weight)

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        reordered = weight.reshape(5, 4, 4, 3).transpose(0, 2, 3, 1).reshape(5, 48)
        return dense(bb.emit(op.reshape(bb.emit(conv(x)), (batch, 48))), reordered)

    spec = ((batch, 6, 5, 2), "int8")
    tvm.ir.assert_structural_equal(apply(CancelTransposes(), module(before, x=spec)), module(expected, x=spec))


def test_global_mean_and_flatten_need_no_transpose() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        pooled = bb.emit(mean(to_nchw(bb, bb.emit(conv(x))), (1, 4, 4, 3), (2, 3), True))
        return op.reshape(pooled, (1, 4))

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        pooled = bb.emit(mean(bb.emit(conv(x)), (1, 4, 3, 4), (1, 2), True))
        return op.reshape(bb.emit(op.reshape(pooled, (1, 4, 1, 1))), (1, 4))

    spec = ((1, 6, 5, 2), "int8")
    tvm.ir.assert_structural_equal(apply(CancelTransposes(), module(before, x=spec)), module(expected, x=spec))


def test_flattened_tensor_with_other_users_is_written_out() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        flat = bb.emit(op.reshape(to_nchw(bb, bb.emit(conv(x))), (1, 48)))
        return lookup(flat, REVERSED)

    assert_left_alone(CancelTransposes(), module(body, x=((1, 6, 5, 2), "int8")))


@pytest.mark.parametrize(
    "body",
    [
        lambda bb, x, y: op.permute_dims(x, [0, 2, 3, 1]),
        lambda bb, x, y: add(bb.emit(op.permute_dims(x, [0, 1, 3, 2])), y),  # y would need one instead
        lambda bb, x, y: conv(to_nhwc(bb, x)),
        lambda bb, x, y: make_call("dequantize", [to_nhwc(bb, x)], QuantizeParams(0.5, 3, "float32")),
        lambda bb, x, y: op.reshape(to_nhwc(bb, x), (2, 30)),
        lambda bb, x, y: make_call("qsoftmax", [to_nhwc(bb, x)], scales.softmax_params(0.1)),
    ],
)
def test_left_alone(body: Any) -> None:
    assert_left_alone(CancelTransposes(), module(body, x=IMAGE, y=((1, 2, 5, 6), "int8")))


def test_split_that_is_joined_as_a_whole() -> None:
    """``concat`` takes the tuple of ``split`` itself here."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return join_all_parts(bb, conv_nchw(bb, x))

    before = module(body, x=IMAGE)
    after = apply(CancelTransposes(), before)
    x = RNG.integers(-128, 128, IMAGE[0], dtype=np.int8)
    (got,) = evaluate(after, x)
    np.testing.assert_array_equal(got, evaluate(before, x)[0])
    assert got.shape == shape_of(after["main"].body.body)
