"""TFLite flatbuffer -> ``Graph``, without trusting a single byte of it.

The generated classes of the ``tflite`` package parse; they check nothing. Here every index, length and size is checked
before it is used, so that a damaged file ends in one ``ModelError`` that names what is wrong.
"""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tvm_tiny.errors import ModelError

from .graph import MAX_ELEMENTS, Graph, Operator, Quantization, Tensor

_ACTIVATION = ("FusedActivationFunction",)
_WINDOW = ("Padding", "StrideH", "StrideW")
_CONV = (*_WINDOW, "DilationHFactor", "DilationWFactor", *_ACTIVATION)
_POOL = (*_WINDOW, "FilterHeight", "FilterWidth", *_ACTIVATION)
_RESIZE = ("AlignCorners", "HalfPixelCenters")
_SLICE = ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset")

# Operator -> its table of options in the schema, and the fields that are read.
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", _CONV),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _CONV),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (*_ACTIVATION, "WeightsFormat", "KeepNumDims")),
    "ADD": ("AddOptions", _ACTIVATION),
    "SUB": ("SubOptions", _ACTIVATION),
    "MUL": ("MulOptions", _ACTIVATION),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _POOL),
    "MAX_POOL_2D": ("Pool2DOptions", _POOL),
    "MEAN": ("ReducerOptions", ("KeepDims",)),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", *_ACTIVATION)),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", _RESIZE),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", _RESIZE),
    "STRIDED_SLICE": ("StridedSliceOptions", _SLICE),
}

# What the generated classes and NumPy raise on bytes that are not what the schema says.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, UnicodeDecodeError)


def _enum_names(enum: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enum).items() if isinstance(v, int)}


_OPERATOR_NAMES = _enum_names(tflite.BuiltinOperator)
_TYPE_NAMES = {v: k.lower() for v, k in _enum_names(tflite.TensorType).items()}


def read_tflite(data: bytes) -> Graph:
    """Parse and verify a TFLite file.

    Raises
    ------
    ModelError
        damaged or truncated file, dynamic shape, missing or wrongly sized constant, several entry points
    """
    try:
        return _Reader(data).graph()
    except _DAMAGE as error:
        raise _damaged("its structure cannot be followed") from error


def _damaged(what: str) -> ModelError:
    return ModelError(
        f"the TFLite model is damaged or truncated: {what}",
        hints=["copy or download the file again and compare its size", "convert the model again"],
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        # Vectors do not overlap in a sound file, so their lengths sum to less than its size. Damaged ones that all
        # point at one huge vector would take forever.
        self._budget = max(self._size, 1 << 16)
        self._model = tflite.Model.GetRootAs(data, 0)

    def graph(self) -> Graph:
        if self._model.Version() != 3:
            raise _damaged(f"schema version {self._model.Version()}, known is 3")
        subgraph = self._main_subgraph()
        tensors = [self._tensor(subgraph.Tensors(i), i) for i in range(self._length(subgraph.TensorsLength()))]
        inputs = [tensors[i] for i in self._indices(subgraph.InputsLength, subgraph.Inputs, len(tensors))]
        outputs = [tensors[i] for i in self._indices(subgraph.OutputsLength, subgraph.Outputs, len(tensors))]
        self._check_input_shapes(subgraph, inputs)
        operators = [
            self._operator(subgraph.Operators(i), tensors) for i in range(self._length(subgraph.OperatorsLength()))
        ]
        if not operators or not inputs or not outputs:
            raise ModelError("the TFLite model has no operators, no inputs or no outputs: there is nothing to compile")
        _check_dataflow(operators, inputs, outputs)
        return Graph(tuple(operators), _with_own_names(inputs), _with_own_names(outputs))

    def _length(self, length: int) -> int:
        self._budget -= length
        if length < 0 or self._budget < 0:
            raise _damaged(f"a list of {length} entries does not fit a file of {self._size} bytes")
        return length

    def _indices(self, length: Any, item: Any, count: int, *, optional: bool = False) -> list[int]:
        indices = [int(item(i)) for i in range(self._length(length()))]
        for i in indices:
            if not (0 <= i < count or (optional and i == -1)):
                raise _damaged(f"tensor number {i}, there are {count}")
        return indices

    def _main_subgraph(self) -> Any:
        count = self._length(self._model.SubgraphsLength())
        if count == 0:
            raise _damaged("it has no subgraph")
        # Further subgraphs are bodies of control flow, whose operators are refused by name, or entry points.
        entries = range(self._length(self._model.SignatureDefsLength()))
        if any(self._model.SignatureDefs(i).SubgraphIndex() != 0 for i in entries):
            raise ModelError(
                f"the TFLite model has {count} subgraphs and a signature that is not the first subgraph",
                hints=["export each signature (entry point) to a file of its own"],
            )
        return self._model.Subgraphs(0)

    def _tensor(self, raw: Any, index: int) -> Tensor:
        name = (raw.Name() or b"").decode("utf-8") or f"tensor_{index}"
        shape = tuple(int(raw.Shape(i)) for i in range(self._length(raw.ShapeLength())))
        dtype = _TYPE_NAMES.get(raw.Type())
        if dtype is None:
            raise _damaged(f"tensor '{name}' has the unknown type number {raw.Type()}")
        if any(d < 0 for d in shape):
            raise _dynamic(name, shape)
        if prod(shape) > MAX_ELEMENTS:
            raise _damaged(f"tensor '{name}' has shape {list(shape)}")
        if raw.Sparsity() is not None:
            raise ModelError(
                f"tensor '{name}' is stored in sparse form, which is not supported",
                hints=["convert the model without sparsity (weights pruned to zero may stay)"],
            )
        quantization = self._quantization(raw.Quantization(), name, shape)
        return Tensor(index, name, shape, dtype, quantization, self._constant(raw.Buffer(), name, shape, dtype))

    def _quantization(self, raw: Any, name: str, shape: tuple[int, ...]) -> Quantization | None:
        if raw is None or raw.ScaleLength() == 0:
            return None
        self._length(raw.ScaleLength() + raw.ZeroPointLength())
        scales = raw.ScaleAsNumpy().astype(np.float32)
        zero_points = (
            raw.ZeroPointAsNumpy().astype(np.int64) if raw.ZeroPointLength() else np.zeros_like(scales, "int64")
        )
        if not np.all(np.isfinite(scales)) or np.any(scales < 0):
            raise _damaged(f"tensor '{name}' has a scale that is negative or not finite")
        if scales.size == 1 and zero_points.size == 1:
            return Quantization(scales, zero_points)
        # A bias has one axis; some converters still give it the axis of its weights.
        axis = 0 if len(shape) == 1 else int(raw.QuantizedDimension())
        if not 0 <= axis < len(shape) or scales.size != shape[axis] or zero_points.size not in (1, scales.size):
            raise _damaged(
                f"tensor '{name}' of shape {list(shape)} has {scales.size} scales and {zero_points.size} zero points"
                f" along axis {axis}"
            )
        return Quantization(scales, np.broadcast_to(zero_points, scales.shape), axis)

    def _constant(self, buffer: int, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any] | None:
        if buffer >= self._model.BuffersLength():
            raise _damaged(f"tensor '{name}' refers to buffer {buffer} of {self._model.BuffersLength()}")
        raw = self._model.Buffers(buffer)
        if raw.Offset() > 1:
            raise ModelError(
                f"the data of tensor '{name}' lies outside of the flatbuffer, which is not supported",
                hints=["models over 2 GB are stored so; this one is too large for a microcontroller"],
            )
        if buffer == 0 or raw.DataLength() == 0:
            return np.zeros(shape, dtype) if prod(shape) == 0 and dtype in ("int32", "int64") else None
        content: NDArray[Any] = raw.DataAsNumpy()
        try:
            item = np.dtype(dtype)
        except TypeError:
            return content  # a type NumPy lacks, refused later with the operators that use it
        if dtype != "string" and content.size != prod(shape) * item.itemsize:
            raise _damaged(
                f"the constant '{name}' needs {prod(shape) * item.itemsize} bytes (shape {list(shape)}, {dtype}),"
                f" its buffer has {content.size}"
            )
        return content if dtype == "string" else content.view(item).reshape(shape)

    def _check_input_shapes(self, subgraph: Any, inputs: list[Tensor]) -> None:
        for tensor in inputs:
            raw = subgraph.Tensors(tensor.index)
            signature = [raw.ShapeSignature(i) for i in range(self._length(raw.ShapeSignatureLength()))]
            # The first axis is the batch; its stored size (1) is what every interpreter runs.
            if any(d < 0 for d in signature[1:]):
                raise _dynamic(tensor.name, tuple(signature))

    def _operator(self, raw: Any, tensors: list[Tensor]) -> Operator:
        code_index = raw.OpcodeIndex()
        if not 0 <= code_index < self._model.OperatorCodesLength():
            raise _damaged(f"operator code {code_index} of {self._model.OperatorCodesLength()}")
        code = self._model.OperatorCodes(code_index)
        # Files from before schema 3a hold the number in the older one-byte field only.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _OPERATOR_NAMES.get(number, f"operator number {number}")
        if kind == "CUSTOM":
            kind = f"CUSTOM {(code.CustomCode() or b'?').decode('utf-8')}"
        inputs = self._indices(raw.InputsLength, raw.Inputs, len(tensors), optional=True)
        outputs = self._indices(raw.OutputsLength, raw.Outputs, len(tensors))
        if not outputs:
            raise _damaged(f"an operator {kind} has no output")
        return Operator(
            kind,
            tuple(None if i < 0 else tensors[i] for i in inputs),
            tuple(tensors[i] for i in outputs),
            _attributes(kind, raw),
            raw,
        )


def _attributes(kind: str, raw: Any) -> dict[str, Any]:
    if kind not in _OPTIONS:
        return {}
    table, fields = _OPTIONS[kind]
    names = {field: re.sub(r"(?<!^)(?=[A-Z])", "_", field).lower() for field in fields}
    content = raw.BuiltinOptions()
    if content is None:
        return dict.fromkeys(names.values(), 0)
    if raw.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, table):
        raise _damaged(f"an operator {kind} has options of type {raw.BuiltinOptionsType()} instead of {table}")
    options = getattr(tflite, table)()
    options.Init(content.Bytes, content.Pos)
    return {name: getattr(options, field)() for field, name in names.items()}


def _with_own_names(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """The tensors, where a name is repeated with the next free one of name_1, name_2, ..."""
    taken = {t.name for t in tensors}
    seen: set[str] = set()
    result = []
    for tensor in tensors:
        name = tensor.name
        if name in seen:
            name = next(n for i in itertools.count(1) if (n := f"{tensor.name}_{i}") not in taken)
            taken.add(name)
        seen.add(name)
        result.append(replace(tensor, name=name))
    return tuple(result)


def _check_dataflow(operators: list[Operator], inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Every tensor that is read is an input, a constant, or made by one earlier operator."""
    known = {t.index for t in inputs}
    for op in operators:
        for tensor in op.inputs:
            if tensor is not None and tensor.data is None and tensor.index not in known:
                raise _missing(tensor, f"operator {op.kind} ('{op.name}') reads it")
        for tensor in op.outputs:
            if tensor.index in known or tensor.data is not None:
                raise _damaged(f"tensor '{tensor.name}' is written twice")
            known.add(tensor.index)
    for tensor in outputs:
        if tensor.data is not None:
            raise ModelError(
                f"output '{tensor.name}' is a constant, not computed from an input",
                hints=["remove this output and convert the model again; its value can be kept beside the model"],
            )
        if tensor.index not in known:
            raise _missing(tensor, "it is an output of the model")


def _missing(tensor: Tensor, why: str) -> ModelError:
    return ModelError(
        f"tensor '{tensor.name}' has no data: {why}, but it is neither an input, nor a constant with a buffer,"
        " nor the result of an earlier operator",
        hints=["convert the model again; variable (stateful) tensors are not supported"],
    )


def _dynamic(name: str, shape: tuple[int, ...]) -> ModelError:
    return ModelError(
        f"tensor '{name}' has the dynamic shape {list(shape)}; memory is planned at compile time, so all sizes must"
        " be known",
        hints=[
            "give the input a fixed shape before converting, e.g. tf.keras.Input(shape=(96, 96, 3), batch_size=1)",
        ],
    )
