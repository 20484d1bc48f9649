"""Writes a ``QuantizedNetwork`` as a QDQ ``.onnx`` file, float32 NCHW edges, as onnxruntime's quantizer does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .network import same_padding
from .quantize import ZERO_POINT_AT_MINIMUM, Activation, QuantizedLayer, QuantizedNetwork
from .tflite_writer import SOFTMAX_SCALE

_OPSET = 17
# The oldest IR version with this opset: readers refuse newer ones than they know.
_IR_VERSION = 8


def to_onnx(network: QuantizedNetwork, image_shape: tuple[int, int, int]) -> bytes:
    """The file's content.

    Parameters
    ----------
    image_shape : (height, width, channels); the model takes float32 [1, channels, height, width] in [0, 1] and gives
        float32 probabilities [1, classes]
    """
    height, width, channels = image_shape
    graph = _Graph()
    value = graph.quantize_dequantize("image", network.input)
    *convolutions, dense = network.layers
    previous = network.input
    for layer in convolutions:
        value = graph.convolution(layer, previous, value, (height, width))
        height, width = -(-height // layer.stride), -(-width // layer.stride)
        previous = layer.output
    value = graph.node("AveragePool", [value], "pooled_raw", kernel_shape=[height, width])
    value = graph.quantize_dequantize(value, Activation("pooled", previous.scale, previous.zero_point))
    value = graph.node("Flatten", [value], "flat_raw", axis=1)
    value = graph.quantize_dequantize(value, Activation("flat", previous.scale, previous.zero_point))
    value = graph.dense(dense, previous, value)
    value = graph.node("Softmax", [value], "probabilities_raw", axis=-1)
    softmax = Activation("probabilities", SOFTMAX_SCALE, ZERO_POINT_AT_MINIMUM)
    graph.quantize_dequantize(value, softmax, result="probabilities")

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, *image_shape[:2]])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, dense.bias.size])],
            graph.initializers,
        ),
        producer_name="tvm-tiny",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def convolution(self, layer: QuantizedLayer, previous: Activation, value: str, size: tuple[int, int]) -> str:
        # Depthwise [1, KH, KW, C] -> [C, 1, KH, KW]; OHWI -> OIHW.
        weight = layer.weight.transpose((3, 0, 1, 2) if layer.kind == "depthwise" else (0, 3, 1, 2))
        kernel = weight.shape[2:]
        (top, bottom), (left, right) = (same_padding(n, k, layer.stride) for n, k in zip(size, kernel, strict=True))
        name = layer.output.name
        value = self.node(
            "Conv",
            [value, *self._parameters(layer, previous, weight)],
            f"{name}_raw",
            kernel_shape=list(kernel),
            strides=[layer.stride, layer.stride],
            pads=[top, left, bottom, right],
            group=layer.bias.size if layer.kind == "depthwise" else 1,
        )
        if layer.relu:
            value = self.node("Relu", [value], f"{name}_relu")
        return self.quantize_dequantize(value, layer.output)

    def dense(self, layer: QuantizedLayer, previous: Activation, value: str) -> str:
        operands = [value, *self._parameters(layer, previous, layer.weight)]
        value = self.node("Gemm", operands, f"{layer.output.name}_raw", transB=1)
        return self.quantize_dequantize(value, layer.output)

    def quantize_dequantize(self, value: str, activation: Activation, result: str | None = None) -> str:
        """QuantizeLinear and DequantizeLinear behind ``value``; the int8 tensor is named ``<activation>_quantized``."""
        name = activation.name
        scale = self._initializer(f"{name}_scale", np.array(activation.scale, np.float32))
        zero_point = self._initializer(f"{name}_zero_point", np.array(activation.zero_point, np.int8))
        quantized = self.node("QuantizeLinear", [value, scale, zero_point], f"{name}_quantized")
        return self.node("DequantizeLinear", [quantized, scale, zero_point], result or f"{name}_dequantized")

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _parameters(self, layer: QuantizedLayer, previous: Activation, weight: NDArray[np.int8]) -> list[str]:
        """Dequantized weight and bias: per channel along axis 0, scalar for the dense layer's per-tensor scale."""
        per_tensor = layer.weight_scales.size == 1
        scales = layer.weight_scales.reshape(()) if per_tensor else layer.weight_scales
        bias_scales = (previous.scale * scales.astype(np.float64)).astype(np.float32)
        axis: dict[str, Any] = {} if per_tensor else {"axis": 0}
        name = layer.output.name
        values = []
        for what, data, scale in (("weight", weight, scales), ("bias", layer.bias, bias_scales)):
            inputs = [
                self._initializer(f"{name}_{what}_quantized", np.ascontiguousarray(data)),
                self._initializer(f"{name}_{what}_scale", scale),
                self._initializer(f"{name}_{what}_zero_point", np.zeros(scale.shape, data.dtype)),
            ]
            values.append(self.node("DequantizeLinear", inputs, f"{name}_{what}", **axis))
        return values

    def _initializer(self, name: str, data: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(data, name))
        return name
