"""HoistTransposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tvm
from tvm import relax

from tests.integer_layers import REVERSED, conv, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.ops import make_call
from tvm_tiny.passes import HoistTransposes
from tvm_tiny.quant.params import QuantizeParams

op = relax.op
TO_PIXELS = [0, 2, 3, 1]
IMAGE = ((1, 2, 5, 4), "float32")


def quantize(x: relax.Expr) -> relax.Call:
    return make_call("quantize", [x], QuantizeParams(0.1, 3, "int8"))


def test_an_input_is_permuted_before_it_is_quantized() -> None:
    def behind(bb: Any, x: relax.Var) -> relax.Expr:
        image = bb.emit(lookup(bb.emit(quantize(x)), REVERSED))
        return conv(bb.emit(op.permute_dims(image, TO_PIXELS)))

    def in_front(bb: Any, x: relax.Var) -> relax.Expr:
        pixels = bb.emit(op.permute_dims(x, TO_PIXELS))
        return conv(bb.emit(lookup(bb.emit(quantize(pixels)), REVERSED)))

    result = apply(HoistTransposes(), module(behind, x=IMAGE))
    tvm.ir.assert_structural_equal(result, module(in_front, x=IMAGE))


def both(bb: Any, x: relax.Var) -> list[relax.Expr]:
    """The quantized image is used in another way, too."""
    image = bb.emit(quantize(x))
    return [conv(bb.emit(op.permute_dims(image, TO_PIXELS))), lookup(image, REVERSED)]


@pytest.mark.parametrize(
    "build",
    [
        lambda bb, x: conv(bb.emit(quantize(bb.emit(op.permute_dims(x, TO_PIXELS))))),
        lambda bb, x: op.permute_dims(bb.emit(op.nn.max_pool2d(bb.emit(quantize(x)))), TO_PIXELS),
        both,
    ],
    ids=["in front already", "neighbours mix", "used twice"],
)
def test_left_alone(build: Callable[..., Any]) -> None:
    assert_left_alone(HoistTransposes(), module(build, x=IMAGE))
