"""What is wrong with a TFLite file is said in one error: no TVM involved."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.errors import ModelError, TvmTinyError, UnsupportedOperatorError
from tvm_tiny.frontend.tflite_constraints import TFLITE
from tvm_tiny.frontend.tflite_reader import read_tflite


def check(model: bytes) -> None:
    TFLITE.check(read_tflite(model), "'m.tflite'")


def conv(w: TfliteWriter, x: TensorRef, weight: TensorRef | None = None, **kwargs: object) -> TensorRef:
    if weight is None:
        weight = w.const("w", np.ones((4, 3, 3, x.shape[3]), np.int8), [0.1] * 4)
    arguments: dict[str, object] = {"out_scale": 0.5, "name": "conv"}
    return w.conv2d(x, weight, **{**arguments, **kwargs})  # type: ignore[arg-type]


def finished(build: Callable[[TfliteWriter, TensorRef], TensorRef]) -> bytes:
    w = TfliteWriter()
    w.output(build(w, w.input("x", [1, 8, 8, 3], 0.5, -3)))
    return w.finish()


SOUND = finished(conv)


def test_a_sound_model_passes() -> None:
    check(SOUND)


def test_all_unsupported_operators_are_listed() -> None:
    def build(w: TfliteWriter, x: TensorRef) -> TensorRef:
        a, b, c = (w.tensor(name, x.shape, "int8", 0.5) for name in "abc")
        w.operator("COS", [x], [a], None)
        w.operator("RELU", [a], [b], None)
        w.operator("CUSTOM", [b], [c], None)
        return conv(w, c, w.const("w", np.ones((4, 3, 3, 3), np.int8), 0.1, 5))

    with pytest.raises(UnsupportedOperatorError) as error:
        check(finished(build))
    assert error.value.message.splitlines()[0] == "3 operators of 'm.tflite' cannot be compiled:"
    assert "COS 'a': not a supported operator" in error.value.message
    assert "CUSTOM ? 'c': not a supported operator" in error.value.message
    assert "CONV_2D 'conv': the weights 'w' have zero point 5" in error.value.message
    assert error.value.hints


def _float16(w: TfliteWriter, x: TensorRef) -> TensorRef:
    half = w.const("half", np.ones((1, 8, 8, 3), np.float16))
    return w.add(w.dequantize(x), w.dequantize(half), name="sum")


def _dynamic_range(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return w.conv2d(w.dequantize(x), w.const("w", np.ones((4, 3, 3, 3), np.int8), 0.1), name="conv")


def _int16(w: TfliteWriter, x: TensorRef) -> TensorRef:
    wide = w.input("wide", [1, 8, 8, 3], 0.5, dtype="int16")
    return w.unary("RELU", wide, name="y")


def _uint8(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return w.unary("RELU", w.input("bytes", [1, 8, 8, 3], 0.5, 128, dtype="uint8"), name="y")


def _unquantized(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return w.unary("RELU", w.input("bare", [1, 8, 8, 3]), name="y")


def _per_channel_along_inputs(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return conv(w, x, w.const("w", np.ones((4, 3, 3, 3), np.int8), [0.1] * 3, axis=3))


def _computed_weights(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return conv(w, x, w.input("w", [4, 3, 3, 3], 0.1))


def _wrong_bias(w: TfliteWriter, x: TensorRef) -> TensorRef:
    weight = w.const("w", np.ones((4, 3, 3, 3), np.int8), 0.1)
    return conv(w, x, weight, bias=w.const("b", np.ones(3, np.int32), 0.05))


def _stride_0(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", [1, 8, 8, 3], "int8", 0.5, -3)
    w.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", FilterHeight=2, FilterWidth=2)
    return y


def _wrong_output_shape(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", [1, 8, 8, 3], "int8", 0.5, -3)
    w.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", FilterHeight=2, FilterWidth=2, StrideH=2, StrideW=2)
    return y


def _requantizing_pad(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", [1, 9, 8, 3], "int8", 0.25, -3)
    w.operator("PAD", [x, w.const("p", np.array([[0, 0], [1, 0], [0, 0], [0, 0]], np.int32))], [y], "PadOptions")
    return y


def _softmax_scale(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", x.shape, "int8", 0.5, -128)
    w.operator("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=1.0)
    return y


def _transpose(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", x.shape, "int8", 0.5, -3)
    w.operator("TRANSPOSE", [x, w.const("p", np.array([0, 1, 1, 3], np.int32))], [y], None)
    return y


def _fused_tanh(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", x.shape, "int8", 0.5, -3)
    w.operator("ADD", [x, x], [y], "AddOptions", FusedActivationFunction=tflite.ActivationFunctionType.TANH)
    return y


def _computed_axes(w: TfliteWriter, x: TensorRef) -> TensorRef:
    y = w.tensor("y", [1, 3], "int8", 0.5, -3)
    w.operator("MEAN", [x, w.input("axes", [2], dtype="int32")], [y], "ReducerOptions")
    return y


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (_float16, "DEQUANTIZE .*'half' is float16"),
        (_dynamic_range, "'conv': the weights 'w' are int8, the input is float32"),
        (_int16, "RELU 'y': 'wide' is int16"),
        (_uint8, "RELU 'y': 'bytes' is uint8"),
        (_unquantized, "RELU 'y': 'bare' is int8 without quantization"),
        (_per_channel_along_inputs, "scales along axis 3, not 0"),
        (_computed_weights, "the weights 'w' are computed"),
        (_wrong_bias, r"the bias 'b' is int32 of shape \[3\]"),
        (_stride_0, "Kernels, strides and dilations are at least 1"),
        (_wrong_output_shape, "output 1x8x8x3 instead of 1x4x4x3"),
        (_requantizing_pad, "'x' differs. Input and output have the same scale"),
        (_softmax_scale, "scale 1/256 and zero point -128"),
        (_transpose, r"permutation \[0, 1, 1, 3\]"),
        (_fused_tanh, "activation TANH"),
        (_computed_axes, "MEAN 'y': 'axes' is computed"),
    ],
)
def test_unsupported_variant(build: Callable[[TfliteWriter, TensorRef], TensorRef], text: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=text) as error:
        check(finished(build))
    assert "1 operator of" in error.value.message
    assert error.value.hints


def test_hint_for_models_that_are_not_full_int8() -> None:
    with pytest.raises(UnsupportedOperatorError) as error:
        check(finished(_dynamic_range))
    assert any("TFLITE_BUILTINS_INT8" in hint for hint in error.value.hints)


def test_dynamic_shape() -> None:
    w = TfliteWriter()
    w.output(w.unary("RELU", w.input("x", [1, -1, -1, 3], 0.5), name="y"))
    with pytest.raises(ModelError, match=r"'x' has the dynamic shape \[1, -1, -1, 3\]") as error:
        check(w.finish())
    assert error.value.hints


def test_missing_buffer() -> None:
    def build(w: TfliteWriter, x: TensorRef) -> TensorRef:
        return conv(w, x, w.tensor("w", [4, 3, 3, 3], "int8", 0.1))

    with pytest.raises(ModelError, match=r"'w' has no data: operator CONV_2D \('conv'\) reads it"):
        check(finished(build))


def test_constant_output() -> None:
    w = TfliteWriter()
    w.output(w.unary("RELU", w.input("x", [1, 4], 0.5), name="y"), w.const("c", np.ones(4, np.int8), 0.5))
    with pytest.raises(ModelError, match="output 'c' is a constant, not computed from an input") as error:
        check(w.finish())
    assert any("remove" in hint for hint in error.value.hints)


def test_buffer_of_the_wrong_size() -> None:
    damaged = bytearray(SOUND)
    model = tflite.Model.GetRootAs(damaged, 0)
    buffer = next(model.Buffers(i) for i in range(model.BuffersLength()) if model.Buffers(i).DataLength() == 4 * 27)
    offset = buffer._tab.Vector(buffer._tab.Offset(4)) - flatbuffers.number_types.UOffsetTFlags.bytewidth
    damaged[offset : offset + 4] = struct.pack("<I", 100)
    with pytest.raises(ModelError, match=r"'w' needs 108 bytes .* its buffer has 100"):
        check(bytes(damaged))


@pytest.mark.parametrize("length", [8, 20, 60, len(SOUND) // 2, len(SOUND) - 4])
def test_truncated(length: int) -> None:
    with pytest.raises(ModelError, match="damaged or truncated"):
        check(SOUND[:length])


def mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    """Damaged copies of ``data``: cut, bits flipped, words replaced, parts copied over others."""
    rng = random.Random(seed)
    damaged = []
    for kind in range(count):
        copy = bytearray(data)
        at = rng.randrange(len(copy) - 16)
        if kind % 5 == 0:
            copy = copy[:at]
        elif kind % 5 == 1:
            copy[at] ^= 1 << rng.randrange(8)
        elif kind % 5 == 2:
            word = rng.choice([0, 1, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
            copy[at : at + 4] = struct.pack("<I", word)
        elif kind % 5 == 3:
            for _ in range(20):
                copy[rng.randrange(len(copy))] = rng.randrange(256)
        else:
            source = rng.randrange(len(copy) - 16)
            copy[at : at + 16] = copy[source : source + 16]
        damaged.append(bytes(copy))
    return damaged


def test_damaged_files_end_in_one_error() -> None:
    outcomes = {"sound": 0, "refused": 0}
    for data in mutations(SOUND, 500, seed=1):
        try:
            check(data)
            outcomes["sound"] += 1
        except TvmTinyError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10, outcomes


def test_damaged_real_model_ends_in_one_error(shared_file: Callable[[str], Path]) -> None:
    data = shared_file("models/ad01_int8.tflite").read_bytes()
    refused = 0
    for damaged in mutations(data, 100, seed=2):
        try:
            check(damaged)
        except TvmTinyError:
            refused += 1
    assert refused >= 20  # the cut ones at least
