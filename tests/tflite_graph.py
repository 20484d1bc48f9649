"""A TFLite model as plain records, and its serialization with the builders of the ``tflite`` package.

``TfliteGraph`` knows tensors, buffers and operators, but nothing of any single operator: see ``tflite_writer``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import ArrayLike, NDArray

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16

TENSOR_TYPES: dict[str, int] = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
    "uint8": tflite.TensorType.UINT8,
    "int64": tflite.TensorType.INT64,
    "int16": tflite.TensorType.INT16,
    "int8": tflite.TensorType.INT8,
}


@dataclass(frozen=True)
class TensorRef:
    """A tensor of the model being written.

    scales, zero_points : one entry per tensor, or per index of ``axis``; empty for a tensor without quantization
    data : contents of a constant
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: NDArray[Any] | None = field(default=None, compare=False)

    @property
    def scale(self) -> float:
        """The one scale of a per-tensor quantized tensor."""
        (scale,) = self.scales
        return scale

    @property
    def zero_point(self) -> int:
        """The one zero point of a per-tensor quantized tensor."""
        (zero_point,) = self.zero_points
        return zero_point


@dataclass(frozen=True)
class OperatorRecord:
    """One operator; ``inputs`` has -1 for an absent optional input in the middle."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: str | None
    options: dict[str, Any]


class TfliteGraph:
    """Collects tensors and operators of one subgraph in execution order and serializes them."""

    def __init__(self) -> None:
        self.tensors: list[TensorRef] = []
        self.operators: list[OperatorRecord] = []
        self.inputs: list[TensorRef] = []
        self.outputs: list[TensorRef] = []

    def input(
        self,
        name: str,
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        dtype: str = "int8",
    ) -> TensorRef:
        """Declare a model input; ``scale=None`` for one without quantization."""
        tensor = self.tensor(name, shape, dtype, scale, zero_point)
        self.inputs.append(tensor)
        return tensor

    def const(
        self,
        name: str,
        data: NDArray[Any],
        scale: ArrayLike | None = None,
        zero_point: ArrayLike = 0,
        axis: int = 0,
    ) -> TensorRef:
        """Add a constant; several scales make it quantized per channel along ``axis``."""
        return self._add(name, data.shape, str(data.dtype), scale, zero_point, axis, np.ascontiguousarray(data))

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, scale: float | None = None, zero_point: int = 0
    ) -> TensorRef:
        """Add a tensor that an operator will fill."""
        return self._add(name, shape, dtype, scale, zero_point, 0, None)

    def output(self, *tensors: TensorRef) -> None:
        """Declare model outputs."""
        self.outputs.extend(tensors)

    def operator(
        self,
        code: str,
        inputs: Sequence[TensorRef | None],
        outputs: Sequence[TensorRef],
        options_type: str | None = None,
        **options: Any,
    ) -> None:
        """Append an operator.

        Parameters
        ----------
        code : name in the schema's BuiltinOperator, like "CONV_2D"; "CUSTOM <name>" for an operator beside it
        inputs : absent optional ones at the end are left out, others become -1
        options_type : name in the schema's BuiltinOptions, like "Conv2DOptions"
        options : its fields in the builders' spelling (``StrideW=2``); a list of int becomes an int32 vector
        """
        present = max(i for i, t in enumerate(inputs) if t is not None) + 1
        indices = tuple(-1 if t is None else t.index for t in inputs[:present])
        self.operators.append(OperatorRecord(code, indices, tuple(t.index for t in outputs), options_type, options))

    def finish(self) -> bytes:
        """The model as a .tflite file; the same graph gives the same bytes."""
        builder = flatbuffers.Builder(1024)
        codes = sorted({op.code for op in self.operators})
        buffers = [_buffer(builder, None)]
        buffers += [_buffer(builder, t.data) for t in self.tensors]
        tensors = [_tensor(builder, t) for t in self.tensors]
        operators = [_operator(builder, op, codes.index(op.code)) for op in self.operators]
        subgraph = _table(
            builder,
            "SubGraph",
            Tensors=_offsets(builder, tensors),
            Inputs=_int32_vector(builder, [t.index for t in self.inputs]),
            Outputs=_int32_vector(builder, [t.index for t in self.outputs]),
            Operators=_offsets(builder, operators),
            Name=builder.CreateString("main"),
        )
        operator_codes = [_operator_code(builder, code) for code in codes]
        model = _table(
            builder,
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=_offsets(builder, operator_codes),
            Subgraphs=_offsets(builder, [subgraph]),
            Description=builder.CreateString("tests/tflite_writer.py"),
            Buffers=_offsets(builder, buffers),
        )
        builder.Finish(model, FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _add(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scale: ArrayLike | None,
        zero_point: ArrayLike,
        axis: int,
        data: NDArray[Any] | None,
    ) -> TensorRef:
        # Scales become what the file can hold, so that users of TensorRef and readers of the file see one value.
        scales = () if scale is None else tuple(float(s) for s in np.atleast_1d(np.asarray(scale, dtype=np.float32)))
        zero_points = tuple(int(z) for z in np.broadcast_to(zero_point, (len(scales),)))
        dims = tuple(int(d) for d in shape)
        ref = TensorRef(len(self.tensors), name, dims, dtype, scales, zero_points, axis, data)
        self.tensors.append(ref)
        return ref


def _table(builder: flatbuffers.Builder, name: str, /, **fields: Any) -> int:
    """Build the schema's table ``name``; strings, vectors and tables among its fields are offsets already."""
    module = importlib.import_module(f"tflite.{name}")
    module.Start(builder)
    for key, value in fields.items():
        getattr(module, f"Add{key}")(builder, value)
    return int(module.End(builder))


def _buffer(builder: flatbuffers.Builder, data: NDArray[Any] | None) -> int:
    if data is None:
        return _table(builder, "Buffer")
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
    builder.Prep(BUFFER_ALIGNMENT, len(raw))
    return _table(builder, "Buffer", Data=builder.CreateByteVector(raw))


def _tensor(builder: flatbuffers.Builder, ref: TensorRef) -> int:
    fields: dict[str, Any] = {
        "Name": builder.CreateString(ref.name),
        "Shape": _int32_vector(builder, ref.shape),
        "Type": TENSOR_TYPES[ref.dtype],
        "Buffer": 0 if ref.data is None else ref.index + 1,
    }
    if ref.scales:
        scales = builder.CreateNumpyVector(np.array(ref.scales, dtype=np.float32))
        zero_points = builder.CreateNumpyVector(np.array(ref.zero_points, dtype=np.int64))
        fields["Quantization"] = _table(
            builder, "QuantizationParameters", Scale=scales, ZeroPoint=zero_points, QuantizedDimension=ref.axis
        )
    return _table(builder, "Tensor", **fields)


def _operator(builder: flatbuffers.Builder, op: OperatorRecord, opcode_index: int) -> int:
    fields: dict[str, Any] = {
        "OpcodeIndex": opcode_index,
        "Inputs": _int32_vector(builder, op.inputs),
        "Outputs": _int32_vector(builder, op.outputs),
    }
    if op.options_type is not None:
        options = {k: _int32_vector(builder, v) if isinstance(v, list) else v for k, v in op.options.items()}
        fields["BuiltinOptions"] = _table(builder, op.options_type, **options)
        fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, op.options_type)
    return _table(builder, "Operator", **fields)


def _operator_code(builder: flatbuffers.Builder, code: str) -> int:
    builtin, _, custom = code.partition(" ")
    value = getattr(tflite.BuiltinOperator, builtin)
    name = {"CustomCode": builder.CreateString(custom)} if custom else {}
    # Readers older than 2020 look at the 8-bit field; 127 there sends newer ones to the other.
    return _table(builder, "OperatorCode", DeprecatedBuiltinCode=min(value, 127), Version=1, BuiltinCode=value, **name)


def _int32_vector(builder: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.array(values, dtype=np.int32)))


def _offsets(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
