"""TFLite files become canonical QDQ Relax."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.ir.frontend_checks import (
    assert_same,
    dequantized,
    module_of,
    quantized,
    run_in_floats,
    variable_names,
)
from tests.op_cases import all_cases, oracle
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.errors import ModelError
from tvm_tiny.frontend import load_model
from tvm_tiny.ops import IoTensor, get_io

MODELS = ("ad01_int8", "kws_int8", "resnet8_int8", "vww96_int8", "mcunet_vww", "mobilenet_v2_224_int8")
op = relax.op
SCALE, ZERO_POINT = 0.5, -3
rng = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return rng.integers(-127, 128, shape).astype(np.int8)


W_CONV, W_DEPTHWISE, W_DENSE = weights(4, 3, 3, 3), weights(1, 3, 3, 6), weights(5, 12)
B_CONV, B_DENSE = np.arange(4, dtype=np.int32), np.arange(5, dtype=np.int32)
S_CONV = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
S_DEPTHWISE = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32)
SHAPE = (1, 8, 8, 3)

Write = Callable[[TfliteWriter, TensorRef], TensorRef | list[TensorRef]]
Expect = Callable[[relax.BlockBuilder, Any], Any]


def const(array: np.ndarray[Any, Any]) -> Any:
    return relax.const(array, str(array.dtype))


def real(x: Any) -> Any:
    return dequantized(x, SCALE, ZERO_POINT)


def _conv_write(w: TfliteWriter, x: TensorRef) -> TensorRef:
    weight = w.const("w", W_CONV, S_CONV)
    bias = w.const("b", B_CONV, S_CONV * np.float32(SCALE), axis=0)
    return w.conv2d(x, weight, bias, out_scale=0.25, out_zp=4, stride=(2, 2), activation="relu6", name="y")


def _conv(bb: relax.BlockBuilder, x: Any) -> Any:
    out = op.nn.conv2d(
        real(x),
        dequantized(const(W_CONV), S_CONV),
        (2, 2),
        (0, 0, 1, 1),  # SAME on an even input with stride 2
        (1, 1),
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype="float32",
    )
    out = op.add(out, dequantized(const(B_CONV), S_CONV * np.float32(SCALE)))
    return quantized(op.clip(out, 0, 6), 0.25, 4)


def _dilated_write(w: TfliteWriter, x: TensorRef) -> TensorRef:
    # Without a scale of its own, a bias has that of the accumulator.
    weight, bias = w.const("w", W_CONV, 0.1), w.const("b", B_CONV)
    return w.conv2d(x, weight, bias, out_scale=0.25, dilation=(2, 3), activation="relu_n1_to_1")


def _dilated(bb: relax.BlockBuilder, x: Any) -> Any:
    scale = float(np.float32(0.1))
    out = op.nn.conv2d(
        real(x),
        dequantized(const(W_CONV), scale),
        (1, 1),
        (2, 3, 2, 3),
        (2, 3),
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype="float32",
    )
    out = op.add(out, dequantized(const(B_CONV), float(np.float32(0.1) * np.float32(0.5))))
    return quantized(op.clip(out, -1, 1), 0.25, 0)


def _depthwise_write(w: TfliteWriter, x: TensorRef) -> TensorRef:
    weight = w.const("w", W_DEPTHWISE, S_DEPTHWISE, axis=3)
    return w.depthwise_conv2d(x, weight, out_scale=0.25, padding="VALID", activation="relu")


def _depthwise(bb: relax.BlockBuilder, x: Any) -> Any:
    out = op.nn.conv2d(
        real(x),
        dequantized(const(np.ascontiguousarray(W_DEPTHWISE.transpose(3, 1, 2, 0))), S_DEPTHWISE),
        (1, 1),
        (0, 0, 0, 0),
        (1, 1),
        groups=3,
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype="float32",
    )
    return quantized(op.nn.relu(out), 0.25, 0)


def _dense_write(w: TfliteWriter, x: TensorRef) -> TensorRef:
    weight = w.const("w", W_DENSE, 0.1)
    bias = w.const("b", B_DENSE, 0.05)
    return w.fully_connected(x, weight, bias, out_scale=0.25, out_zp=4)


def _dense(bb: relax.BlockBuilder, x: Any) -> Any:
    flat = bb.emit(op.reshape(x, (16, 12)))
    weight = dequantized(const(W_DENSE), float(np.float32(0.1)))
    out = op.matmul(real(flat), op.permute_dims(weight, [1, 0]))
    return quantized(op.add(out, dequantized(const(B_DENSE), float(np.float32(0.05)))), 0.25, 4)


def _keep_dims_write(w: TfliteWriter, x: TensorRef) -> TensorRef:
    return w.fully_connected(x, w.const("w", W_DENSE[:, :3].copy(), 0.1), out_scale=0.25, keep_num_dims=True)


def _keep_dims(bb: relax.BlockBuilder, x: Any) -> Any:
    flat = bb.emit(op.reshape(x, (64, 3)))
    weight = dequantized(const(np.ascontiguousarray(W_DENSE[:, :3])), float(np.float32(0.1)))
    out = bb.emit(quantized(op.matmul(real(flat), op.permute_dims(weight, [1, 0])), 0.25, 0))
    return op.reshape(out, (1, 8, 8, 5))


def _softmax(bb: relax.BlockBuilder, x: Any) -> Any:
    scaled = op.multiply(real(x), relax.const(2.0, "float32"))
    return quantized(op.nn.softmax(scaled, axis=-1), 1 / 256, -128)


def _hard_swish(bb: relax.BlockBuilder, x: Any) -> Any:
    value = bb.emit(real(x))
    gate = op.divide(op.clip(op.add(value, relax.const(3.0, "float32")), 0, 6), relax.const(6.0, "float32"))
    return quantized(op.multiply(value, gate), 0.25, 0)


def _avg_pool(bb: relax.BlockBuilder, x: Any) -> Any:
    out = op.nn.avg_pool2d(real(x), (3, 3), (2, 2), (0, 0, 1, 1), count_include_pad=False, layout="NHWC")
    return quantized(op.nn.relu(out), SCALE, ZERO_POINT)


def _resize(method: str, coordinates: str, rounding: str) -> Expect:
    def expect(bb: relax.BlockBuilder, x: Any) -> Any:
        out = op.image.resize2d(real(x), (5, 11), None, "NHWC", method, coordinates, rounding)
        return quantized(out, SCALE, ZERO_POINT)

    return expect


def _split(bb: relax.BlockBuilder, x: Any) -> Any:
    parts = bb.emit(op.split(x, [1, 2], 3))
    return [bb.emit(relax.TupleGetItem(parts, i)) for i in range(3)]


CASES: dict[str, tuple[Write, Expect]] = {
    "conv": (_conv_write, _conv),
    "conv_dilated_per_tensor": (_dilated_write, _dilated),
    "depthwise_multiplier_2": (_depthwise_write, _depthwise),
    "dense_flattens": (_dense_write, _dense),
    "dense_keeps_dims": (_keep_dims_write, _keep_dims),
    "add": (
        lambda w, x: w.add(x, w.const("c", weights(3) * 0 + 5, 0.5), out_scale=0.25, activation="relu"),
        lambda bb, x: quantized(op.nn.relu(op.add(real(x), dequantized(const(np.full(3, 5, np.int8)), 0.5))), 0.25, 0),
    ),
    "sub": (
        lambda w, x: w.sub(x, x, out_scale=0.25),
        lambda bb, x: quantized(op.subtract(real(x), real(x)), 0.25, 0),
    ),
    "mul": (
        lambda w, x: w.mul(x, x, out_scale=0.25),
        lambda bb, x: quantized(op.multiply(real(x), real(x)), 0.25, 0),
    ),
    "avg_pool": (lambda w, x: w.avg_pool2d(x, (3, 3), stride=(2, 2), padding="SAME", activation="relu"), _avg_pool),
    "max_pool": (
        lambda w, x: w.max_pool2d(x, (2, 2)),
        lambda bb, x: quantized(op.nn.max_pool2d(real(x), (2, 2), (2, 2), layout="NHWC"), SCALE, ZERO_POINT),
    ),
    "mean": (
        lambda w, x: w.mean(x, [-2, 1], out_scale=0.25),
        lambda bb, x: quantized(op.mean(real(x), [1, 2], False), 0.25, 0),
    ),
    "softmax": (lambda w, x: w.softmax(x, beta=2.0), _softmax),
    "logistic": (lambda w, x: w.logistic(x), lambda bb, x: quantized(op.sigmoid(real(x)), 1 / 256, -128)),
    "tanh": (lambda w, x: w.tanh(x), lambda bb, x: quantized(op.tanh(real(x)), 1 / 128, 0)),
    "relu6": (
        lambda w, x: w.unary("RELU6", x),
        lambda bb, x: quantized(op.clip(real(x), 0, 6), SCALE, ZERO_POINT),
    ),
    "leaky_relu": (
        lambda w, x: w.leaky_relu(x, 0.25, out_scale=0.25),
        lambda bb, x: quantized(op.nn.leakyrelu(real(x), 0.25), 0.25, 0),
    ),
    "hard_swish": (lambda w, x: w.hard_swish(x, out_scale=0.25), _hard_swish),
    "resize_nearest": (
        lambda w, x: w.resize(x, (5, 11), "nearest"),
        _resize("nearest_neighbor", "asymmetric", "floor"),
    ),
    "resize_nearest_half_pixel": (
        lambda w, x: w.resize(x, (5, 11), "nearest", half_pixel_centers=True),
        _resize("nearest_neighbor", "half_pixel", "round_prefer_ceil"),
    ),
    "resize_bilinear_corners": (
        lambda w, x: w.resize(x, (5, 11), "bilinear", align_corners=True),
        _resize("linear", "align_corners", ""),
    ),
    "pad": (
        lambda w, x: w.pad(x, [(0, 0), (0, 1), (2, 0), (0, 0)]),
        lambda bb, x: op.nn.pad(x, [0, 0, 0, 1, 2, 0, 0, 0], "constant", ZERO_POINT),
    ),
    "pad_value": (
        lambda w, x: w.pad(x, [(0, 0), (0, 1), (2, 0), (0, 0)], 17),
        lambda bb, x: op.nn.pad(x, [0, 0, 0, 1, 2, 0, 0, 0], "constant", 17),
    ),
    "reshape": (lambda w, x: w.reshape(x, [4, -1]), lambda bb, x: op.reshape(x, (4, 48))),
    "transpose": (lambda w, x: w.transpose(x, [0, 3, 1, 2]), lambda bb, x: op.permute_dims(x, [0, 3, 1, 2])),
    "concatenation": (
        lambda w, x: w.concatenation([x, x], -1),
        lambda bb, x: op.concat([x, x], 3),
    ),
    "strided_slice": (
        lambda w, x: w.strided_slice(x, [0, 7, 1, 2], [1, 0, 7, 3], [1, -2, 3, 1], end_mask=2, shrink_axis_mask=8),
        lambda bb, x: op.reshape(op.strided_slice(x, [1, 2, 3], [7, 1, 2], [-9, 7, 3], [-2, 3, 1]), (1, 4, 2)),
    ),
    "split": (lambda w, x: w.split(x, 3, 3), _split),
    "requantize": (lambda w, x: w.quantize(x, 0.25, 4), lambda bb, x: quantized(real(x), 0.25, 4)),
    "dequantize": (lambda w, x: w.dequantize(x), lambda bb, x: real(x)),
}


@pytest.mark.parametrize("name", CASES)
def test_canonical_form(name: str) -> None:
    write, expect = CASES[name]
    w = TfliteWriter()
    written = write(w, w.input("x", SHAPE, SCALE, ZERO_POINT))
    w.output(*(written if isinstance(written, list) else [written]))

    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        result = expect(bb, inputs[0])
        return result if isinstance(result, list) else [bb.emit(result)]

    assert_same(load_model(w.finish()), module_of([("x", SHAPE, "int8")], build))


def test_float_models_have_no_quantization() -> None:
    w = TfliteWriter()
    weight = w.const("w", W_CONV.astype(np.float32))
    bias = w.const("b", B_CONV.astype(np.float32))
    w.output(w.conv2d(w.input("x", SHAPE, dtype="float32"), weight, bias, activation="relu"))

    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        out = op.nn.conv2d(
            inputs[0],
            const(W_CONV.astype(np.float32)),
            padding=(1, 1, 1, 1),
            data_layout="NHWC",
            kernel_layout="OHWI",
            out_dtype="float32",
        )
        return [bb.emit(op.nn.relu(op.add(out, const(B_CONV.astype(np.float32)))))]

    assert_same(load_model(w.finish()), module_of([("x", SHAPE, "float32")], build))


def test_names_and_quantization_of_inputs_and_outputs() -> None:
    w = TfliteWriter()
    x = w.input("serving_default_x:0", SHAPE, SCALE, ZERO_POINT)
    y = w.softmax(x, name="a/b;c:0")
    z = w.dequantize(y, name="StatefulPartitionedCall:0")
    w.output(y, z)
    mod = load_model(w.finish())
    io = get_io(mod["main"])
    assert io.inputs == (IoTensor("serving_default_x:0", SCALE, ZERO_POINT),)
    assert io.outputs == (IoTensor("a/b;c:0", 1 / 256, -128), IoTensor("StatefulPartitionedCall:0"))
    assert mod["main"].params[0].name == "serving_default_x:0"
    assert {"a/b;c:0", "StatefulPartitionedCall:0"} <= set(variable_names(mod))


def test_tensors_of_one_name_stay_apart() -> None:
    w = TfliteWriter()
    x = w.input("t", (1, 4), SCALE, ZERO_POINT)
    y = w.unary("RELU", x, name="t")
    w.output(w.leaky_relu(y, 0.25, out_scale=0.25, name="t"))

    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        y = bb.emit(quantized(op.nn.relu(real(inputs[0])), SCALE, ZERO_POINT))
        return [bb.emit(quantized(op.nn.leakyrelu(real(y), 0.25), 0.25, 0))]

    assert_same(load_model(w.finish()), module_of([("t", (1, 4), "int8")], build))


def test_inputs_and_outputs_of_one_name_get_names_of_their_own() -> None:
    w = TfliteWriter()
    inputs = [w.input(name, (1, 4), dtype="float32") for name in ("x", "x", "x_1", "x")]
    w.output(*(w.unary("RELU", x, name="y") for x in inputs))
    mod = load_model(w.finish())
    io = get_io(mod["main"])
    assert [t.name for t in io.inputs] == ["x", "x_2", "x_1", "x_3"]
    assert [p.name for p in mod["main"].params] == ["x", "x_2", "x_1", "x_3"]
    assert [t.name for t in io.outputs] == ["y", "y_1", "y_2", "y_3"]
    values = {t.name: np.full((1, 4), i, np.float32) for i, t in enumerate(io.inputs)}
    assert [float(y[0, 0]) for y in run_in_floats(mod, values).values()] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", MODELS)
def test_shared_model_imports(shared_file: Callable[[str], Path], name: str) -> None:
    mod = load_model(shared_file(f"models/{name}.tflite"))
    relax.analysis.well_formed(mod)
    vectors = np.load(shared_file(f"vectors/{name}.npz"))
    (parameter,) = mod["main"].params
    assert tuple(int(d) for d in parameter.ty.shape.values) == vectors["inputs"].shape[1:]
    assert str(parameter.ty.dtype) == vectors["inputs"].dtype
    assert tuple(int(d) for d in mod["main"].ret_ty.shape.values) == vectors["outputs"].shape[1:]


def test_shared_model_in_floats(shared_file: Callable[[str], Path]) -> None:
    """Floats round elsewhere than integers do, so the last bits may differ: this checks the import alone."""
    mod = load_model(shared_file("models/ad01_int8.tflite"))
    vectors = np.load(shared_file("vectors/ad01_int8.npz"))
    (output,) = run_in_floats(mod, {"input_1": vectors["inputs"][0]}).values()
    assert np.abs(output.astype(int) - vectors["outputs"][0]).max() <= 2


# Scales beyond what LOGISTIC and TANH are made for: TFLite Micro saturates there.
SATURATED = ("logistic-6", "tanh-6")
# TVM's own lowering divides by the output size less one.
NOT_RUNNABLE = ("resize-nearest-to-1x1-corners", "resize-bilinear-to-1x1-corners")


@pytest.mark.parametrize(
    "name",
    [c.name for c in all_cases()[::9] if c.name not in (*SATURATED, *NOT_RUNNABLE) and c.operator != "NETWORK"],
)
def test_operator_in_floats(name: str) -> None:
    """The imported operator means what TFLite Micro computes, up to one step of its output."""
    case = next(c for c in all_cases() if c.name == name)
    inputs = case.inputs()[0]
    actual, expected = run_in_floats(load_model(case.model()), inputs), oracle(case.model(), inputs)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert (actual[key].shape, actual[key].dtype) == (value.shape, value.dtype)
        if value.dtype == np.float32:
            np.testing.assert_allclose(actual[key], value, rtol=1e-4, atol=1e-4)
        else:
            assert np.abs(actual[key].astype(int) - value).max() <= 1


def test_every_case_imports() -> None:
    for case in all_cases():
        relax.analysis.well_formed(load_model(case.model(), name=case.name))


def test_a_contradiction_tvm_finds_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm_tiny.frontend import tflite_importer

    def refuse(*_: object) -> None:
        raise ValueError("first line\nshapes do not fit")

    monkeypatch.setitem(tflite_importer.MOVEMENT, "RESHAPE", refuse)
    w = TfliteWriter()
    w.output(w.reshape(w.input("x", SHAPE, SCALE, ZERO_POINT), [4, 48], name="y"))
    with pytest.raises(ModelError, match=r"operator RESHAPE \('y'\) contradicts itself: shapes do not fit"):
        load_model(w.finish())
