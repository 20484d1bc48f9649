"""FuseLookup."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.integer_layers import REVERSED, add, clamp_table, conv, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.passes import FuseLookup
from tvm_tiny.passes._dataflow import bindings_of

op = relax.op
IMAGE = ((1, 6, 5, 2), "int8")


def test_clamp_joins_the_convolution_and_names_it() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(conv(x, clamp_min=-100, clamp_max=100), name_hint="conv")
        z = bb.emit(lookup(y, clamp_table(-5, 120)), name_hint="relu")
        return op.reshape(z, (48,))

    expected = module(lambda bb, x: op.reshape(bb.emit(conv(x, clamp_min=-5, clamp_max=100)), (48,)), x=IMAGE)
    after = apply(FuseLookup(), module(before, x=IMAGE))
    tvm.ir.assert_structural_equal(after, expected)
    assert next(v.name for v, _ in bindings_of(after["main"])) == "relu"


def test_only_values_that_occur_count() -> None:
    """The convolution gives [-5, 127] only; what the table does below does not matter."""
    table = np.where(np.arange(-128, 128) < -5, 99, clamp_table(-128, 50))
    before = module(lambda bb, x: lookup(bb.emit(conv(x, clamp_min=-5)), table), x=IMAGE)
    expected = module(lambda bb, x: conv(x, clamp_min=-5, clamp_max=50), x=IMAGE)
    tvm.ir.assert_structural_equal(apply(FuseLookup(), before), expected)


def test_lookups_in_a_row_compose() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(lookup(x, np.arange(256, dtype=np.uint8), "to_uint8"))
        z = bb.emit(lookup(y, np.arange(256)[::-1].astype(np.uint8), "negate"))
        return lookup(z, np.arange(-128, 128), "to_int8")

    expected = module(lambda bb, x: lookup(x, REVERSED, "to_uint8+negate+to_int8"), x=IMAGE)
    tvm.ir.assert_structural_equal(apply(FuseLookup(), module(before, x=IMAGE)), expected)


def test_chain_of_clamps_behind_a_sum() -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(lookup(bb.emit(add(x, x)), clamp_table(-50, 127)))
        return lookup(y, clamp_table(-128, 60))

    after = apply(FuseLookup(), module(before, x=IMAGE))
    (call,) = [v for _, v in bindings_of(after["main"])]
    assert (int(call.attrs["clamp_min"]), int(call.attrs["clamp_max"])) == (-50, 60)


def two_users(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
    y = bb.emit(conv(x))
    return [lookup(y, clamp_table(-5, 127)), op.reshape(y, (48,))]


@pytest.mark.parametrize(
    "body",
    [
        two_users,
        lambda bb, x: lookup(bb.emit(conv(x)), REVERSED),
        lambda bb, x: lookup(bb.emit(conv(x)), np.arange(256, dtype=np.uint8)),
        lambda bb, x: lookup(bb.emit(op.reshape(x, (60,))), clamp_table(-5, 127)),
        lambda bb, x: lookup(x, clamp_table(-5, 127)),
    ],
)
def test_left_alone(body: Any) -> None:
    assert_left_alone(FuseLookup(), module(body, x=IMAGE))
