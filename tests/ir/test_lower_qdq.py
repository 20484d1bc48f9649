"""LowerQdq: convolutions, dense layers, sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax

from tests.relax_builder import (
    apply,
    call_named,
    calls,
    const,
    dequantize,
    int8,
    module,
    quantize,
)
from tvm_tiny.errors import OptionError
from tvm_tiny.ops import make_call, params_of
from tvm_tiny.passes import LowerQdq
from tvm_tiny.passes._dataflow import array_of, bindings_of
from tvm_tiny.quant import scales
from tvm_tiny.quant.params import Conv2DParams, DenseParams

op = relax.op
RNG = np.random.default_rng(20240607)
WEIGHT = int8(RNG, 4, 3, 3, 2)  # OHWI
BIAS = RNG.integers(-500, 500, 4).astype(np.int32)
WEIGHT_SCALES = [0.01, 0.02, 0.03, 0.04]
X_SCALE, Y_SCALE = 0.05, 0.1
BIAS_SCALES = [float(np.float32(X_SCALE) * np.float32(s)) for s in WEIGHT_SCALES]


def conv_params(**changes: Any) -> Conv2DParams:
    values: dict[str, Any] = {
        "strides": (1, 1),
        "padding": (1, 1, 1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "input_zero_point": 3,
        "output_zero_point": -5,
        "clamp_min": -128,
        "clamp_max": 127,
        "rounding": "tflm",
    }
    return Conv2DParams(**(values | changes))


def conv_constants(bias: NDArray[np.int32] = BIAS, weight: NDArray[np.int8] = WEIGHT) -> list[relax.Expr]:
    multiplier, shift = scales.conv_multipliers(float(np.float32(X_SCALE)), WEIGHT_SCALES, float(np.float32(Y_SCALE)))
    return [relax.const(a) for a in (weight, bias, multiplier, shift)]


def nhwc_conv(bb: relax.BlockBuilder, x: relax.Var, activation: Any = None, **attrs: Any) -> relax.Expr:
    weight = bb.emit(dequantize(const(WEIGHT, "int8"), WEIGHT_SCALES))
    data = bb.emit(dequantize(x, X_SCALE, 3))
    result = bb.emit(
        op.nn.conv2d(data, weight, padding=[1, 1, 1, 1], data_layout="NHWC", kernel_layout="OHWI", **attrs)
    )
    bias = bb.emit(dequantize(const(BIAS, "int32"), BIAS_SCALES))
    result = bb.emit(op.add(result, bias))
    return result if activation is None else bb.emit(activation(result))


IMAGE = ((1, 6, 5, 2), "int8")


@pytest.mark.parametrize(
    ("activation", "clamp"),
    [
        (None, (-128, 127)),
        (op.nn.relu, (-5, 127)),
        (lambda x: op.clip(x, 0, 6), (-5, 55)),
        (lambda x: op.clip(x, -1, 1), (-15, 5)),
    ],
)
def test_convolution_takes_bias_and_activation(activation: Any, clamp: tuple[int, int]) -> None:
    before = module(lambda bb, x: quantize(nhwc_conv(bb, x, activation), Y_SCALE, -5), x=IMAGE)
    params = conv_params(clamp_min=clamp[0], clamp_max=clamp[1])
    expected = module(lambda bb, x: make_call("qconv2d", [x, *conv_constants()], params), x=IMAGE)
    tvm.ir.assert_structural_equal(apply(LowerQdq(), before), expected)


def test_clip_behind_quantize_is_the_clamp_and_gives_the_name() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        q = bb.emit(quantize(nhwc_conv(bb, x), Y_SCALE, -5), name_hint="inner")
        clipped = bb.emit(op.clip(q, -5, 60), name_hint="model/relu;conv")
        return op.reshape(clipped, (120,))

    after = apply(LowerQdq(), module(body, x=IMAGE))
    (var, call), _ = bindings_of(after["main"])
    assert var.name == "model/relu;conv"
    assert params_of(call) == conv_params(clamp_min=-5, clamp_max=60)


def test_clip_of_a_tensor_that_is_used_unclipped_too_is_a_lookup() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        q = bb.emit(quantize(nhwc_conv(bb, x), Y_SCALE, -5))
        return [bb.emit(op.clip(q, -5, 60)), bb.emit(op.reshape(q, (120,)))]

    after = apply(LowerQdq(), module(body, x=IMAGE))
    assert calls(after) == ["tinyml.qconv2d", "tinyml.lookup", "reshape"]
    table = array_of(call_named(after, "tinyml.lookup").args[1])
    np.testing.assert_array_equal(table, np.clip(np.arange(-128, 128), -5, 60))


def test_the_integer_operator_is_named_like_the_quantized_tensor() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        q = bb.emit(quantize(nhwc_conv(bb, x), Y_SCALE, -5), name_hint="net/conv:0")
        return op.reshape(q, (120,))

    after = apply(LowerQdq(), module(body, x=IMAGE))
    assert next(v.name for v, _ in bindings_of(after["main"])) == "net/conv:0"
    assert after["main"].params[0].name == "x"


def onnx_conv(bb: relax.BlockBuilder, x: relax.Var, with_bias: bool) -> relax.Expr:
    weight = bb.emit(dequantize(const(WEIGHT.transpose(0, 3, 1, 2), "int8"), WEIGHT_SCALES))
    result = bb.emit(op.nn.conv2d(bb.emit(dequantize(x, X_SCALE, 3)), weight, padding=[1, 1, 1, 1]))
    if with_bias:
        bias = bb.emit(dequantize(const(BIAS, "int32"), BIAS_SCALES))
        result = bb.emit(op.add(result, bb.emit(op.reshape(bias, (1, 4, 1, 1)))))
    return quantize(result, Y_SCALE, -5)


@pytest.mark.parametrize("with_bias", [True, False])
def test_nchw_convolution_becomes_nhwc_between_transposes(with_bias: bool) -> None:
    image = ((1, 2, 6, 5), "int8")
    before = module(lambda bb, x: onnx_conv(bb, x, with_bias), x=image)
    bias = BIAS if with_bias else np.zeros(4, np.int32)

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        nhwc = bb.emit(op.permute_dims(x, [0, 2, 3, 1]))
        conv = bb.emit(make_call("qconv2d", [nhwc, *conv_constants(bias)], conv_params()))
        return op.permute_dims(conv, [0, 3, 1, 2])

    tvm.ir.assert_structural_equal(apply(LowerQdq(), before), module(expected, x=image))


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_and_depthwise_convolution(groups: int) -> None:
    """Four input channels, eight output channels: two groups, or depthwise with multiplier 2."""
    weight = int8(RNG, 8, 3, 3, 4 // groups)

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        data, w = bb.emit(dequantize(x, X_SCALE, 3)), bb.emit(dequantize(const(weight, "int8"), 0.01))
        conv = op.nn.conv2d(data, w, groups=groups, data_layout="NHWC", kernel_layout="OHWI")
        return quantize(bb.emit(conv), Y_SCALE, -5)

    after = apply(LowerQdq(), module(body, x=((1, 6, 5, 4), "int8")))
    (call,) = [v for _, v in bindings_of(after["main"])]
    assert calls(after) == ["tinyml.qdepthwise_conv2d" if groups == 4 else "tinyml.qconv2d"]
    got = array_of(call.args[1])
    if groups == 4:
        assert params_of(call).groups == 1
        np.testing.assert_array_equal(got, weight[..., 0].transpose(1, 2, 0))
    else:
        assert params_of(call).groups == 2
        np.testing.assert_array_equal(got, weight)


def test_bias_at_another_scale_is_converted() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        data, w = bb.emit(dequantize(x, X_SCALE, 3)), bb.emit(dequantize(const(WEIGHT, "int8"), 0.02))
        conv = bb.emit(op.nn.conv2d(data, w, data_layout="NHWC", kernel_layout="OHWI"))
        return quantize(bb.emit(op.add(conv, const([1.0, -0.5, 0.0, 2.5], "float32"))), Y_SCALE, -5)

    after = apply(LowerQdq(), module(body, x=IMAGE))
    np.testing.assert_array_equal(array_of(call_named(after, "tinyml.qconv2d").args[2]), [1000, -500, 0, 2500])


# 0.0037 * 0.0021 in float32 and in float64 give different multipliers here.
DENSE_SCALES = (0.003700000001117587, 0.0020999999251216650)


@pytest.mark.parametrize("per_tensor", [True, False])
@pytest.mark.parametrize("transposed", [True, False], ids=["ONNX", "TFLite"])
def test_dense(per_tensor: bool, transposed: bool) -> None:
    weight = int8(RNG, 3, 8)
    x_scale, w_scale = DENSE_SCALES
    weight_scale = w_scale if per_tensor else [w_scale] * 3

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        data = bb.emit(dequantize(x, x_scale, -7))
        if transposed:
            w = bb.emit(dequantize(const(weight.T, "int8"), weight_scale, axis=1))
        else:
            w = bb.emit(op.permute_dims(bb.emit(dequantize(const(weight, "int8"), weight_scale))))
        bias = bb.emit(dequantize(const([1, 2, 3], "int32"), x_scale * w_scale))
        return quantize(bb.emit(op.add(bb.emit(op.matmul(data, w)), bias)), 0.07, 9)

    y_scale = float(np.float32(0.07))
    multiplier, shift = scales.dense_multipliers(x_scale, w_scale, y_scale, per_tensor, 3)
    params = DenseParams(-7, 9, -128, 127, "tflm")
    arrays = [weight, np.array([1, 2, 3], np.int32), multiplier, shift]
    expected = module(lambda bb, x: make_call("qdense", [x, *map(relax.const, arrays)], params), x=((2, 8), "int8"))
    tvm.ir.assert_structural_equal(apply(LowerQdq(), module(body, x=((2, 8), "int8"))), expected)


@pytest.mark.parametrize(
    ("operator", "name", "make"),
    [
        (op.add, "qadd", scales.add_params),
        (op.subtract, "qsub", scales.sub_params),
        (op.multiply, "qmul", scales.mul_params),
    ],
)
def test_binary_operators(operator: Any, name: str, make: Any) -> None:
    """A tensor used twice, a constant operand, and one operator whose operands are the same tensor."""
    fixed = int8(RNG, 1, 4)
    a, b, y = ((float(np.float32(s)), z) for s, z in ((0.1, 3), (0.02, -4), (0.05, 5)))

    def before(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        data = bb.emit(dequantize(x, *a))
        with_const = bb.emit(operator(data, bb.emit(dequantize(const(fixed, "int8"), *b))))
        with_itself = bb.emit(operator(data, bb.emit(dequantize(x, *a))))
        return [bb.emit(quantize(with_const, *y)), bb.emit(quantize(bb.emit(op.nn.relu(with_itself)), *y))]

    def expected(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        return [
            make_call(name, [x, relax.const(fixed)], make(*a, *b, *y)),
            make_call(name, [x, x], make(*a, *a, *y, "relu")),
        ]

    spec = ((3, 4), "int8")
    tvm.ir.assert_structural_equal(apply(LowerQdq(), module(before, x=spec)), module(expected, x=spec))


def test_residual_around_convolution() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(quantize(nhwc_conv(bb, x), Y_SCALE, -5))
        data = bb.emit(dequantize(first, Y_SCALE, -5))
        weight = bb.emit(dequantize(const(int8(RNG, 4, 1, 1, 4), "int8"), 0.01))
        conv = bb.emit(op.nn.conv2d(data, weight, data_layout="NHWC", kernel_layout="OHWI"))
        second = bb.emit(dequantize(bb.emit(quantize(conv, 0.2, 0)), 0.2, 0))
        return quantize(bb.emit(op.nn.relu(bb.emit(op.add(data, second)))), 0.3, -128)

    after = apply(LowerQdq(), module(body, x=IMAGE))
    assert calls(after) == ["tinyml.qconv2d", "tinyml.qconv2d", "tinyml.qadd"]


def test_single_rounding_is_handed_on() -> None:
    before = module(lambda bb, x: quantize(nhwc_conv(bb, x), Y_SCALE, -5), x=IMAGE)
    assert params_of(call_named(LowerQdq(rounding="single")(before), "tinyml.qconv2d")).rounding == "single"
    with pytest.raises(OptionError, match="unknown rounding 'up'"):
        LowerQdq(rounding="up")
