"""Small ONNX models for tests: built with onnx.helper, quantized with onnxruntime's quantizer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
IR_VERSION = 8


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str] | None],
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model; float constants become float32, tensors are float32 unless ``types`` says otherwise."""
    kinds = types or {}
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in outputs.items()],
        [
            numpy_helper.from_array(a.astype(np.float32) if a.dtype == np.float64 else a, name)
            for name, a in arrays.items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def small_cnn(seed: int = 0) -> onnx.ModelProto:
    """Float NCHW network with a residual, depthwise convolution, pools and a classifier; input "x" [1, 3, 16, 16]."""
    rng = np.random.default_rng(seed)
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["conv1"], auto_pad="SAME_UPPER", strides=[2, 2]),
        make("Relu", ["conv1"], ["relu1"]),
        make("Conv", ["relu1", "w2", "b2"], ["depthwise"], pads=[1, 1, 1, 1], group=8),
        make("Clip", ["depthwise", "low", "high"], ["relu6"]),
        make("Add", ["relu6", "relu1"], ["sum"]),
        make("MaxPool", ["sum"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        make("Conv", ["pooled", "w3"], ["pointwise"]),
        make("Sigmoid", ["pointwise"], ["gate"]),
        make("GlobalAveragePool", ["gate"], ["mean"]),
        make("Flatten", ["mean"], ["flat"]),
        make("Gemm", ["flat", "w4", "b4"], ["logits"], transB=1),
        make("Softmax", ["logits"], ["y"], axis=1),
    ]
    constants = {
        "w1": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.3, (8, 1, 3, 3)),
        "b2": rng.normal(0, 0.1, 8),
        "w3": rng.normal(0, 0.3, (12, 8, 1, 1)),
        "w4": rng.normal(0, 0.3, (10, 12)),
        "b4": rng.normal(0, 0.1, 10),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    return onnx_model(nodes, {"x": [1, 3, 16, 16]}, {"y": [1, 10]}, constants)


def quantized(model: onnx.ModelProto, folder: Path, quant_format: str = "QDQ", **options: Any) -> onnx.ModelProto:
    """``model`` quantized on random data by onnxruntime; ``options`` as of ``quantize_static``."""
    from onnxruntime import quantization as ort

    (value,) = model.graph.input
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]

    class Samples(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(3)
            self._rows: Iterator[dict[str, Array]] = iter(
                [{value.name: rng.normal(size=shape).astype(np.float32)} for _ in range(8)]
            )

        def get_next(self) -> dict[str, Array] | None:
            return next(self._rows, None)

    types = {key: getattr(ort.QuantType, options.pop(key, "QInt8")) for key in ("activation_type", "weight_type")}
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(model, str(source))
    logging.disable(logging.WARNING)  # advice about a preprocessing step
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ort.quantize_static(
                str(source),
                str(target),
                Samples(),
                quant_format=getattr(ort.QuantFormat, quant_format),
                **types,
                **options,
            )
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(str(target))


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name, without the graph optimizations that change the arithmetic."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(inputs)), strict=True))
