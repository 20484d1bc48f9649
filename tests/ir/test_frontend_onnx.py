"""ONNX models become canonical QDQ Relax, in NCHW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tvm import relax

from tests.evaluate import evaluate
from tests.ir.frontend_checks import assert_same, dequantized, module_of, quantized, run_in_floats, variable_names
from tests.onnx_models import onnx_model, run_onnxruntime, small_cnn
from tests.onnx_models import quantized as quantized_by_onnxruntime
from tests.relax_builder import apply
from tvm_tiny.frontend import load_model
from tvm_tiny.ops import IoTensor, get_io
from tvm_tiny.passes import LowerQdq

op = relax.op
make = helper.make_node
IMAGE = (1, 3, 8, 8)
rng = np.random.default_rng(5)


def const(array: np.ndarray[Any, Any]) -> Any:
    return relax.const(array, str(array.dtype))


def one_operator(
    kind: str, shape: tuple[int, ...], *constants: Any, opset: int = 17, **attributes: Any
) -> onnx.ModelProto:
    """A float model of one operator; ``None`` among ``constants`` is an input left out."""
    names = ["" if value is None else f"c{i}" for i, value in enumerate(constants)]
    node = make(kind, ["x", *names], ["y"], **attributes)
    values = {name: value for name, value in zip(names, constants, strict=True) if name}
    return onnx_model([node], {"x": shape}, {"y": None}, values, opset)


def f32(*shape: int) -> np.ndarray[Any, Any]:
    return rng.normal(0, 1, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


OPERATORS: dict[str, onnx.ModelProto] = {
    "conv-same-lower": one_operator("Conv", IMAGE, f32(4, 3, 2, 2), auto_pad="SAME_LOWER", strides=[1, 2]),
    "conv-same-upper-even": one_operator("Conv", IMAGE, f32(4, 3, 3, 3), f32(4), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv-valid": one_operator("Conv", IMAGE, f32(4, 3, 3, 3), auto_pad="VALID"),
    "conv-dilated-group": one_operator("Conv", IMAGE, f32(6, 1, 3, 3), pads=[2, 1, 2, 3], dilations=[2, 2], group=3),
    "gemm": one_operator("Gemm", (2, 5), f32(5, 4), f32(1, 4)),
    "gemm-transposed": one_operator("Gemm", (2, 5), f32(4, 5), transB=1),
    "matmul": one_operator("MatMul", (2, 5), f32(5, 4)),
    "add": one_operator("Add", IMAGE, f32(1, 3, 1, 1)),
    "sub-scalar": one_operator("Sub", IMAGE, np.float32(2.5)),
    "mul": one_operator("Mul", IMAGE, f32(8)),
    "relu": one_operator("Relu", IMAGE),
    "clip": one_operator("Clip", IMAGE, np.float32(-0.5), np.float32(0.75)),
    "clip-above": one_operator("Clip", IMAGE, None, np.float32(0.75)),
    "leaky-relu": one_operator("LeakyRelu", IMAGE, alpha=0.3),
    "sigmoid": one_operator("Sigmoid", IMAGE),
    "tanh": one_operator("Tanh", IMAGE),
    "hard-swish": one_operator("HardSwish", IMAGE),
    "softmax": one_operator("Softmax", (2, 7)),
    "softmax-11": one_operator("Softmax", (2, 7), opset=11, axis=1),
    "average-pool-padded": one_operator("AveragePool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average-pool-ceil": one_operator("AveragePool", (1, 3, 7, 8), kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    "max-pool-ceil": one_operator("MaxPool", (1, 3, 7, 8), kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    "max-pool-same": one_operator("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "global-average-pool": one_operator("GlobalAveragePool", IMAGE),
    "global-max-pool": one_operator("GlobalMaxPool", IMAGE),
    "reduce-mean": one_operator("ReduceMean", IMAGE, axes=[-1, 2], keepdims=0),
    "reduce-mean-18": one_operator("ReduceMean", IMAGE, ints(2, 3), opset=18),
    "reduce-mean-all": one_operator("ReduceMean", IMAGE, keepdims=1),
    "pad": one_operator("Pad", IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)),
    "pad-axes": one_operator("Pad", IMAGE, ints(1, 2, 3, 0), None, ints(-2, 3), opset=18),
    "reshape": one_operator("Reshape", IMAGE, ints(0, -1, 4)),
    "flatten-2": one_operator("Flatten", IMAGE, axis=2),
    "squeeze": one_operator("Squeeze", (1, 3, 1, 4), ints(0, 2)),
    "unsqueeze": one_operator("Unsqueeze", (3, 4), ints(0, -1)),
    "transpose": one_operator("Transpose", IMAGE, perm=[0, 2, 3, 1]),
    "transpose-default": one_operator("Transpose", (2, 3, 4)),
    "concat": one_operator("Concat", IMAGE, f32(1, 2, 8, 8), axis=-3),
    "slice": one_operator("Slice", IMAGE, ints(1, -1), ints(2**62, -(2**62)), ints(2, -1), ints(3, -2)),
    "slice-plain": one_operator("Slice", (4, 6), ints(1, -4), ints(3, 2**62)),
    "resize-nearest-scales": one_operator("Resize", IMAGE, None, np.array([1, 1, 2, 3], np.float32)),
    "resize-nearest-floor": one_operator(
        "Resize",
        IMAGE,
        None,
        None,
        ints(1, 3, 5, 11),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "resize-linear": one_operator("Resize", IMAGE, None, None, ints(1, 3, 5, 11), mode="linear"),
    "resize-linear-corners": one_operator(
        "Resize", IMAGE, None, None, ints(1, 3, 5, 11), mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "resize-linear-pytorch": one_operator(
        "Resize",
        IMAGE,
        None,
        np.array([1, 1, 2, 2], np.float32),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    "dropout": one_operator("Dropout", IMAGE),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_float_operator(name: str) -> None:
    model = OPERATORS[name]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    inputs = {"x": np.random.default_rng(11).normal(0, 2, shape).astype(np.float32)}
    actual, expected = run_in_floats(load_model(model), inputs), run_onnxruntime(model, inputs)
    assert actual["y"].shape == expected["y"].shape
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-5, atol=1e-5)


def test_split_in_unequal_parts() -> None:
    nodes = [make("Split", ["x", "sizes"], ["a", "b", "c"], axis=1)]
    model = onnx_model(nodes, {"x": (1, 6, 2)}, dict.fromkeys("abc"), {"sizes": ints(1, 3, 2)})
    mod = load_model(model)
    assert {"a", "b", "c"} <= set(variable_names(mod))
    inputs = {"x": f32(1, 6, 2)}
    actual, expected = run_in_floats(mod, inputs), run_onnxruntime(model, inputs)
    for name in "abc":
        np.testing.assert_array_equal(actual[name], expected[name])


def qdq(nodes: list[onnx.NodeProto], tensor: str) -> str:
    """Append QuantizeLinear and DequantizeLinear of ``tensor``; constants "s" and "z" are scale and zero point."""
    nodes.append(make("QuantizeLinear", [tensor, "s", "z"], [f"{tensor}_q"]))
    nodes.append(make("DequantizeLinear", [f"{tensor}_q", "s", "z"], [f"{tensor}_dq"]))
    return f"{tensor}_dq"


W_CONV = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
S_CONV = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
B_CONV = np.arange(4, dtype=np.int32)
SCALE, ZERO_POINT = 0.5, -3
QUANTIZATION = {"s": np.float32(SCALE), "z": np.int8(ZERO_POINT)}


def quantized_conv(activation: str, **constants: Any) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    x = qdq(nodes, "x")
    nodes += [
        make("DequantizeLinear", ["w", "ws", "wz"], ["w_dq"], axis=0),
        make("DequantizeLinear", ["b", "bs"], ["b_dq"], axis=0),
        make("Conv", [x, "w_dq", "b_dq"], ["conv"], pads=[1, 1, 1, 1]),
        make(activation, ["conv", "low", "high"] if activation == "Clip" else ["conv"], ["act"]),
    ]
    final = qdq(nodes, "act")
    nodes[-1].output[0] = "y"
    assert final == "act_dq"
    values = {
        **QUANTIZATION,
        "w": W_CONV,
        "ws": S_CONV,
        "wz": np.zeros(4, np.int8),
        "b": B_CONV,
        "bs": S_CONV * np.float32(SCALE),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    return onnx_model(nodes, {"x": IMAGE}, {"y": (1, 4, 8, 8)}, {**values, **constants})


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_canonical_convolution(activation: str) -> None:
    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        x = bb.emit(dequantized(bb.emit(quantized(inputs[0], SCALE, ZERO_POINT)), SCALE, ZERO_POINT))
        out = op.nn.conv2d(
            x,
            dequantized(const(W_CONV), S_CONV),
            padding=(1, 1, 1, 1),
            data_layout="NCHW",
            kernel_layout="OIHW",
            out_dtype="float32",
        )
        bias = dequantized(const(B_CONV), S_CONV * np.float32(SCALE))
        out = bb.emit(op.add(out, op.reshape(bias, (1, 4, 1, 1))))
        out = bb.emit(op.nn.relu(out) if activation == "Relu" else op.clip(out, 0.0, 6.0))
        return [bb.emit(dequantized(bb.emit(quantized(out, SCALE, ZERO_POINT)), SCALE, ZERO_POINT))]

    assert_same(load_model(quantized_conv(activation)), module_of([("x", IMAGE, "float32")], build))


def test_layers_are_named_after_their_float_tensors() -> None:
    mod = load_model(quantized_conv("Relu"))
    names = variable_names(mod)
    by_operator = {
        str(b.value.op.name): b.var.name
        for block in mod["main"].body.blocks
        for b in block.bindings
        if isinstance(b.value, relax.Call) and "quantize" in b.value.op.name
    }
    assert by_operator["relax.quantize"] == "act"
    assert names[0] == "x_q"  # an input is not a layer
    assert "y" in names
    assert get_io(mod["main"]).outputs == (IoTensor("y"),)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_canonical_dense(transposed: bool, per_channel: bool) -> None:
    weight = rng.integers(-127, 128, (5, 12)).astype(np.int8)
    scale = np.full(5, 0.25, np.float32) if per_channel else np.float32(0.25)
    nodes: list[onnx.NodeProto] = []
    x = qdq(nodes, "x")
    nodes += [
        make("DequantizeLinear", ["w", "ws"], ["w_dq"], axis=0 if transposed else 1),
        make("Gemm", [x, "w_dq", "b"], ["out"], transB=int(transposed)),
        make("QuantizeLinear", ["out", "s", "z"], ["y"]),
    ]
    bias = np.array([0.25, -0.25, 1, 0, 100], np.float32)
    constants = {**QUANTIZATION, "w": weight if transposed else weight.T.copy(), "ws": scale, "b": bias}
    model = onnx_model(nodes, {"x": (2, 12)}, {"y": (2, 5)}, constants, types={"y": TensorProto.INT8})

    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        x = bb.emit(dequantized(bb.emit(quantized(inputs[0], SCALE, ZERO_POINT)), SCALE, ZERO_POINT))
        value = scale if per_channel else 0.25
        out = op.matmul(x, op.permute_dims(dequantized(const(weight), value), [1, 0]))
        # A float bias is quantized to the scale of the accumulator, 0.5 * 0.25.
        integers = const(np.array([2, -2, 8, 0, 800], np.int32))
        out = bb.emit(op.add(out, dequantized(integers, np.full(5, 0.125, np.float32) if per_channel else 0.125)))
        return [bb.emit(quantized(out, SCALE, ZERO_POINT))]

    mod = load_model(model)
    assert_same(mod, module_of([("x", (2, 12), "float32")], build))
    assert get_io(mod["main"]).outputs == (IoTensor("y", SCALE, ZERO_POINT),)


def test_uint8_becomes_int8() -> None:
    """Values and zero points move by 128: the same module as from int8."""
    unsigned = quantized_conv(
        "Relu",
        z=np.uint8(ZERO_POINT + 128),
        w=(W_CONV.astype(np.int16) + 128).astype(np.uint8),
        wz=np.full(4, 128, np.uint8),
    )
    assert_same(load_model(unsigned), load_model(quantized_conv("Relu")))


def test_uint8_is_the_default_of_quantize_linear() -> None:
    nodes = [make("QuantizeLinear", ["x", "s"], ["q"]), make("DequantizeLinear", ["q", "s"], ["y"])]
    model = onnx_model(nodes, {"x": (1, 4)}, {"y": (1, 4)}, {"s": np.float32(0.5)})
    x = np.array([[-1, 3.5, 127.5, 400]], np.float32)
    np.testing.assert_array_equal(run_in_floats(load_model(model), {"x": x})["y"], [[0, 3.5, 127.5, 127.5]])


FORMS = {
    "qdq-per-channel": {"quant_format": "QDQ", "per_channel": True},
    "qdq-per-tensor": {"quant_format": "QDQ"},
    "qdq-uint8": {"quant_format": "QDQ", "activation_type": "QUInt8"},
    "qoperator": {"quant_format": "QOperator"},
    "qoperator-uint8": {"quant_format": "QOperator", "per_channel": True, "activation_type": "QUInt8"},
}


@pytest.mark.parametrize("form", FORMS)
def test_network_as_onnxruntime_quantizes_it(form: str, tmp_path: Path) -> None:
    model = quantized_by_onnxruntime(small_cnn(), tmp_path, **FORMS[form])
    inputs = {"x": np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    mod = load_model(model)
    relax.analysis.well_formed(mod)
    actual, expected = run_in_floats(mod, inputs), run_onnxruntime(model, inputs)
    assert np.abs(actual["y"] - expected["y"]).max() <= 2 / 256
    layers = {"relu1", "relu6", "sum", "pooled", "pointwise", "gate", "mean", "logits"}
    if "qoperator" in form:  # has integer tensors only, and activations merged into the convolutions
        layers = {f"{name}_quantized" for name in layers - {"relu1", "relu6"}}
    assert layers <= set(variable_names(mod))


def test_shape_arithmetic_is_evaluated() -> None:
    """What torch.onnx.export makes of ``x.reshape(x.shape[0], -1)``."""
    nodes = [
        make("Relu", ["x"], ["r"]),
        make("Shape", ["r"], ["shape"]),
        make("Constant", [], ["zero"], value=helper.make_tensor("v", TensorProto.INT64, [], [0])),
        make("Gather", ["shape", "zero"], ["batch"]),
        make("Constant", [], ["axis"], value_ints=[0]),
        make("Unsqueeze", ["batch", "axis"], ["batch_1d"]),
        make("Constant", [], ["rest"], value_ints=[-1]),
        make("Concat", ["batch_1d", "rest"], ["target"], axis=0),
        make("Reshape", ["r", "target"], ["y"]),
    ]
    mod = load_model(onnx_model(nodes, {"x": IMAGE}, {"y": None}))

    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        return [bb.emit(op.reshape(bb.emit(op.nn.relu(inputs[0])), (1, 192)))]

    assert_same(mod, module_of([("x", IMAGE, "float32")], build))


def quantized_pad(value: list[str], constants: dict[str, Any], out: tuple[float, int] = (0.5, -3)) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    x = qdq(nodes, "x")
    if value == ["v_dq"]:
        nodes.append(make("DequantizeLinear", ["v", "vs", "vz"], ["v_dq"]))
    nodes.append(make("Pad", [x, "widths", *value], ["p"]))
    nodes += [make("QuantizeLinear", ["p", "os", "oz"], ["p_q"]), make("DequantizeLinear", ["p_q", "os", "oz"], ["y"])]
    values = {"os": np.float32(out[0]), "oz": np.int8(out[1]), "widths": ints(0, 1, 0, 2), **QUANTIZATION, **constants}
    return onnx_model(nodes, {"x": (2, 5)}, {"y": (2, 8)}, values)


PAD_VALUES = {
    "int8": (np.int8(20), np.float32(0.25), np.int8(4)),
    "uint8": (np.uint8(20), np.float32(0.25), np.uint8(4)),
    "vector": (np.array([20], np.int8), np.array([0.25], np.float32), np.array([4], np.int8)),
    "within the output only": (np.int8(100), np.float32(1), np.int8(0)),
    "negative": (np.int8(-20), np.float32(1), np.int8(4)),
    "too large": (np.int8(120), np.float32(8), np.int8(0)),
    "too small": (np.int8(-120), np.float32(8), np.int8(0)),
}
PAD_OUTPUTS = {"same": (0.5, -3), "wider": (6.7, 5), "finer": (0.0625, 9)}


@pytest.mark.parametrize("out", PAD_OUTPUTS)
@pytest.mark.parametrize("name", PAD_VALUES)
def test_quantized_pad_value(name: str, out: str) -> None:
    """The value counts, not the integer it is stored as; out of range it saturates as QuantizeLinear does."""
    constants = dict(zip(("v", "vs", "vz"), PAD_VALUES[name], strict=True))
    model = quantized_pad(["v_dq"], constants, PAD_OUTPUTS[out])
    inputs = {"x": np.random.default_rng(1).normal(0, 30, (2, 5)).astype(np.float32)}
    expected = run_onnxruntime(model, inputs)["y"]
    mod = load_model(model)
    np.testing.assert_array_equal(run_in_floats(mod, inputs)["y"], expected)
    lowered = evaluate(apply(LowerQdq(), mod), inputs["x"])[0]
    padding = [0, 6, 7]
    np.testing.assert_array_equal(lowered[:, padding], expected[:, padding])
    # Fixed-point requantization rounds twice.
    np.testing.assert_allclose(lowered, expected, atol=1.01 * PAD_OUTPUTS[out][0])


def test_canonical_pad() -> None:
    def build(bb: relax.BlockBuilder, inputs: list[Any]) -> list[Any]:
        x = bb.emit(dequantized(bb.emit(quantized(inputs[0], SCALE, ZERO_POINT)), SCALE, ZERO_POINT))
        padded = bb.emit(op.nn.pad(x, [0, 0, 1, 2], "constant", 4.0))
        return [bb.emit(dequantized(bb.emit(quantized(padded, SCALE, ZERO_POINT)), SCALE, ZERO_POINT))]

    model = quantized_pad(["v_dq"], dict(zip(("v", "vs", "vz"), PAD_VALUES["int8"], strict=True)))
    assert_same(load_model(model), module_of([("x", (2, 5), "float32")], build))


@pytest.mark.parametrize("value", [None, np.uint8(140)])
def test_pad_of_plain_uint8(value: Any) -> None:
    """What the QOperator format makes of a padding."""
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make("Pad", ["q", "widths", *(["v"] if value is not None else [])], ["p"]),
        make("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.5), "z": np.uint8(100), "widths": ints(0, 1, 0, 2)}
    model = onnx_model(nodes, {"x": (2, 5)}, {"y": (2, 8)}, constants | ({} if value is None else {"v": value}))
    inputs = {"x": f32(2, 5)}
    actual, expected = run_in_floats(load_model(model), inputs), run_onnxruntime(model, inputs)
    np.testing.assert_array_equal(actual["y"], expected["y"])


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("value", [0.0, 0.27, -1.0, 50.0])
def test_pad_as_onnxruntime_quantizes_it(value: float, kind: str, tmp_path: Path) -> None:
    nodes = [
        make("LeakyRelu", ["x"], ["a"], alpha=0.5),
        make("Pad", ["a", "widths", "value"], ["p"]),
        make("Conv", ["p", "w"], ["y"]),
    ]
    constants = {"widths": ints(0, 0, 1, 1, 0, 0, 1, 1), "value": np.float32(value), "w": f32(4, 3, 3, 3)}
    model = quantized_by_onnxruntime(
        onnx_model(nodes, {"x": IMAGE}, {"y": (1, 4, 8, 8)}, constants), tmp_path, activation_type=kind
    )
    inputs = {"x": f32(*IMAGE)}
    expected = run_onnxruntime(model, inputs)["y"]
    actual = evaluate(apply(LowerQdq(), load_model(model)), inputs["x"])[0]
    assert np.abs(actual - expected).max() <= 2 * np.ptp(expected) / 255


def test_quantized_limits_of_clip() -> None:
    nodes = [
        make("DequantizeLinear", ["low", "s", "z"], ["low_dq"]),
        make("DequantizeLinear", ["high", "s", "z"], ["high_dq"]),
        make("Clip", ["x", "low_dq", "high_dq"], ["y"]),
    ]
    constants = {**QUANTIZATION, "low": np.int8(-4), "high": np.int8(-1)}
    model = onnx_model(nodes, {"x": (2, 5)}, {"y": (2, 5)}, constants)
    inputs = {"x": f32(2, 5)}
    actual, expected = run_in_floats(load_model(model), inputs), run_onnxruntime(model, inputs)
    np.testing.assert_array_equal(actual["y"], expected["y"])


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_no_window_starts_in_the_padding(kind: str) -> None:
    """onnx's shape inference counts such windows with ceil_mode, onnxruntime does not; here twice in a row."""
    window: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    nodes = [
        make(kind, ["x"], ["a"], **window),
        make("Relu", ["a"], ["b"]),
        make(kind, ["b"], ["c"], **window),
        make("Flatten", ["c"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": (1, 2, 9, 8)}, {"y": None})
    inputs = {"x": f32(1, 2, 9, 8)}
    expected = run_onnxruntime(model, inputs)["y"]
    for stale in (model, onnx.shape_inference.infer_shapes(model)):
        np.testing.assert_allclose(run_in_floats(load_model(stale), inputs)["y"], expected, rtol=1e-6)


def test_the_given_model_is_left_alone() -> None:
    model = quantized_conv("Relu")
    before = model.SerializeToString(deterministic=True)
    load_model(model)
    assert model.SerializeToString(deterministic=True) == before
