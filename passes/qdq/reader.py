"""Reading a QDQ function: what a variable stands for, quantization parameters, constants with their scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.passes._dataflow import array_of, bindings_of, is_call, is_const, shape_of, with_args
from tvm_tiny.passes._evaluate import evaluate_call

UINT8_OFFSET = 128
"""uint8 tensors become int8 ones: value and zero point less this."""

_RESHAPES = ("reshape", "permute_dims", "squeeze", "expand_dims", "flatten")


class CannotLowerError(Exception):
    """An operator has no integer form here; the text is the reason, to be read behind the operator's name.

    operator : filled in on the way out
    """

    operator: str = ""


@dataclass(frozen=True)
class QParams:
    """real = scale * (q - zero_point); ``scale`` is a float32 value, ``zero_point`` is that of an int8 tensor."""

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class ConstTensor:
    """A constant of the model, with the quantization it is dequantized by.

    values : integers as stored (int8 where the file has uint8), or floats
    scales : float32, one element or the shape of ``values``; None for floats and for integers without quantization
    zero_points : like ``scales``
    """

    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None
    zero_points: NDArray[np.int64] | None = None

    @property
    def per_tensor(self) -> bool:
        return self.scales is not None and self.scales.size == 1

    @property
    def real(self) -> NDArray[np.float32]:
        """The float32 values."""
        if self.scales is None or self.zero_points is None:
            return self.values.astype(np.float32)
        return ((self.values.astype(np.float64) - self.zero_points) * self.scales).astype(np.float32)

    def transposed(self, axes: list[int]) -> ConstTensor:
        def move(x: Any) -> Any:
            return x if x is None or x.size == 1 else np.ascontiguousarray(np.transpose(x, axes))

        values = np.ascontiguousarray(np.transpose(self.values, axes))
        return ConstTensor(values, move(self.scales), move(self.zero_points))

    def channel_scales(self) -> NDArray[np.float32]:
        """Scale of each slice along axis 0: float32 [shape[0]]."""
        if self.scales is None:
            raise CannotLowerError("its weights are not quantized")
        if self.scales.size == 1:
            return np.full(self.values.shape[0], self.scales.reshape(-1)[0], dtype=np.float32)
        rows = self.scales.reshape(self.values.shape[0], -1)
        if (rows != rows[:, :1]).any():
            raise CannotLowerError("its weights are quantized along an axis other than the output channels")
        return np.ascontiguousarray(rows[:, 0])


class QdqReader:
    """Looks through variables of one function."""

    def __init__(self, func: relax.Function) -> None:
        self._values = dict(bindings_of(func))
        self._constants: dict[Any, ConstTensor | None] = {}

    def value(self, expr: relax.Expr) -> relax.Expr:
        """What ``expr`` is bound to; itself where it is a parameter or no variable."""
        return self._values.get(expr, expr) if isinstance(expr, relax.Var) else expr

    def fields(self, expr: relax.Expr) -> list[relax.Expr]:
        """The tensors of a tuple, like the argument of ``concat``."""
        value = self.value(expr)
        if isinstance(value, relax.Tuple):
            return list(value.fields)
        return [relax.TupleGetItem(expr, i) for i in range(len(expr.ty.fields))]

    def constant(self, expr: relax.Expr) -> ConstTensor | None:
        """The constant that ``expr`` comes to, through dequantization and changes of shape; None for others."""
        if expr not in self._constants:
            self._constants[expr] = self._constant(self.value(expr))
        return self._constants[expr]

    def scalar(self, expr: relax.Expr) -> float | None:
        """The value of a float constant of one element."""
        const = self.constant(expr)
        if const is None or const.scales is not None or const.values.size != 1:
            return None
        return float(const.values.reshape(-1)[0])

    def _constant(self, value: relax.Expr) -> ConstTensor | None:
        if is_const(value):
            return ConstTensor(array_of(value))
        if is_call(value, "dequantize"):
            return self._dequantized(value)
        if not is_call(value, *_RESHAPES):
            return None
        source = self.constant(value.args[0])
        if source is None:
            return None

        def move(x: Any) -> Any:
            return x if x is None or x.size == 1 else evaluate_call(value, [x])

        return ConstTensor(
            np.asarray(evaluate_call(value, [source.values])), move(source.scales), move(source.zero_points)
        )

    def _dequantized(self, call: relax.Call) -> ConstTensor | None:
        source = self.constant(call.args[0])
        if source is None:
            return None
        shape = source.values.shape
        scales, zero_points = (_spread(array_of(a), shape, int(call.attrs.axis)) for a in call.args[1:3])
        values, points = source.values, zero_points.astype(np.int64)
        if values.dtype == np.uint8:
            values, points = (values.astype(np.int16) - UINT8_OFFSET).astype(np.int8), points - UINT8_OFFSET
        return ConstTensor(values, scales.astype(np.float32), points)


def quantization(call: relax.Call) -> QParams | None:
    """Parameters of an 8-bit per-tensor ``quantize`` or ``dequantize`` call; None for others."""
    dtype = str(call.attrs.out_dtype) if is_call(call, "quantize") else str(call.args[0].ty.dtype)
    if dtype not in ("int8", "uint8") or not all(is_const(a) for a in call.args[1:3]):
        return None
    scale, zero_point = (array_of(a).reshape(-1) for a in call.args[1:3])
    if scale.size != 1 or zero_point.size != 1:
        return None
    return QParams(float(np.float32(scale[0])), int(zero_point[0]) - (UINT8_OFFSET if dtype == "uint8" else 0))


def clip_bounds(call: relax.Call) -> tuple[float | None, float | None]:
    """Bounds of a float ``clip`` call; None for infinite ones."""
    low, high = (float(a.value) for a in call.args[1:])
    return (None if math.isinf(low) else low), (None if math.isinf(high) else high)


def remake(call: relax.Call, data: relax.Expr, zero_point: int = 0, scale: float = 1.0) -> relax.Call:
    """A data movement call on another first argument.

    Changes of shape all become ``reshape``. A pad value is quantized with ``scale`` and ``zero_point``.
    """
    if is_call(call, "reshape", "squeeze", "expand_dims", "flatten"):
        return relax.op.reshape(data, shape_of(call))
    if is_call(call, "nn.pad"):
        value = pad_value(call, scale, zero_point)
        return relax.op.nn.pad(data, [int(w) for w in call.attrs.pad_width], "constant", value)
    return with_args(call, [data, *call.args[1:]])


def pad_value(call: relax.Call, scale: float, zero_point: int) -> int:
    """The integer a float ``nn.pad`` pads with; raises where int8 does not hold it."""
    if str(call.attrs.pad_mode) != "constant":
        raise CannotLowerError(f"pads by mode {call.attrs.pad_mode!s}, not with a constant")
    value = round(float(call.attrs.pad_value) / scale) + zero_point
    if not -128 <= value <= 127:
        raise CannotLowerError(
            f"pads with {float(call.attrs.pad_value):g}, which the tensor's quantization does not reach"
        )
    return value


def _spread(x: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[Any]:
    """A per-channel array spread over ``shape``; one of a single element as it is."""
    if x.size == 1:
        return x.reshape(-1)
    index = [1] * len(shape)
    index[axis] = -1
    return np.broadcast_to(x.reshape(index), shape)
