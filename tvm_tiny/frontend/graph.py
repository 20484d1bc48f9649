"""A model as the front ends see it: plain dataclasses, filled by a reader, judged by constraints, then converted.

Readers check everything a damaged file can get wrong (indices, sizes, lengths), so constraints and converters may trust
what they find here. No TVM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A larger tensor cannot be meant for a microcontroller; it is a damaged shape.
MAX_ELEMENTS = 2**31 - 1


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point), per tensor (one scale) or along ``axis``.

    scales : float32, [1] or [shape[axis]]
    zero_points : int64, as many as scales
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int = 0

    @property
    def per_tensor(self) -> bool:
        return self.scales.size == 1

    @property
    def scale(self) -> float:
        """The scale of a per-tensor quantization; a float32 value, exactly."""
        return float(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The zero point of a per-tensor quantization."""
        return int(self.zero_points[0])

    def quantized(self, value: float) -> float:
        """The integer of int8 nearest to ``value``, per tensor; saturates."""
        return float(np.clip(np.rint(np.float64(value) / self.scale) + self.zero_point, -128, 127))

    def real(self, integer: float) -> float:
        """The value of ``integer``, per tensor."""
        return (integer - self.zero_point) * self.scale

    def same_as(self, other: Quantization) -> bool:
        """Per-tensor equality up to the last digits of a scale, which converters do not keep."""
        both = self.per_tensor and other.per_tensor
        return both and self.zero_point == other.zero_point and bool(np.isclose(self.scale, other.scale, rtol=1e-5))


@dataclass(frozen=True, eq=False)
class Tensor:
    """
    shape : static; () for a scalar
    dtype : NumPy's name, or the file format's for types NumPy lacks
    quantization : None for floats and for integers that carry no scale
    data : contents of a constant with ``shape`` and ``dtype``, else None
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    def integers(self) -> list[int]:
        """The values of an integer constant, flattened."""
        if self.data is None:
            raise ValueError(f"{self.name} is not a constant")
        return [int(v) for v in self.data.reshape(-1)]

    def numbers(self) -> list[float]:
        """The real values of a constant, flattened; dequantized with one scale if it carries one."""
        if self.data is None:
            raise ValueError(f"{self.name} is not a constant")
        values, q = self.data.reshape(-1), self.quantization
        if q is not None:
            values = (values.astype(np.int64) - q.zero_point).astype(np.float32) * np.float32(q.scale)
        return [float(v) for v in values]


@dataclass(frozen=True, eq=False)
class Operator:
    """
    kind : the file format's name: "CONV_2D" (TFLite), "Conv" (ONNX)
    inputs : None where an optional input is absent
    attributes : options by the names of the file format's schema
    raw : the file format's own object
    """

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    raw: Any = None

    def input(self, i: int) -> Tensor | None:
        """Input ``i``, None also where the list is shorter."""
        return self.inputs[i] if i < len(self.inputs) else None

    def require(self, i: int) -> Tensor:
        """Input ``i`` of an operator whose arity was checked."""
        tensor = self.input(i)
        if tensor is None:
            raise ValueError(f"{self.kind} lacks input {i}")
        return tensor

    @property
    def name(self) -> str:
        """Name of the first output, which is how a model's author knows the operator."""
        return self.outputs[0].name if self.outputs else "?"


@dataclass(frozen=True, eq=False)
class Graph:
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
