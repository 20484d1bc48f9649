"""FoldPad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.evaluate import evaluate
from tests.integer_layers import RNG, conv, depthwise, max_pool
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.passes import FoldPad

op = relax.op
IMAGE = ((1, 6, 5, 2), "int8")
PAD = [0, 0, 0, 1, 2, 1, 0, 0]  # height (0, 1), width (2, 1)


def padded(bb: relax.BlockBuilder, x: relax.Expr, value: float = 3, width: list[int] = PAD) -> relax.Expr:
    return bb.emit(op.nn.pad(x, width, "constant", value))


@pytest.mark.parametrize("layer", [conv, depthwise])
def test_pad_joins_the_padding(layer: Any) -> None:
    before = module(lambda bb, x: layer(padded(bb, x), padding=(1, 0, 0, 0)), x=IMAGE)
    expected = module(lambda bb, x: layer(x, padding=(1, 2, 1, 1)), x=IMAGE)
    tvm.ir.assert_structural_equal(apply(FoldPad(), before), expected)


def test_two_pads_and_other_users() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        y = padded(bb, x)
        return [conv(padded(bb, y)), depthwise(y)]

    expected = module(lambda bb, x: [conv(x, padding=(0, 4, 2, 2)), depthwise(x, padding=(0, 2, 1, 1))], x=IMAGE)
    tvm.ir.assert_structural_equal(apply(FoldPad(), module(before, x=IMAGE)), expected)


def test_through_a_transpose() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return conv(bb.emit(op.permute_dims(padded(bb, x, width=[0, 0, 0, 0, 0, 1, 2, 1]), [0, 2, 3, 1])))

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return conv(bb.emit(op.permute_dims(x, [0, 2, 3, 1])), padding=(0, 2, 1, 1))

    image = ((1, 2, 6, 5), "int8")
    tvm.ir.assert_structural_equal(apply(FoldPad(), module(before, x=image)), module(expected, x=image))


def test_max_pool_takes_a_pad_of_the_least_value() -> None:
    before = module(lambda bb, x: max_pool(padded(bb, x, -128)), x=IMAGE)
    expected = module(lambda bb, x: max_pool(x, (0, 2, 1, 1)), x=IMAGE)
    after = apply(FoldPad(), before)
    tvm.ir.assert_structural_equal(after, expected)
    x = RNG.integers(-128, 128, IMAGE[0], dtype=np.int8)
    np.testing.assert_array_equal(evaluate(after, x)[0], evaluate(before, x)[0])


@pytest.mark.parametrize(
    "body",
    [
        lambda bb, x: conv(padded(bb, x, 0)),  # another value than the zero point
        lambda bb, x: conv(padded(bb, x, width=[0, 0, 0, 1, 2, 1, 0, 2]), np.ones((4, 3, 3, 4), np.int8)),  # channels
        lambda bb, x: conv(padded(bb, x, width=[0, 0, -1, 0, 0, 0, 0, 0])),
        lambda bb, x: max_pool(padded(bb, x, 3)),
        lambda bb, x: max_pool(padded(bb, x, -128), size=2),  # a window of padding alone
        lambda bb, x: conv(bb.emit(op.reshape(padded(bb, x), (1, 8, 7, 2)))),
    ],
)
def test_left_alone(body: Any) -> None:
    assert_left_alone(FoldPad(), module(body, x=IMAGE))
