"""Converters of TFLite operators that compute, to the canonical form: dequantize, float operators, quantize."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite
from tvm import relax

from . import relax_emit as emit
from .geometry import same_padding
from .graph import Operator, Quantization, Tensor
from .tflite_support import window_steps

if TYPE_CHECKING:
    from .tflite_importer import TfliteConverter

Converter = Callable[["TfliteConverter", Operator], Any]


def _padding(op: Operator, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of SAME or VALID."""
    if op.attributes["padding"] != tflite.Padding.SAME:
        return (0, 0, 0, 0)
    strides, dilations = window_steps(op)
    (top, bottom), (left, right) = (
        same_padding(size, k, stride, dilation)
        for size, k, stride, dilation in zip(op.require(0).shape[1:3], kernel, strides, dilations, strict=True)
    )
    return top, left, bottom, right


def _weight(tensor: Tensor, *, depthwise: bool = False) -> Any:
    """Weights as float32; depthwise [1, KH, KW, O] become OHWI with one input channel per group."""
    assert tensor.data is not None
    data = tensor.data.transpose(3, 1, 2, 0) if depthwise else tensor.data
    expr = emit.constant(data)
    return (
        expr
        if tensor.quantization is None or tensor.dtype == "float32"
        else emit.dequantize(expr, tensor.quantization, axis=0)
    )


def _add_bias(expr: Any, op: Operator) -> Any:
    bias, x, weight = op.input(2), op.require(0), op.require(1)
    if bias is None:
        return expr
    assert bias.data is not None
    value = emit.constant(bias.data)
    if bias.dtype == "int32":
        q = bias.quantization
        if q is None:
            assert x.quantization is not None
            assert weight.quantization is not None
            scales = (np.float32(x.quantization.scale) * weight.quantization.scales).astype(np.float32)
            q = Quantization(scales, np.zeros(scales.size, np.int64))
        value = emit.dequantize(value, q, axis=0)
    return relax.op.add(expr, value)


def _conv(c: TfliteConverter, op: Operator) -> Any:
    x, weight = op.require(0), op.require(1)
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    strides, dilation = window_steps(op)
    out = relax.op.nn.conv2d(
        c.real(x),
        _weight(weight, depthwise=depthwise),
        strides,
        _padding(op, (weight.shape[1], weight.shape[2])),
        dilation,
        groups=x.shape[3] if depthwise else x.shape[3] // weight.shape[3],
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype="float32",
    )
    return c.store(c.activation(_add_bias(out, op), op), op.outputs[0])


def _fully_connected(c: TfliteConverter, op: Operator) -> Any:
    x, weight, y = op.require(0), op.require(1), op.outputs[0]
    outputs, depth = weight.shape
    rows = (x.size // depth, depth)
    if x.shape != rows:
        flat = c.bb.emit(relax.op.reshape(c.value(x), rows), name_hint=f"{x.name}_flat")
        data = flat if x.quantization is None or x.dtype == "float32" else emit.dequantize(flat, x.quantization)
    else:
        data = c.real(x)
    out = relax.op.matmul(data, relax.op.permute_dims(_weight(weight), [1, 0]))
    out = c.store(c.activation(_add_bias(out, op), op), y)
    if y.shape == (rows[0], outputs):
        return out
    return relax.op.reshape(c.bb.emit(out, name_hint=y.name), y.shape)


def _binary(function: Callable[[Any, Any], Any]) -> Converter:
    def convert(c: TfliteConverter, op: Operator) -> Any:
        out = function(c.real(op.require(0)), c.real(op.require(1)))
        return c.store(c.activation(out, op), op.outputs[0])

    return convert


def _pool(function: Callable[..., Any]) -> Converter:
    def convert(c: TfliteConverter, op: Operator) -> Any:
        kernel = (op.attributes["filter_height"], op.attributes["filter_width"])
        strides, _ = window_steps(op)
        out = function(
            c.real(op.require(0)), kernel, strides, _padding(op, kernel), count_include_pad=False, layout="NHWC"
        )
        return c.store(c.activation(out, op), op.outputs[0])

    return convert


def _mean(c: TfliteConverter, op: Operator) -> Any:
    x, y = op.require(0), op.outputs[0]
    axes = sorted({axis % len(x.shape) for axis in op.require(1).integers()})
    return c.store(relax.op.mean(c.real(x), axes, keepdims=len(y.shape) == len(x.shape)), y)


def _softmax(c: TfliteConverter, op: Operator) -> Any:
    x, beta = c.real(op.require(0)), op.attributes["beta"]
    if beta != 1.0:
        x = relax.op.multiply(x, relax.const(beta, "float32"))
    return c.store(relax.op.nn.softmax(x, axis=-1), op.outputs[0])


def _hard_swish(c: TfliteConverter, op: Operator) -> Any:
    x = c.real(op.require(0))
    gate = relax.op.clip(relax.op.add(x, relax.const(3.0, "float32")), 0, 6)
    return c.store(relax.op.multiply(x, relax.op.divide(gate, relax.const(6.0, "float32"))), op.outputs[0])


def _relu6(c: TfliteConverter, op: Operator) -> Any:
    """RELU6 on its own: TFLite Micro takes the output's quantization for the input's, without looking, and clamps."""
    x, y = op.require(0), op.outputs[0]
    bounded = emit.bounded(c.real(x), 0, 6)
    return bounded if x.quantization is None else emit.quantize(bounded, x.quantization, y.dtype)


COMPUTE: dict[str, Converter] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _binary(relax.op.add),
    "SUB": _binary(relax.op.subtract),
    "MUL": _binary(relax.op.multiply),
    "AVERAGE_POOL_2D": _pool(relax.op.nn.avg_pool2d),
    "MAX_POOL_2D": _pool(relax.op.nn.max_pool2d),
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "HARD_SWISH": _hard_swish,
    "RELU6": _relu6,
}
