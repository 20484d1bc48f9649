"""LowerQdq: what has no integer form, and how it is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.relax_builder import (
    const,
    dequantize,
    module,
    quantize,
)
from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.passes import LowerQdq

op = relax.op
IMAGE = ((1, 6, 5, 2), "int8")


def test_one_error_lists_all_operators() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        a = bb.emit(quantize(bb.emit(op.cumsum(bb.emit(dequantize(x, 0.1)), 1)), 0.1, 0), name_hint="sum")
        data = bb.emit(dequantize(a, 0.1))
        b = bb.emit(quantize(bb.emit(op.matmul(data, data)), 0.1, 0), name_hint="product")
        ok = bb.emit(quantize(bb.emit(op.nn.relu(bb.emit(dequantize(b, 0.1)))), 0.1, 0), name_hint="fine")
        return quantize(bb.emit(op.nn.relu(bb.emit(op.sort(bb.emit(dequantize(ok, 0.1)))))), 0.1, 0)

    with pytest.raises(UnsupportedOperatorError) as caught:
        LowerQdq()(module(body, x=((2, 2), "int8")))
    assert str(caught.value).splitlines() == [
        "3 operators cannot be turned into integer arithmetic:",
        "  cumsum for tensor 'sum': has no integer form",
        "  matmul for tensor 'product': its weights are not constant",
        "  sort for tensor 'gv': has no integer form",
    ]
    assert "calibration" in caught.value.hints[0]


def conv_with(weight: relax.Expr, x_scale: Any = 0.1) -> tvm.IRModule:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        data = bb.emit(dequantize(x, x_scale, axis=3))
        conv = op.nn.conv2d(data, bb.emit(weight), data_layout="NHWC", kernel_layout="OHWI")
        return quantize(bb.emit(conv), 0.1, 0)

    return module(body, x=IMAGE)


def reject_pool(**attrs: Any) -> tvm.IRModule:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return quantize(bb.emit(op.nn.avg_pool2d(bb.emit(dequantize(x, 0.1)), (2, 2), layout="NHWC", **attrs)), 0.1, 0)

    return module(body, x=IMAGE)


def reject_resize(**attrs: Any) -> tvm.IRModule:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return quantize(bb.emit(op.image.resize2d(bb.emit(dequantize(x, 0.1)), (4, 4), layout="NHWC", **attrs)), 0.1, 0)

    return module(body, x=IMAGE)


OHWI = const(np.arange(72).reshape(4, 3, 3, 2), "int8")


@pytest.mark.parametrize(
    ("mod", "reason"),
    [
        (conv_with(dequantize(OHWI, 0.1), [0.1, 0.2]), "its input is not quantized to 8 bits per tensor"),
        (conv_with(dequantize(OHWI, [0.1, 0.2], axis=3)), "along an axis other than the output channels"),
        (conv_with(dequantize(OHWI, 0.1, 5)), "zero point other than 0"),
        (conv_with(op.reshape(const(np.ones(72), "float32"), (4, 3, 3, 2))), "not quantized to 8 bits"),
        (reject_pool(dilation=(2, 2)), r"dilation \(2, 2\)"),
        (reject_pool(padding=(1, 1), count_include_pad=True, ceil_mode=True), "counts padding"),
        (reject_resize(method="cubic"), "method 'cubic'"),
        (reject_resize(method="nearest_neighbor", rounding_method="ceil"), "as no TFLite resize does"),
    ],
)
def test_reasons(mod: tvm.IRModule, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=reason):
        LowerQdq()(mod)


def test_an_output_that_is_not_quantized_to_8_bits() -> None:
    mod = module(lambda bb, x: dequantize(x, 0.1), x=((2,), "int16"))
    with pytest.raises(UnsupportedOperatorError, match="dequantize for tensor 'gv': is not quantized to 8 bits"):
        LowerQdq()(mod)


def test_hints_survive_tvm_and_the_class_survives_sequential() -> None:
    mod = conv_with(dequantize(OHWI, 0.1, 5))
    with pytest.raises(UnsupportedOperatorError) as caught:
        LowerQdq()(mod)
    assert len(caught.value.hints) == 2
    with pytest.raises(UnsupportedOperatorError, match="zero point other than 0"):
        tvm.transform.Sequential([LowerQdq()])(mod)
