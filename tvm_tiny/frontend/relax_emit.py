"""Small Relax expressions both importers build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from .graph import Quantization, Tensor

# TFLite's name of a fused activation -> float bounds; None is open.
ACTIVATIONS: dict[str, tuple[float, float] | None] = {
    "NONE": None,
    "RELU": (0, np.inf),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
    "RELU_0_TO_1": (0, 1),
}


def bounded(expr: Any, low: float, high: float) -> Any:
    """``expr`` limited to [low, high]: nn.relu where that is what it means, else clip."""
    if (low, high) == (-np.inf, np.inf):
        return expr
    if (low, high) == (0, np.inf):
        return relax.op.nn.relu(expr)
    return relax.op.clip(expr, low, high)


def constant(data: NDArray[Any]) -> Any:
    """A Relax constant; the array is copied, so that it does not keep a whole file alive."""
    return relax.const(np.ascontiguousarray(data), str(data.dtype))


def dequantize(expr: Any, q: Quantization, axis: int | None = None) -> Any:
    """Integer to float32: scalar scale and zero point, or one scale per entry of ``axis`` (default: q's own)."""
    scale = relax.const(q.scale, "float32") if q.per_tensor else relax.const(q.scales, "float32")
    zero_point = relax.const(q.zero_point, "int32")
    return relax.op.dequantize(expr, scale, zero_point, axis=0 if q.per_tensor else q.axis if axis is None else axis)


def quantize(expr: Any, q: Quantization, dtype: str) -> Any:
    """float32 to ``dtype``, per tensor."""
    scale, zero_point = relax.const(q.scale, "float32"), relax.const(q.zero_point, "int32")
    return relax.op.quantize(expr, scale, zero_point, axis=0, out_dtype=dtype)


def shape_of(expr: Any) -> tuple[int, ...]:
    """Static shape of a normalized expression."""
    return tuple(int(d) for d in expr.ty.shape.values)


def parameter(tensor: Tensor) -> Any:
    """The function parameter of a model input, named as in the file."""
    return relax.Var(tensor.name, relax.TensorType(tensor.shape, tensor.dtype))


def output_expr(builder: relax.BlockBuilder, values: Sequence[Any]) -> Any:
    """Mark ``values`` as outputs of the dataflow block: one value, or a tuple."""
    outputs = [builder.emit_output(value) for value in values]
    return outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)


CONVERSION_ERRORS = (tvm.error.InternalError, RuntimeError, ValueError, TypeError, IndexError, KeyError, OverflowError)
"""What TVM's builders and converters raise on operators that do not fit together."""
