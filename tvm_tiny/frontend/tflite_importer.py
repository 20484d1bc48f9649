"""TFLite -> Relax: TVM's operator converter on a verified graph, with converters of ours where its form is another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tflite
import tvm
from tvm import relax
from tvm.relax.frontend.tflite.tflite_frontend import ExprTable, OperatorConverter, TensorWrapper

from tvm_tiny.errors import ModelError
from tvm_tiny.ops import IoTensor, ModelIo, with_io

from . import relax_emit as emit
from .graph import Graph, Operator, Tensor
from .tflite_constraints import TFLITE
from .tflite_converters_compute import COMPUTE
from .tflite_converters_movement import MOVEMENT
from .tflite_reader import read_tflite

# Converters of TVM that give the canonical form as they are: dequantize, one operator, quantize.
_FROM_TVM = (
    "LOGISTIC",
    "TANH",
    "RELU",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "LEAKY_RELU",
    "QUANTIZE",
    "DEQUANTIZE",
    "RESIZE_BILINEAR",
    "TRANSPOSE",
)


def import_tflite(data: bytes, model: str) -> tvm.IRModule:
    """Import a TFLite file as canonical QDQ Relax.

    Parameters
    ----------
    data : the whole file
    model : how to call it in messages
    """
    try:
        graph = read_tflite(data)
    except ModelError as error:
        raise ModelError(f"{model}: {error.message}", hints=error.hints) from error
    TFLITE.check(graph, model)
    return TfliteConverter(data, graph).module()


class TfliteConverter(OperatorConverter):
    """TVM's converter, fed from a verified ``Graph`` instead of the raw file.

    Values are kept by tensor number, not by name as upstream: TFLite does not promise that names are unique.
    """

    def __init__(self, data: bytes, graph: Graph) -> None:
        raw = tflite.Model.GetRootAs(data, 0)
        super().__init__(raw, raw.Subgraphs(0), ExprTable(), relax.BlockBuilder())
        self.convert_map: dict[str, Callable[..., Any]] = {
            **{kind: self.convert_map[kind] for kind in _FROM_TVM},
            **{kind: partial(converter, self) for kind, converter in (COMPUTE | MOVEMENT).items()},
        }
        self._graph = graph
        self._tensors = {
            t.index: t for op in graph.operators for t in (*graph.inputs, *op.inputs, *op.outputs) if t is not None
        }
        self._values: dict[int, Any] = {}

    def module(self) -> tvm.IRModule:
        """Convert the whole graph; every variable has the name of the tensor it holds."""
        builder: relax.BlockBuilder = self.bb
        parameters = [emit.parameter(t) for t in self._graph.inputs]
        self._values = {t.index: p for t, p in zip(self._graph.inputs, parameters, strict=True)}
        with builder.function("main", parameters):
            with builder.dataflow():
                for op in self._graph.operators:
                    self._convert(op)
                result = emit.output_expr(builder, [self._values[t.index] for t in self._graph.outputs])
            builder.emit_func_output(result)
        module = builder.get()
        io = ModelIo(tuple(map(_io_tensor, self._graph.inputs)), tuple(map(_io_tensor, self._graph.outputs)))
        module["main"] = with_io(module["main"], io)
        return module

    def _convert(self, op: Operator) -> None:
        try:
            results = self.convert_map[op.kind](op.raw if op.kind in _FROM_TVM else op)
            if not isinstance(results, list):
                results = [results]
            variables = [self.bb.emit(r, name_hint=t.name) for r, t in zip(results, op.outputs, strict=True)]
        except emit.CONVERSION_ERRORS as error:
            reason = str(error).strip().splitlines()[-1:]
            raise ModelError(
                f"operator {op.kind} ('{op.name}') contradicts itself: {' '.join(reason)}",
                hints=["convert the model again; if that does not help, please report it with the model"],
            ) from error
        for variable, tensor in zip(variables, op.outputs, strict=True):
            if emit.shape_of(variable) != tensor.shape:
                raise ModelError(
                    f"operator {op.kind} makes '{tensor.name}' of shape {list(emit.shape_of(variable))}, but the file"
                    f" says {list(tensor.shape)}",
                    hints=["convert the model again"],
                )
            self._values[tensor.index] = variable

    # What our converters use.

    def value(self, tensor: Tensor) -> Any:
        """``tensor`` as it is stored: int8 or float32."""
        if tensor.data is not None:
            return emit.constant(tensor.data)
        return self._values[tensor.index]

    def real(self, tensor: Tensor) -> Any:
        """``tensor`` as float32, dequantized if need be."""
        value = self.value(tensor)
        return (
            value
            if tensor.dtype == "float32" or tensor.quantization is None
            else emit.dequantize(value, tensor.quantization)
        )

    def store(self, expr: Any, tensor: Tensor) -> Any:
        """A float32 expression as ``tensor`` is stored: quantized if it is int8."""
        if tensor.dtype == "float32" or tensor.quantization is None:
            return expr
        return emit.quantize(expr, tensor.quantization, tensor.dtype)

    def activation(self, expr: Any, op: Operator) -> Any:
        """The fused activation of ``op`` on its float32 result."""
        bounds = emit.ACTIVATIONS[self.activation_fn_type[op.attributes["fused_activation_function"]]]
        return expr if bounds is None else emit.bounded(expr, *bounds)

    # What TVM's converters use: the same values, from the verified graph.

    def get_tensors(self, tensors_idx_list: Any) -> list[Any]:
        """Upstream's view of tensors, with quantization only where the data are integers."""
        wrappers = []
        for index in map(int, tensors_idx_list):
            tensor, raw = self._tensors[index], self.subgraph.Tensors(index)
            parameters = None
            if tensor.dtype in ("int8", "uint8") and tensor.quantization is not None:
                q = tensor.quantization
                parameters = {
                    "scale": relax.const(q.scale, "float32"),
                    "zero_point": relax.const(q.zero_point, "int32"),
                    "axis": 0,
                }
            wrappers.append(TensorWrapper(index, raw, self.model.Buffers(raw.Buffer()), parameters))
        return wrappers

    def get_expr(self, input_tensor_idx: int) -> Any:
        return self.value(self._tensors[int(input_tensor_idx)])

    def has_expr(self, input_tensor_idx: int) -> bool:
        return int(input_tensor_idx) in self._values


def _io_tensor(tensor: Tensor) -> IoTensor:
    q = tensor.quantization if tensor.dtype != "float32" else None
    return IoTensor(tensor.name, q.scale, q.zero_point) if q else IoTensor(tensor.name)
