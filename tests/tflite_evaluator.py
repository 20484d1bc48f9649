"""Runs a quantized .tflite model operator by operator on ``tvm_tiny.quant`` alone.

No compiler is involved: what this computes is what scales.py, lut.py and reference.py say. Comparing it with TFLite
Micro proves the arithmetic; comparing a compiled model with it finds the operator that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tests.tflite_graph import TENSOR_TYPES
from tests.tflite_writer import ACTIVATIONS, same_padding
from tvm_tiny.quant import lut, reference, scales
from tvm_tiny.quant.params import (
    Conv2DParams,
    DenseParams,
    LookupParams,
    Params,
    PoolParams,
    QuantizeParams,
    ResizeParams,
)

Array = NDArray[Any]
DTYPES = {code: name for name, code in TENSOR_TYPES.items()}
ACTIVATION_NAMES = {code: name for name, code in ACTIVATIONS.items()}
OPERATOR_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}


class Evaluator:
    """Evaluates one model; ``rounding`` as in ``quant.params``, ``factors`` as in ``quant.scales``."""

    def __init__(self, model: bytes, rounding: str = "tflm", factors: str = "float64") -> None:
        self.model = tflite.Model.GetRootAsModel(model, 0)
        self.graph = self.model.Subgraphs(0)
        self.rounding = rounding
        self.factors = factors
        self.values: dict[int, Array] = {}

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Outputs by name, for inputs by name."""
        graph = self.graph
        self.values = {i: inputs[self.name(i)] for i in graph.InputsAsNumpy()}
        for index in range(graph.OperatorsLength()):
            op = _Op(self, graph.Operators(index))
            for tensor, value in zip(op.outputs, _HANDLERS[op.code](op), strict=True):
                self.values[tensor] = value.reshape(self.shape(tensor))
        return {self.name(i): self.values[i] for i in graph.OutputsAsNumpy()}

    def name(self, index: int) -> str:
        return str(self.graph.Tensors(index).Name().decode())

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(index)
        return tuple(tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()

    def dtype(self, index: int) -> str:
        return DTYPES[self.graph.Tensors(index).Type()]

    def value(self, index: int) -> Array:
        if index not in self.values:
            data = self.model.Buffers(self.graph.Tensors(index).Buffer()).DataAsNumpy()
            self.values[index] = data.view(self.dtype(index)).reshape(self.shape(index))
        return self.values[index]

    def scales(self, index: int) -> NDArray[np.float32]:
        scales: NDArray[np.float32] = self.graph.Tensors(index).Quantization().ScaleAsNumpy()
        return scales

    def quant(self, index: int) -> tuple[float, int]:
        quantization = self.graph.Tensors(index).Quantization()
        return float(quantization.Scale(0)), int(quantization.ZeroPoint(0))


class _Op:
    """One operator with short ways to what handlers need."""

    def __init__(self, evaluator: Evaluator, operator: Any) -> None:
        code = evaluator.model.OperatorCodes(operator.OpcodeIndex())
        self.code = OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        self.evaluator = evaluator
        self.inputs = [int(i) for i in operator.InputsAsNumpy()]
        self.outputs = [int(i) for i in operator.OutputsAsNumpy()]
        self._table = operator.BuiltinOptions()
        self.rounding = evaluator.rounding
        self.factors = evaluator.factors

    def options(self, name: str) -> Any:
        options = getattr(tflite, name)()
        options.Init(self._table.Bytes, self._table.Pos)
        return options

    def value(self, i: int = 0) -> Array:
        return self.evaluator.value(self.inputs[i])

    def in_quant(self, i: int = 0) -> tuple[float, int]:
        return self.evaluator.quant(self.inputs[i])

    @property
    def out_quant(self) -> tuple[float, int]:
        return self.evaluator.quant(self.outputs[0])

    def clamp(self, options: Any) -> tuple[int, int]:
        return scales.activation_range(ACTIVATION_NAMES[options.FusedActivationFunction()], *self.out_quant)

    def bias(self, channels: int) -> Array:
        absent = len(self.inputs) < 3 or self.inputs[2] < 0
        return np.zeros(channels, np.int32) if absent else self.value(2)


def _run(name: str, params: Params, *arrays: Array) -> list[Array]:
    return [reference.run(name, params, *arrays)]


def _padding(options: Any, size: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, int]) -> Any:
    if options.Padding() == tflite.Padding.VALID:
        return (0, 0, 0, 0)
    top, bottom = same_padding(size[0], kernel[0], options.StrideH(), dilation[0])
    left, right = same_padding(size[1], kernel[1], options.StrideW(), dilation[1])
    return (top, left, bottom, right)


def _conv(op: _Op, options_type: str) -> list[Array]:
    options = op.options(options_type)
    data, weight = op.value(0), op.value(1)
    depthwise = op.code == "DEPTHWISE_CONV_2D"
    channels = weight.shape[3 if depthwise else 0]
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    params = Conv2DParams(
        strides=(options.StrideH(), options.StrideW()),
        padding=_padding(options, data.shape[1:3], weight.shape[1:3], dilation),
        dilation=dilation,
        groups=1 if depthwise else data.shape[3] // weight.shape[3],
        input_zero_point=op.in_quant()[1],
        output_zero_point=op.out_quant[1],
        clamp_min=op.clamp(options)[0],
        clamp_max=op.clamp(options)[1],
        rounding=op.rounding,
    )
    factors = scales.conv_multipliers(op.in_quant()[0], op.evaluator.scales(op.inputs[1]), op.out_quant[0], channels)
    name = "qdepthwise_conv2d" if depthwise else "qconv2d"
    return _run(name, params, data, weight[0] if depthwise else weight, op.bias(channels), *factors)


def _dense(op: _Op) -> list[Array]:
    weight = op.value(1)
    weight_scales = op.evaluator.scales(op.inputs[1])
    clamp = op.clamp(op.options("FullyConnectedOptions"))
    params = DenseParams(op.in_quant()[1], op.out_quant[1], *clamp, op.rounding)
    factors = scales.dense_multipliers(
        op.in_quant()[0], weight_scales, op.out_quant[0], len(weight_scales) == 1, weight.shape[0], op.factors
    )
    data = op.value(0).reshape(-1, weight.shape[1])
    return _run("qdense", params, data, weight, op.bias(weight.shape[0]), *factors)


def _binary(op: _Op, name: str, options_type: str, make: Callable[..., Params]) -> list[Array]:
    activation = ACTIVATION_NAMES[op.options(options_type).FusedActivationFunction()]
    params = make(*op.in_quant(0), *op.in_quant(1), *op.out_quant, activation, op.rounding)
    return _run(name, params, op.value(0), op.value(1))


def _pool(op: _Op, name: str) -> list[Array]:
    options = op.options("Pool2DOptions")
    size = (options.FilterHeight(), options.FilterWidth())
    padding = _padding(options, op.value().shape[1:3], size, (1, 1))
    params = PoolParams(size, (options.StrideH(), options.StrideW()), padding, *op.clamp(options))
    return _run(name, params, op.value())


def _mean(op: _Op) -> list[Array]:
    data, axes = op.value(0), [int(a) for a in op.value(1).reshape(-1)]
    keep = bool(op.options("ReducerOptions").KeepDims())
    return _run("qmean", scales.mean_params(data.shape, axes, keep, *op.in_quant(), *op.out_quant, op.rounding), data)


def _softmax(op: _Op) -> list[Array]:
    params = scales.softmax_params(op.in_quant()[0], float(op.options("SoftmaxOptions").Beta()))
    return _run("qsoftmax", params, op.value())


def _resize(op: _Op, method: str, options_type: str) -> list[Array]:
    options = op.options(options_type)
    height, width = (int(v) for v in op.value(1))
    params = ResizeParams((height, width), method, options.AlignCorners(), options.HalfPixelCenters())
    return _run("qresize2d", params, op.value())


def _table(op: _Op, table: Array) -> list[Array]:
    return _run("lookup", LookupParams(op.code.lower(), str(table.dtype)), op.value(), table)


def _leaky_relu(op: _Op) -> list[Array]:
    alpha = float(op.options("LeakyReluOptions").Alpha())
    return _table(op, lut.leaky_relu_table(alpha, *op.in_quant(), *op.out_quant, op.rounding, op.factors))


def _relu(op: _Op) -> list[Array]:
    return _table(op, lut.relu_table("relu", *op.in_quant(), *op.out_quant, op.rounding, op.factors))


def _relu6(op: _Op) -> list[Array]:
    """TFLite Micro takes the output's quantization for the input's."""
    return _table(op, lut.relu_table("relu6", *op.in_quant(), *op.in_quant(), op.rounding, op.factors))


def _quantize(op: _Op) -> list[Array]:
    before, after = op.evaluator.dtype(op.inputs[0]), op.evaluator.dtype(op.outputs[0])
    if before == "float32":
        return _run("quantize", QuantizeParams(*op.out_quant, after), op.value())
    return _table(op, lut.requantize_table(*op.in_quant(), *op.out_quant, op.rounding, before, after))


def _dequantize(op: _Op) -> list[Array]:
    return _run("dequantize", QuantizeParams(*op.in_quant(), "float32"), op.value())


def _pad(op: _Op) -> list[Array]:
    value = op.in_quant()[1] if len(op.inputs) == 2 else op.value(2).item()
    return [np.pad(op.value(), op.value(1), constant_values=value)]


def _concatenation(op: _Op) -> list[Array]:
    axis = op.options("ConcatenationOptions").Axis()
    return [np.concatenate([op.value(i) for i in range(len(op.inputs))], axis)]


def _strided_slice(op: _Op) -> list[Array]:
    options = op.options("StridedSliceOptions")
    index: list[slice | int] = []
    for i, (begin, end, step) in enumerate(zip(*(op.value(k) for k in (1, 2, 3)), strict=True)):
        start = None if options.BeginMask() >> i & 1 else int(begin)
        stop = None if options.EndMask() >> i & 1 else int(end)
        index.append(int(begin) if options.ShrinkAxisMask() >> i & 1 else slice(start, stop, int(step)))
    return [op.value()[tuple(index)]]


_HANDLERS: dict[str, Callable[[_Op], list[Array]]] = {
    "CONV_2D": lambda op: _conv(op, "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": lambda op: _conv(op, "DepthwiseConv2DOptions"),
    "FULLY_CONNECTED": _dense,
    "ADD": lambda op: _binary(op, "qadd", "AddOptions", scales.add_params),
    "SUB": lambda op: _binary(op, "qsub", "SubOptions", partial(scales.sub_params, factors=op.factors)),
    "MUL": lambda op: _binary(op, "qmul", "MulOptions", scales.mul_params),
    "AVERAGE_POOL_2D": lambda op: _pool(op, "qavg_pool2d"),
    "MAX_POOL_2D": lambda op: _pool(op, "qmax_pool2d"),
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "RESIZE_NEAREST_NEIGHBOR": lambda op: _resize(op, "nearest", "ResizeNearestNeighborOptions"),
    "RESIZE_BILINEAR": lambda op: _resize(op, "bilinear", "ResizeBilinearOptions"),
    "LOGISTIC": lambda op: _table(op, lut.logistic_table(*op.in_quant(), rounding=op.rounding)),
    "TANH": lambda op: _table(op, lut.tanh_table(*op.in_quant(), rounding=op.rounding)),
    "HARD_SWISH": lambda op: _table(op, lut.hard_swish_table(*op.in_quant(), *op.out_quant, op.factors)),
    "LEAKY_RELU": _leaky_relu,
    "RELU": _relu,
    "RELU6": _relu6,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": lambda op: [op.value()],
    "TRANSPOSE": lambda op: [op.value().transpose(op.value(1))],
    "CONCATENATION": _concatenation,
    "SPLIT": lambda op: np.split(op.value(1), len(op.outputs), int(op.value(0).item())),
    "STRIDED_SLICE": _strided_slice,
}
