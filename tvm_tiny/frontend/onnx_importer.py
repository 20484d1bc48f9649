"""ONNX -> Relax: TVM's importer on a prepared model, with converters of ours where its form is another."""

from __future__ import annotations

from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter, onnx_input

from tvm_tiny.errors import ModelError
from tvm_tiny.ops import IoTensor, ModelIo, with_float_semantics, with_io

from . import relax_emit as emit
from .graph import Graph, Operator, Tensor
from .onnx_converters import CONVERTERS
from .onnx_reader import prepare
from .onnx_rewrites import FLOAT_SUFFIX


def import_onnx(model: onnx.ModelProto, label: str) -> tvm.IRModule:
    """Import an ONNX model as canonical QDQ Relax, in NCHW as it is.

    Parameters
    ----------
    label : how to call the model in messages
    """
    prepared, graph = prepare(model, label)
    return OnnxConverter(prepared, graph).module()


class OnnxConverter(ONNXGraphImporter):
    """TVM's importer, which here names every variable after the tensor it holds.

    A float tensor that only feeds QuantizeLinear gives its name to the integers: the layer is known by it.
    """

    def __init__(self, model: onnx.ModelProto, graph: Graph) -> None:
        super().__init__(shape_dict={}, dtype_dict="float32", sanitize=False)
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._model = model.graph
        self._graph = graph
        self._names = self._variable_names()

    def module(self) -> tvm.IRModule:
        """Convert the whole graph."""
        self._parse_graph_initializers(self._model)
        parameters = [emit.parameter(t) for t in self._graph.inputs]
        self._nodes.update((p.name, p) for p in parameters)
        with self.bb.function("main", parameters):
            with self.bb.dataflow():
                for op in self._graph.operators:
                    self._convert(op)
                result = emit.output_expr(self.bb, [self._nodes[t.name] for t in self._graph.outputs])
            self.bb.emit_func_output(result)
        module = self.bb.get()
        io = ModelIo(tuple(map(_io_tensor, self._graph.inputs)), tuple(map(_io_tensor, self._graph.outputs)))
        module["main"] = with_float_semantics(with_io(module["main"], io))
        return module

    def _convert(self, op: Operator) -> None:
        node: onnx.NodeProto = op.raw
        inputs = [self._nodes[name] if name else None for name in node.input]
        try:
            results = self._results(op, inputs)
            if op.kind == "DequantizeLinear" and op.require(0).data is not None:
                # Constants are dequantized where they are used; weights already have been.
                self._nodes[op.name] = results[0]
                return
            variables = [
                r if isinstance(r, relax.Var) else self.bb.emit(r, name_hint=self._names.get(t.name, t.name))
                for r, t in zip(results, op.outputs, strict=True)
            ]
        except emit.CONVERSION_ERRORS as error:
            reason = str(error).strip().splitlines()[-1:]
            raise ModelError(
                f"operator {op.kind} ('{op.name}') contradicts itself: {' '.join(reason)}",
                hints=["check the model with onnx.checker.check_model(path, full_check=True)"],
            ) from error
        for variable, tensor in zip(variables, op.outputs, strict=True):
            if emit.shape_of(variable) != tensor.shape:
                raise ModelError(
                    f"operator {op.kind} makes '{tensor.name}' of shape {list(emit.shape_of(variable))}, but the model"
                    f" says {list(tensor.shape)}",
                    hints=["check the model with onnx.checker.check_model(path, full_check=True)"],
                )
            self._nodes[tensor.name] = variable

    def _results(self, op: Operator, inputs: list[Any]) -> list[Any]:
        q = op.outputs[0].quantization if op.kind == "QuantizeLinear" else op.require(0).quantization
        if op.kind == "QuantizeLinear" and q is not None:
            return [emit.quantize(inputs[0], q, op.outputs[0].dtype)]
        if op.kind == "DequantizeLinear" and q is not None:
            return [emit.dequantize(inputs[0], q)]
        if op.kind in CONVERTERS:
            result = CONVERTERS[op.kind](self.bb, op, inputs)
        else:
            result = self._convert_operator(op.kind, onnx_input(inputs), self._parse_attr(op.raw.attribute), self.opset)
        return result if isinstance(result, list) else [result]

    def _variable_names(self) -> dict[str, str]:
        """Tensor -> name of its variable, where that is not the tensor's own."""
        users: dict[str, list[Operator]] = {}
        for op in self._graph.operators:
            for name in op.raw.input:
                users.setdefault(name, []).append(op)
        made = {t.name for op in self._graph.operators if op.kind != "DequantizeLinear" for t in op.outputs}
        made -= {t.name for t in self._graph.outputs}
        names = {}
        for op in self._graph.operators:
            source = op.raw.input[0] if op.raw.input else ""
            if op.kind == "QuantizeLinear" and source in made and len(users[source]) == 1:
                names[op.name] = source.removesuffix(FLOAT_SUFFIX)
                names[source] = ""
        return names


def _io_tensor(tensor: Tensor) -> IoTensor:
    q = tensor.quantization
    return IoTensor(tensor.name, q.scale, q.zero_point) if q else IoTensor(tensor.name)
