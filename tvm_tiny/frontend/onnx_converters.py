"""Converters of ONNX operators where TVM's own give another form than the canonical one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from . import relax_emit as emit
from .geometry import ceil_mode_padding, normalize_slice, same_padding
from .graph import Operator, Quantization, Tensor
from .onnx_constraints import output_axis, resize_coordinates

# (builder, operator, its inputs as Relax expressions) -> expression, or a list with one per output
Converter = Callable[[relax.BlockBuilder, Operator, list[Any]], Any]


def _padding(op: Operator, kernel: tuple[int, int]) -> list[int]:
    """[top, left, bottom, right], whether given or asked for by auto_pad or ceil_mode."""
    a, sizes = op.attributes, op.require(0).shape[2:]
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    mode = a.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [same_padding(*args) for args in zip(sizes, kernel, strides, dilations, strict=True)]
        if mode == "SAME_LOWER":
            pairs = [(after, before) for before, after in pairs]
        return [pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]]
    pads = list(a.get("pads", [0, 0, 0, 0])) if mode == "NOTSET" else [0, 0, 0, 0]
    if a.get("ceil_mode", 0):
        for i in (0, 1):
            pads[2 + i] = ceil_mode_padding(sizes[i], kernel[i], strides[i], pads[i], pads[2 + i])
    return pads


def _weights(weight: Tensor, *, transpose: bool = False) -> Any:
    """Weights as float32, output channels first."""
    assert weight.data is not None
    expr = emit.constant(weight.data.T if transpose else weight.data)
    return expr if weight.quantization is None else emit.dequantize(expr, weight.quantization, axis=0)


def _add_bias(out: Any, op: Operator, shape: tuple[int, ...]) -> Any:
    bias, x, weight = op.input(2), op.require(0), op.require(1)
    if bias is None:
        return out
    assert bias.data is not None
    data, q = bias.data.reshape(-1), bias.quantization
    if x.quantization is not None and weight.quantization is not None and data.dtype == np.float32:
        # A quantized layer adds its bias to the accumulator, whose scale is the product.
        scales = (np.float32(x.quantization.scale) * weight.quantization.scales).astype(np.float32)
        safe = np.where(scales > 0, scales, 1).astype(np.float64)
        data = np.clip(np.rint(data / safe), -(2**31), 2**31 - 1).astype(np.int32)
        q = Quantization(scales, np.zeros(scales.size, np.int64))
    value = emit.constant(data)
    value = value if q is None else emit.dequantize(value, q, axis=0)
    return relax.op.add(out, relax.op.reshape(value, shape) if shape else value)


def _conv(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    weight, a = op.require(1), op.attributes
    out = relax.op.nn.conv2d(
        inputs[0],
        _weights(weight),
        a.get("strides", [1, 1]),
        _padding(op, (weight.shape[2], weight.shape[3])),
        a.get("dilations", [1, 1]),
        groups=a.get("group", 1),
        data_layout="NCHW",
        kernel_layout="OIHW",
        out_dtype="float32",
    )
    return _add_bias(out, op, (1, weight.shape[0], 1, 1))


def _dense(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    weights = _weights(op.require(1), transpose=output_axis(op) == 1)
    return _add_bias(relax.op.matmul(inputs[0], relax.op.permute_dims(weights, [1, 0])), op, ())


def _clip(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    low, high = (
        default if (t := op.input(i)) is None or t.data is None else t.numbers()[0]
        for i, default in ((1, -np.inf), (2, np.inf))
    )
    return emit.bounded(inputs[0], low, high)


def _pool(function: Callable[..., Any]) -> Converter:
    def convert(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
        kernel = (op.attributes["kernel_shape"][0], op.attributes["kernel_shape"][1])
        strides = op.attributes.get("strides", [1, 1])
        return _on_floats(
            lambda x: function(x, kernel, strides, _padding(op, kernel), count_include_pad=False, layout="NCHW"),
            op,
            inputs[0],
        )

    return convert


def _on_floats(function: Callable[[Any], Any], op: Operator, x: Any) -> Any:
    """Apply a float operator that only picks values; on raw int8 it works on them as numbers of scale 1."""
    if op.require(0).dtype == "float32" or op.require(0).quantization is not None:
        return function(x)
    unit = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
    return emit.quantize(function(emit.dequantize(x, unit)), unit, "int8")


def _global_max_pool(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    kernel = op.require(0).shape[2:]
    return _on_floats(lambda x: relax.op.nn.max_pool2d(x, kernel, [1, 1], [0] * 4, layout="NCHW"), op, inputs[0])


def _reduce_mean(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    given, rank = op.input(1), len(op.require(0).shape)
    axes = given.integers() if given is not None else list(op.attributes.get("axes", []))
    axes = sorted({axis % rank for axis in axes}) or list(range(rank))
    return relax.op.mean(inputs[0], axes, keepdims=bool(op.attributes.get("keepdims", 1)))


def _pad(builder: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    widths, value, rank = op.require(1).integers(), op.input(2), len(op.require(0).shape)
    axes_input = op.input(3)
    axes = [a % rank for a in axes_input.integers()] if axes_input is not None else list(range(rank))
    flat = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        flat[2 * axis], flat[2 * axis + 1] = widths[i], widths[i + len(axes)]
    fill = 0.0 if value is None or value.data is None else value.numbers()[0]
    x, x_q, y_q = inputs[0], op.require(0).quantization, op.outputs[0].quantization
    if x_q is not None and y_q is not None:
        wanted = y_q.quantized(fill)
        if not x_q.same_as(y_q) and y_q.quantized(x_q.real(x_q.quantized(fill))) != wanted:
            # The input's integers do not hold the value as well as the output's: requantize first, then pad.
            x = emit.dequantize(builder.emit(emit.quantize(x, y_q, "int8")), y_q)
            x = builder.emit(x)
            fill = y_q.real(wanted)
        elif x_q.quantized(fill) in (-128, 127):
            fill = x_q.real(x_q.quantized(fill))
    return relax.op.nn.pad(x, flat, "constant", fill)


def _reshape(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    return relax.op.reshape(inputs[0], op.outputs[0].shape)


def _slice(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    shape = op.require(0).shape
    starts, ends = op.require(1).integers(), op.require(2).integers()
    axes_input, steps_input = op.input(3), op.input(4)
    axes = [a % len(shape) for a in axes_input.integers()] if axes_input else list(range(len(starts)))
    steps = steps_input.integers() if steps_input else [1] * len(starts)
    ranges = [
        normalize_slice(shape[axis], start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]
    begin, end, stride = (list(column) for column in zip(*ranges, strict=True))
    return relax.op.strided_slice(inputs[0], axes, begin, end, stride)


def _split(builder: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    if len(op.outputs) == 1:
        return [inputs[0]]
    axis = op.attributes.get("axis", 0) % len(op.require(0).shape)
    ends: list[int] = []
    for part in op.outputs[:-1]:
        ends.append((ends[-1] if ends else 0) + part.shape[axis])
    parts = builder.emit(relax.op.split(inputs[0], ends, axis))
    return [relax.TupleGetItem(parts, i) for i in range(len(op.outputs))]


def _softmax(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    return relax.op.nn.softmax(inputs[0], axis=-1)


def _resize(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    coordinates = resize_coordinates(op)
    if op.attributes.get("mode", "nearest") == "linear":
        method, rounding = "linear", ""
    else:
        method, rounding = "nearest_neighbor", "floor" if coordinates == "asymmetric" else "round_prefer_ceil"
    size = op.outputs[0].shape[2:]
    return _on_floats(
        lambda x: relax.op.image.resize2d(x, size, None, "NCHW", method, coordinates, rounding), op, inputs[0]
    )


def _identity(_: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
    return inputs[0]


CONVERTERS: dict[str, Converter] = {
    "Conv": _conv,
    "Gemm": _dense,
    "MatMul": _dense,
    "Clip": _clip,
    "AveragePool": _pool(relax.op.nn.avg_pool2d),
    "MaxPool": _pool(relax.op.nn.max_pool2d),
    "GlobalMaxPool": _global_max_pool,
    "ReduceMean": _reduce_mean,
    "Pad": _pad,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Softmax": _softmax,
    "Resize": _resize,
    "Dropout": _identity,
    "Identity": _identity,
}
