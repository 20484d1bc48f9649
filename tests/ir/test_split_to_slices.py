"""SplitToSlices."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.integer_layers import IDENTITY, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.ops import op_name
from tvm_tiny.ops.movement import row_windows, shown_bytes
from tvm_tiny.passes import SplitToSlices
from tvm_tiny.passes._dataflow import bindings_of
from tvm_tiny.planner import Window

op = relax.op
IMAGE = ((1, 6, 5, 4), "int8")


@pytest.mark.parametrize(
    ("sections", "axis", "bounds"),
    [(2, 3, (0, 2, 4)), ([1, 4], -3, (0, 1, 4, 6)), ([2], 2, (0, 2, 5))],
    ids=["channels", "rows", "columns"],
)
def test_parts_become_slices(sections: Any, axis: int, bounds: tuple[int, ...]) -> None:
    def before(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        parts = bb.emit(op.split(bb.emit(lookup(x, IDENTITY)), sections, axis), "parts")
        return [bb.emit(relax.TupleGetItem(parts, i)) for i in range(len(bounds) - 1)]

    def after(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        y = bb.emit(lookup(x, IDENTITY))
        return [op.strided_slice(y, [axis % 4], [b], [e]) for b, e in pairwise(bounds)]

    result = apply(SplitToSlices(), module(before, x=IMAGE))
    tvm.ir.assert_structural_equal(result, module(after, x=IMAGE))
    names = [v.name for v, _ in bindings_of(result["main"])][1:]
    assert names == [f"parts:{i}" for i in range(len(bounds) - 1)]


def halves(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
    parts = bb.emit(op.split(x, 2, 1))
    return [relax.TupleGetItem(parts, i) for i in range(2)]


@pytest.mark.parametrize("shape", [(1, 10), (1, 4, 3)])
def test_bytes_in_a_row_are_slices(shape: tuple[int, ...]) -> None:
    after = bindings_of(apply(SplitToSlices(), module(halves, x=(shape, "int8")))["main"])
    names = [op_name(value) for _, value in after if isinstance(value, relax.Call)]
    assert names == ["strided_slice"] * 2


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (2, 10)])
def test_scattered_bytes_of_no_image_stay(shape: tuple[int, ...]) -> None:
    assert_left_alone(SplitToSlices(), module(halves, x=(shape, "int8")))


def windows(make: Any) -> Any:
    """Of the only operator."""
    mod = module(lambda bb, x: make(x), x=IMAGE)
    return row_windows(bindings_of(mod["main"])[0][1])


def test_windows() -> None:
    assert windows(lambda x: op.concat([x, x], 1)) == [(Window(), Window()), (Window(before=6), Window())]
    assert windows(lambda x: op.concat([x, x], -2)) == [(Window(), Window()), (Window(), Window(before=5))]
    assert windows(lambda x: op.concat([x, x], 3)) == [(Window(), Window())] * 2
    sliced = windows(lambda x: op.strided_slice(x, [1, 2], [1, -4], [6, 5], [2, 1]))
    assert sliced == [(Window(1, 2, -1), Window(1, 1, -1))]
    assert windows(lambda x: op.nn.pad(x, [0, 0, 2, 1, 3, 0, 0, 1])) == [(Window(before=2), Window(before=3))]


@pytest.mark.parametrize(
    ("make", "shape", "shows"),
    [
        (lambda x: op.concat([x, x], 1), IMAGE[0], (0, 120)),
        (lambda x: op.concat([x, x], 2), IMAGE[0], ()),
        (lambda x: op.concat([x, x], -1), (1, 1, 1, 4), (0, 4)),
        (lambda x: op.concat([x, x], 0), (3, 5), (0, 15)),
        (lambda x: op.concat([x, relax.const(np.zeros((1, 5), str(x.ty.dtype)))], 1), (1, 5), ()),
        (lambda x: op.strided_slice(x, [1], [2], [5]), IMAGE[0], (-40,)),
        (lambda x: op.strided_slice(x, [1, 2], [2, 1], [3, 4]), IMAGE[0], (-44,)),
        (lambda x: op.strided_slice(x, [1, 2], [2, 1], [4, 4]), IMAGE[0], ()),
        (lambda x: op.strided_slice(x, [1], [0], [6], [2]), IMAGE[0], ()),
        (lambda x: op.strided_slice(x, [1, 3], [4, 1], [5, 3]), (1, 6, 1, 4), (-17,)),
        (lambda x: op.strided_slice(x, [0], [-2], [9]), (7,), (-5,)),
        (lambda x: op.nn.pad(x, [0, 0, 2, 1, 3, 0, 0, 1]), IMAGE[0], ()),
    ],
)
def test_shown_bytes(make: Any, shape: tuple[int, ...], shows: tuple[int, ...]) -> None:
    for dtype, size in (("int8", 1), ("float32", 4)):
        mod = module(lambda bb, x: make(x), x=(shape, dtype))
        call = bindings_of(mod["main"])[0][1]
        assert shown_bytes(call) == tuple(size * start for start in shows)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: op.concat([x, x], 0),
        lambda x: op.concat([x, relax.const([[[[1]] * 5] * 6], "int8")], 3),
        lambda x: op.strided_slice(x, [1], [5], [0], [-1]),
        lambda x: op.nn.pad(x, [1, 0, 0, 0, 0, 0, 0, 0]),
        lambda x: op.nn.pad(x, [0, 0, 1, 1, 0, 0, 0, 0], pad_mode="reflect"),
        lambda x: op.reshape(x, (1, 6, 20, 1)),
    ],
    ids=["batches", "constant", "backwards", "new batch", "reflect", "another operator"],
)
def test_whole_tensors(make: Any) -> None:
    assert windows(make) is None
