"""ONNX models quantized to QDQ int8 by onnxruntime's own quantizer, as users do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class OnnxWriter:
    """Collects nodes of a float model with one input ``x``.

    seed : of the weights
    """

    def __init__(self, input_shape: tuple[int, ...], seed: int = 0) -> None:
        self.input_shape = input_shape
        self._rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def weight(self, *shape: int) -> str:
        """Random weights, small enough that activations neither vanish nor explode."""
        fan_in = max(int(np.prod(shape[1:])), 1)
        return self.constant((self._rng.standard_normal(shape) * fan_in**-0.5).astype(np.float32))

    def constant(self, value: Any) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}_node", **attributes))
        return output

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.input_shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def samples(self, count: int) -> Iterator[NDArray[np.float32]]:
        for _ in range(count):
            yield self._rng.standard_normal(self.input_shape).astype(np.float32)


def quantized(writer: OnnxWriter, folder: Path, *outputs: str, per_channel: bool = True, **options: Any) -> Path:
    """The model as a QDQ file in ``folder``; ``options`` for ``onnxruntime.quantization.quantize_static``."""
    from onnxruntime import quantization as ort

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = writer.samples(16)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self._samples, None)
            return None if sample is None else {"x": sample}

    source, target = folder / "float.onnx", folder / "qdq.onnx"
    onnx.save(writer.model(*outputs), source)
    types = {"activation_type": ort.QuantType.QInt8, "weight_type": ort.QuantType.QInt8}
    ort.quantize_static(
        source,
        target,
        Reader(),
        quant_format=ort.QuantFormat.QDQ,
        per_channel=per_channel,
        **(types | options),
    )
    return target


def run_onnx(path: Path, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """onnxruntime's outputs, without its graph optimisations: the file as it stands."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options)
    return [np.asarray(y) for y in session.run(None, {"x": x})]
