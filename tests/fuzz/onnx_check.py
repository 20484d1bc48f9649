"""onnxruntime's opinion of small ONNX cases: within one step of the output, for it computes in floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.fuzz.case import Case
from tests.fuzz.draws import HEAD
from tests.fuzz.trial import Tensors
from tests.onnx_models import run_onnxruntime

LAYERS = 1
"""More would add up their differences."""


def compare(case: Case, expected: Tensors) -> str | None:
    """What differs for the first set of inputs, or ""; None where onnxruntime has no say.

    The first set only: in the second, floats lie in the middle between two integers, which go to the even one there.
    """
    if case.kind != "onnx" or len(case.spans) - HEAD > LAYERS:
        return None
    model = onnx.load_from_string(case.model)
    try:
        outputs = run_onnxruntime(model, case.sets[0])
    except Exception as error:  # several classes of its own
        return None if "not supported" in str(error) or "NOT_IMPLEMENTED" in str(error) else f"onnxruntime: {error}"
    constants = {t.name: t for t in model.graph.initializer}
    for name, wanted in outputs.items():
        step = 1.0 if wanted.dtype.kind == "i" else _scale(model.graph.node[-1], constants)
        found = expected[name]
        if found.shape != wanted.shape:
            return f"onnxruntime: '{name}' is {wanted.shape}, here {found.shape}"
        steps = np.abs(found.astype(np.float64) - wanted) / step
        count = int((steps > 1.01 + _rounding(model, constants)).sum())
        if count:
            return f"onnxruntime: {count} of {steps.size} values of '{name}' differ, by up to {steps.max():.1f} steps"
    return ""


def _rounding(model: onnx.ModelProto, constants: dict[str, Any]) -> float:
    """Steps of the output that half a step of the input is: AVERAGE_POOL_2D rounds at its input's scale first."""
    if not any(n.op_type == "AveragePool" for n in model.graph.node):
        return 0.0
    scales = [_scale(n, constants) for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return 0.5 * max(scales) / min(scales)


def _scale(node: onnx.NodeProto, constants: dict[str, Any]) -> float:
    """Of a node between floats and integers."""
    return float(numpy_helper.to_array(constants[node.input[1]]))
