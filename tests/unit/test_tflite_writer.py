"""The TFLite writer: files are reproducible, well aligned, and hold what was asked for."""

from __future__ import annotations

import flatbuffers.number_types
import numpy as np
import pytest
import tflite

from tests.op_cases import all_cases, case_named
from tests.tflite_graph import BUFFER_ALIGNMENT
from tests.tflite_writer import TfliteWriter, same_padding

OPERATORS = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "SUB",
    "MUL",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MEAN",
    "PAD",
    "RESHAPE",
    "TRANSPOSE",
    "CONCATENATION",
    "SOFTMAX",
    "LOGISTIC",
    "RELU",
    "RELU6",
    "LEAKY_RELU",
    "HARD_SWISH",
    "TANH",
    "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR",
    "STRIDED_SLICE",
    "SPLIT",
    "QUANTIZE",
    "DEQUANTIZE",
}


def conv_model() -> bytes:
    w = TfliteWriter()
    x = w.input("x", [1, 8, 8, 3], scale=0.5, zero_point=-3)
    weight = w.const("w", np.arange(108, dtype=np.int8).reshape(4, 3, 3, 3), scale=[0.1, 0.2, 0.3, 0.4])
    y = w.conv2d(x, weight, out_scale=0.25, out_zp=4, stride=(2, 1), activation="relu6", name="y")
    w.output(y)
    return w.finish()


def test_file_holds_what_was_asked_for() -> None:
    raw = conv_model()
    assert tflite.Model.ModelBufferHasIdentifier(raw, 0)
    model = tflite.Model.GetRootAsModel(raw, 0)
    graph = model.Subgraphs(0)
    assert (graph.InputsAsNumpy().tolist(), graph.OutputsAsNumpy().tolist()) == ([0], [2])
    weight = graph.Tensors(1)
    assert weight.Name() == b"w"
    assert weight.ShapeAsNumpy().tolist() == [4, 3, 3, 3]
    assert weight.Quantization().ScaleAsNumpy().tolist() == np.array([0.1, 0.2, 0.3, 0.4], np.float32).tolist()
    assert weight.Quantization().ZeroPointAsNumpy().tolist() == [0, 0, 0, 0]
    assert weight.Quantization().QuantizedDimension() == 0
    assert model.Buffers(weight.Buffer()).DataAsNumpy().tolist() == list(range(108))
    output = graph.Tensors(2)
    assert output.ShapeAsNumpy().tolist() == [1, 4, 8, 4]
    assert (output.Quantization().Scale(0), output.Quantization().ZeroPoint(0)) == (0.25, 4)
    operator = graph.Operators(0)
    options = tflite.Conv2DOptions()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    assert (options.StrideH(), options.StrideW(), options.Padding()) == (2, 1, tflite.Padding.SAME)
    assert options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU6


def test_writing_twice_gives_the_same_bytes() -> None:
    assert conv_model() == conv_model()


def test_buffers_are_aligned() -> None:
    raw = conv_model()
    model = tflite.Model.GetRootAsModel(raw, 0)
    offset = flatbuffers.number_types.UOffsetTFlags.py_type(model.Buffers(2)._tab.Offset(4))
    assert model.Buffers(2)._tab.Vector(offset) % BUFFER_ALIGNMENT == 0


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "want"),
    [(8, 3, 1, 1, (1, 1)), (8, 3, 2, 1, (0, 1)), (9, 3, 2, 1, (1, 1)), (8, 1, 4, 1, (0, 0)), (9, 3, 1, 4, (4, 4))],
)
def test_same_padding(size: int, kernel: int, stride: int, dilation: int, want: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride, dilation) == want


def test_cases_are_reproducible_and_cover_the_operators() -> None:
    case = case_named("conv2d-same-3x3")
    first, second = case.inputs(), case.inputs()
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(first, second, strict=True))
    corners = {int(v) for inputs in first for v in np.unique(inputs["x"])}
    assert {-128, 127} <= corners
    covered = {c.operator for c in all_cases()}
    assert covered >= OPERATORS
