"""Writes a ``QuantizedNetwork`` as an int8 ``.tflite`` file with the builders of the ``tflite`` package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

from .quantize import Activation, QuantizedLayer, QuantizedNetwork

SOFTMAX_SCALE = 1.0 / 256.0
_SCHEMA_VERSION = 3
_TENSOR_TYPES = {"int8": tflite.TensorType.INT8, "int32": tflite.TensorType.INT32}
# Operator versions that hold int8 with per-channel weights.
_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "AVERAGE_POOL_2D": 2,
    "RESHAPE": 1,
    "FULLY_CONNECTED": 4,
    "SOFTMAX": 2,
}


def to_tflite(network: QuantizedNetwork, image_shape: tuple[int, int, int]) -> bytes:
    """The file's content.

    Parameters
    ----------
    image_shape : (height, width, channels); the model takes one image, int8 [1, height, width, channels]
    """
    writer = _Writer()
    height, width, channels = image_shape
    source = graph_input = writer.activation(network.input, (1, height, width, channels))
    *convolutions, dense = network.layers
    previous = network.input
    for layer in convolutions:
        height, width = -(-height // layer.stride), -(-width // layer.stride)
        channels = layer.bias.size
        output = writer.activation(layer.output, (1, height, width, channels))
        writer.convolution(layer, previous, source, output)
        source, previous = output, layer.output
    pooled = writer.activation(Activation("pooled", previous.scale, previous.zero_point), (1, 1, 1, channels))
    writer.average_pool((height, width), source, pooled)
    logits = writer.activation(dense.output, (1, dense.bias.size))
    writer.dense(dense, previous, pooled, logits)
    softmax = Activation("probabilities", SOFTMAX_SCALE, -128)
    probabilities = writer.activation(softmax, (1, dense.bias.size))
    writer.softmax(logits, probabilities)
    return writer.finish(graph_input, probabilities)


@dataclass
class _Writer:
    """Collects buffers, tensors and operators; flatbuffers want the innermost parts first."""

    builder: flatbuffers.Builder = field(default_factory=lambda: flatbuffers.Builder(16 * 1024))
    buffers: list[bytes] = field(default_factory=lambda: [b""])  # buffer 0 is empty by convention
    tensors: list[int] = field(default_factory=list)
    operators: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def activation(self, what: Activation, shape: tuple[int, ...]) -> int:
        scales = np.array([what.scale], np.float32)
        return self._tensor(what.name, shape, "int8", 0, scales, [what.zero_point], axis=0)

    def convolution(self, layer: QuantizedLayer, previous: Activation, source: int, output: int) -> None:
        depthwise = layer.kind == "depthwise"
        weight, bias = self._parameters(layer, previous, axis=3 if depthwise else 0)
        name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        relu = tflite.ActivationFunctionType.RELU if layer.relu else tflite.ActivationFunctionType.NONE
        values = {
            "Padding": tflite.Padding.SAME,
            "StrideW": layer.stride,
            "StrideH": layer.stride,
            "FusedActivationFunction": relu,
            "DilationWFactor": 1,
            "DilationHFactor": 1,
        }
        if depthwise:
            values["DepthMultiplier"] = 1
        code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self._operator(code, [source, weight, bias], output, name, values)

    def average_pool(self, size: tuple[int, int], source: int, output: int) -> None:
        values = {
            "Padding": tflite.Padding.VALID,
            "StrideW": size[1],
            "StrideH": size[0],
            "FilterWidth": size[1],
            "FilterHeight": size[0],
        }
        self._operator("AVERAGE_POOL_2D", [source], output, "Pool2DOptions", values)

    def dense(self, layer: QuantizedLayer, previous: Activation, source: int, output: int) -> None:
        weight, bias = self._parameters(layer, previous, axis=0)
        self._operator("FULLY_CONNECTED", [source, weight, bias], output, "FullyConnectedOptions", {})

    def softmax(self, source: int, output: int) -> None:
        self._operator("SOFTMAX", [source], output, "SoftmaxOptions", {"Beta": 1.0})

    def finish(self, graph_input: int, graph_output: int) -> bytes:
        b = self.builder
        codes = []
        for code in self.codes:
            value = getattr(tflite.BuiltinOperator, code)
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, value)
            tflite.OperatorCodeAddBuiltinCode(b, value)
            tflite.OperatorCodeAddVersion(b, _VERSIONS[code])
            codes.append(tflite.OperatorCodeEnd(b))
        buffers = []
        for data in self.buffers:
            content = self._bytes(data) if data else None
            tflite.BufferStart(b)
            if content is not None:
                tflite.BufferAddData(b, content)
            buffers.append(tflite.BufferEnd(b))
        parts = {
            "Tensors": self._offsets(self.tensors),
            "Inputs": self._ints([graph_input]),
            "Outputs": self._ints([graph_output]),
            "Operators": self._offsets(self.operators),
        }
        name = b.CreateString("main")
        tflite.SubGraphStart(b)
        for part, offset in parts.items():
            getattr(tflite, f"SubGraphAdd{part}")(b, offset)
        tflite.SubGraphAddName(b, name)
        subgraphs = self._offsets([tflite.SubGraphEnd(b)])
        description = b.CreateString("handwritten digits, int8 depthwise-separable CNN")
        code_vector, buffer_vector = self._offsets(codes), self._offsets(buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, _SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffer_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _parameters(self, layer: QuantizedLayer, previous: Activation, axis: int) -> tuple[int, int]:
        name = layer.output.name
        bias_scales = (previous.scale * layer.weight_scales.astype(np.float64)).astype(np.float32)
        zeros = [0] * layer.weight_scales.size
        weight = self._constant(f"{name}/weight", layer.weight, layer.weight_scales, zeros, axis)
        return weight, self._constant(f"{name}/bias", layer.bias, bias_scales, zeros, 0)

    def _constant(
        self, name: str, data: NDArray[Any], scales: NDArray[np.float32], zero_points: list[int], axis: int
    ) -> int:
        self.buffers.append(data.tobytes())
        return self._tensor(name, data.shape, str(data.dtype), len(self.buffers) - 1, scales, zero_points, axis)

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        buffer: int,
        scales: NDArray[np.float32],
        zero_points: list[int],
        axis: int,
    ) -> int:
        b = self.builder
        scale_vector = b.CreateNumpyVector(scales)
        zero_point_vector = b.CreateNumpyVector(np.array(zero_points, np.int64))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale_vector)
        tflite.QuantizationParametersAddZeroPoint(b, zero_point_vector)
        tflite.QuantizationParametersAddQuantizedDimension(b, axis)
        quantization = tflite.QuantizationParametersEnd(b)
        name_offset, shape_vector = b.CreateString(name), self._ints(shape)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape_vector)
        tflite.TensorAddType(b, _TENSOR_TYPES[dtype])
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name_offset)
        tflite.TensorAddQuantization(b, quantization)
        self.tensors.append(tflite.TensorEnd(b))
        return len(self.tensors) - 1

    def _operator(self, code: str, inputs: list[int], output: int, options: str, values: dict[str, Any]) -> None:
        b = self.builder
        if code not in self.codes:
            self.codes.append(code)
        _call(f"{options}Start", b)
        for key, value in values.items():
            _call(f"{options}Add{key}", b, value)
        options_offset = _call(f"{options}End", b)
        input_vector, output_vector = self._ints(inputs), self._ints([output])
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self.codes.index(code))
        tflite.OperatorAddInputs(b, input_vector)
        tflite.OperatorAddOutputs(b, output_vector)
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options))
        tflite.OperatorAddBuiltinOptions(b, options_offset)
        self.operators.append(tflite.OperatorEnd(b))

    def _bytes(self, data: bytes) -> int:
        """A byte vector whose content is 16-byte aligned, as the schema asks for."""
        self.builder.StartVector(1, len(data), 16)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        return int(self.builder.EndVector())

    def _ints(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def _offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())


def _call(name: str, *args: Any) -> int:
    function: Callable[..., Any] = getattr(tflite, name)
    return int(function(*args) or 0)
