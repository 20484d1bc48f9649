"""RemoveIdentities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.integer_layers import IDENTITY, REVERSED, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.passes import RemoveIdentities

op = relax.op
SPEC = ((1, 4, 6), "int8")


def end(x: relax.Expr) -> relax.Expr:
    return lookup(x, REVERSED)


CASES: dict[str, tuple[Any, Any]] = {
    "lookup": (lambda bb, x: lookup(x, IDENTITY), lambda bb, x: x),
    "reshape": (lambda bb, x: op.reshape(x, (1, 4, 6)), lambda bb, x: x),
    "reshapes": (
        lambda bb, x: op.reshape(bb.emit(op.flatten(bb.emit(op.squeeze(x)))), (3, 8)),
        lambda bb, x: bb.emit(op.reshape(x, (3, 8))),
    ),
    "reshape there and back": (lambda bb, x: op.reshape(bb.emit(op.flatten(x)), (1, 4, 6)), lambda bb, x: x),
    "concat of one": (lambda bb, x: op.concat([x], 1), lambda bb, x: x),
    "whole slice": (lambda bb, x: op.strided_slice(x, [1, 2], [0, 0], [4, 100]), lambda bb, x: x),
    "empty pad": (lambda bb, x: op.nn.pad(x, [0] * 6), lambda bb, x: x),
    "no permutation": (lambda bb, x: op.permute_dims(x, [0, 1, 2]), lambda bb, x: x),
    "permutation of axes of size 1": (
        lambda bb, x: op.permute_dims(x, [1, 0, 2]),
        lambda bb, x: bb.emit(op.reshape(x, (4, 1, 6))),
    ),
    "permutations": (
        lambda bb, x: op.permute_dims(bb.emit(op.permute_dims(x, [2, 1, 0])), [0, 2, 1]),
        lambda bb, x: bb.emit(op.permute_dims(x, [2, 0, 1])),
    ),
    "permutation there and back": (
        lambda bb, x: op.permute_dims(bb.emit(op.permute_dims(x)), [2, 1, 0]),
        lambda bb, x: x,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_removed(name: str) -> None:
    build, without = CASES[name]
    before = module(lambda bb, x: end(bb.emit(build(bb, x))), x=SPEC)
    expected = module(lambda bb, x: end(without(bb, x)), x=SPEC)
    tvm.ir.assert_structural_equal(apply(RemoveIdentities(), before), expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: lookup(x, REVERSED),
        lambda x: lookup(x, np.arange(256, dtype=np.uint8)),
        lambda x: op.reshape(x, (4, 6)),
        lambda x: op.concat([x, x], 1),
        lambda x: op.strided_slice(x, [1], [0], [4], [2]),
        lambda x: op.strided_slice(x, [1], [3], [-5], [-1]),
        lambda x: op.nn.pad(x, [0, 0, 1, 0, 0, 0]),
        lambda x: op.permute_dims(x, [0, 2, 1]),
    ],
)
def test_left_alone(build: Any) -> None:
    assert_left_alone(RemoveIdentities(), module(lambda bb, x: build(x), x=SPEC))
