"""FoldConstants."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from tests.integer_layers import RNG, add, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.passes import FoldConstants
from tvm_tiny.quant import reference, scales

op = relax.op
SPEC = ((1, 4, 6), "int8")
DATA = RNG.integers(-128, 128, (6, 4), dtype=np.int8)


def test_chain_of_integer_operators() -> None:
    reverse = np.arange(-128, 128)[::-1]

    def before(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        moved = bb.emit(op.permute_dims(relax.const(DATA), [1, 0]))
        wide = bb.emit(op.reshape(moved, (1, 4, 6)))
        parts = bb.emit(op.split(wide, 2, axis=1))
        joined = bb.emit(op.concat([bb.emit(relax.TupleGetItem(parts, i)) for i in (1, 0)], axis=1))
        padded = bb.emit(op.nn.pad(joined, [0, 0, 1, 0, 0, 1], pad_value=-3))
        cut = bb.emit(op.strided_slice(padded, [1, 2], [1, 0], [5, 6]))
        return add(x, bb.emit(add(bb.emit(lookup(cut, reverse)), cut)))

    moved = DATA.T.reshape(1, 4, 6)[:, [2, 3, 0, 1]]
    params = scales.add_params(0.1, 3, 0.2, -4, 0.25, 5)
    value = reference.run("qadd", params, reverse[moved.astype(int) + 128].astype(np.int8), moved)
    expected = module(lambda bb, x: add(x, relax.const(value)), x=SPEC)
    tvm.ir.assert_structural_equal(apply(FoldConstants(), module(before, x=SPEC)), expected)


def test_what_depends_on_an_input_or_is_float_is_left_alone() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        half = relax.const(np.float32([0.5, 1.5]))
        return [add(x, relax.const(np.int8([1]))), op.exp(half)]

    assert_left_alone(FoldConstants(), module(body, x=SPEC))
