"""What is wrong with an ONNX model is said in one error: no TVM involved."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.onnx_models import onnx_model, quantized, small_cnn
from tvm_tiny.errors import ModelError, TvmTinyError, UnsupportedOperatorError
from tvm_tiny.frontend.onnx_reader import parse_onnx, prepare

make = helper.make_node
IMAGE = (1, 3, 8, 8)


def check(model: onnx.ModelProto) -> None:
    prepare(model, "'m.onnx'")


def one(
    kind: str, inputs: list[str], constants: dict[str, Any], shape: Any = IMAGE, **attributes: Any
) -> onnx.ModelProto:
    return onnx_model([make(kind, inputs, ["y"], **attributes)], {"x": shape}, {"y": None}, constants)


def test_all_unsupported_operators_are_listed() -> None:
    nodes = [
        make("Cos", ["x"], ["a"]),
        make("Relu", ["a"], ["b"]),
        make("Erf", ["b"], ["c"]),
        make("Sin", ["c"], ["y"]),
    ]
    with pytest.raises(UnsupportedOperatorError) as error:
        check(onnx_model(nodes, {"x": IMAGE}, {"y": IMAGE}))
    assert error.value.message.splitlines() == [
        "3 operators of 'm.onnx' cannot be compiled:",
        "  - Cos 'a': not a supported operator",
        "  - Erf 'c': not a supported operator",
        "  - Sin 'y': not a supported operator",
    ]
    assert error.value.hints


def test_operators_of_other_domains_are_not_taken_for_known_ones() -> None:
    node = make("Relu", ["x"], ["y"], domain="com.example")
    model = onnx_model([node], {"x": IMAGE}, {"y": IMAGE})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedOperatorError, match="Relu 'y': not a supported operator"):
        check(model)


def test_dynamic_quantization_has_a_hint() -> None:
    nodes = [make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), make("DequantizeLinear", ["q", "s", "z"], ["y"])]
    with pytest.raises(UnsupportedOperatorError, match="DynamicQuantizeLinear 'q'") as error:
        check(onnx_model(nodes, {"x": IMAGE}, {"y": IMAGE}))
    assert any("quantize_static" in hint for hint in error.value.hints)


FILTER = np.ones((4, 3, 3, 3), np.float32)
VARIANTS: dict[str, tuple[onnx.ModelProto, str]] = {
    "1-D convolution": (
        one("Conv", ["x", "w"], {"w": np.ones((4, 3, 3), np.float32)}, (1, 3, 8)),
        "they have 3 and 3 dimensions",
    ),
    "gemm alpha": (one("Gemm", ["x", "w"], {"w": np.ones((8, 4))}, (2, 8), alpha=2.0), r"they are \(2.0, 1.0, 0\)"),
    "batched matmul": (one("MatMul", ["x", "w"], {"w": np.ones((8, 4))}, (2, 3, 8)), "they have 3 and 2 dimensions"),
    "dilated pool": (
        one("MaxPool", ["x"], {}, kernel_shape=[2, 2], dilations=[2, 2]),
        r"dilations \[2, 2\]",
    ),
    "counted padding": (
        one("AveragePool", ["x"], {}, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
        "it is counted",
    ),
    "softmax over channels": (one("Softmax", ["x"], {}, axis=1), "axis 1 of 4 dimensions"),
    "reflecting pad": (
        one("Pad", ["x", "p"], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}, mode="reflect"),
        "mode reflect",
    ),
    "cubic resize": (
        one("Resize", ["x", "", "s"], {"s": np.array([1, 1, 2, 2], np.float32)}, mode="cubic"),
        'mode "nearest" or "linear"',
    ),
    "other pixels": (
        one(
            "Resize",
            ["x", "", "", "s"],
            {"s": np.array([1, 3, 16, 16], np.int64)},
            coordinate_transformation_mode="asymmetric",
            nearest_mode="ceil",
        ),
        "coordinate_transformation_mode that TFLite has",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_unsupported_variant(name: str) -> None:
    model, text = VARIANTS[name]
    with pytest.raises(UnsupportedOperatorError, match=text) as error:
        check(model)
    assert "1 operator of 'm.onnx'" in error.value.message


def test_computed_weights() -> None:
    model = onnx_model([make("MatMul", ["x", "w"], ["y"])], {"x": (2, 8), "w": (8, 4)}, {"y": (2, 4)})
    with pytest.raises(UnsupportedOperatorError, match="the weights 'w' are computed"):
        check(model)


def weight_only(zero_point: int, *, with_output: bool) -> onnx.ModelProto:
    """A convolution with int8 weights, and int8 activations if ``with_output``."""
    nodes = [make("DequantizeLinear", ["w", "s", "wz"], ["w_dq"])]
    x = "x"
    if with_output:
        nodes += [make("QuantizeLinear", ["x", "s", "z"], ["q"]), make("DequantizeLinear", ["q", "s", "z"], ["x_dq"])]
        x = "x_dq"
    nodes.append(make("Conv", [x, "w_dq"], ["conv" if with_output else "y"]))
    if with_output:
        nodes.append(make("QuantizeLinear", ["conv", "s", "z"], ["y"]))
    constants = {
        "w": FILTER.astype(np.int8),
        "s": np.float32(0.5),
        "z": np.int8(0),
        "wz": np.int8(zero_point),
    }
    kind = TensorProto.INT8 if with_output else TensorProto.FLOAT
    return onnx_model(nodes, {"x": IMAGE}, {"y": (1, 4, 6, 6)}, constants, types={"y": kind})


def test_weights_with_zero_point() -> None:
    check(weight_only(0, with_output=True))
    with pytest.raises(UnsupportedOperatorError, match="the weights 'w' have zero point 3"):
        check(weight_only(3, with_output=True))


def test_weights_only_quantization() -> None:
    with pytest.raises(
        UnsupportedOperatorError, match="weights 'w' are int8, input and output float32 and float32"
    ) as e:
        check(weight_only(0, with_output=False))
    assert any("quantize_static" in hint for hint in e.value.hints)


def test_float16() -> None:
    types = {"x": TensorProto.FLOAT16, "y": TensorProto.FLOAT16}
    model = onnx_model([make("Relu", ["x"], ["y"])], {"x": IMAGE}, {"y": IMAGE}, types=types)
    with pytest.raises(UnsupportedOperatorError, match="'x' is float16"):
        check(model)


def test_uint8_input() -> None:
    node = make("DequantizeLinear", ["x", "s", "z"], ["y"])
    constants = {"s": np.float32(0.5), "z": np.uint8(3)}
    model = onnx_model([node], {"x": IMAGE}, {"y": IMAGE}, constants, types={"x": TensorProto.UINT8})
    with pytest.raises(TvmTinyError, match="uint8|uint8_t"):
        check(model)


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (1, 3, "h", "w"), (1, 3, 0, 8)])
def test_dynamic_shape(shape: tuple[int | str, ...]) -> None:
    model = onnx_model([make("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
    with pytest.raises(ModelError, match="input 'x' has the dynamic shape") as error:
        check(model)
    assert "make_dynamic_shape_fixed --input_name x" in error.value.hints[0]


def test_old_operator_set() -> None:
    model = onnx_model([make("Relu", ["x"], ["y"])], {"x": IMAGE}, {"y": IMAGE}, opset=9)
    with pytest.raises(ModelError, match="operator set 9; supported are 11 and later") as error:
        check(model)
    assert "convert_version" in error.value.hints[0]


def test_wrong_data_size() -> None:
    model = one("Conv", ["x", "w"], {"w": FILTER})
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-8]
    with pytest.raises(ModelError, match="not a valid ONNX model") as error:
        check(model)
    assert error.value.hints


def test_tensor_that_nothing_makes() -> None:
    with pytest.raises(ModelError, match="'nowhere'"):
        check(onnx_model([make("Relu", ["nowhere"], ["y"])], {"x": IMAGE}, {"y": IMAGE}))


def test_constant_output() -> None:
    nodes = [make("Relu", ["x"], ["y"]), make("Identity", ["c"], ["z"])]
    model = onnx_model(nodes, {"x": (1, 4)}, {"y": (1, 4), "z": (2,)}, {"c": np.ones(2)})
    with pytest.raises(ModelError, match="output 'z' does not depend on the input"):
        check(model)


def test_external_data(tmp_path: Path) -> None:
    model = one("Conv", ["x", "w"], {"w": np.ones((64, 3, 3, 3), np.float32)})
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights", size_threshold=0)
    data = path.read_bytes()
    check(parse_onnx(data, "'m.onnx'", tmp_path))
    with pytest.raises(ModelError, match="was not given as a path"):
        parse_onnx(data, "the model", None)
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match="the external weights of 'm.onnx' cannot be read") as error:
        parse_onnx(data, "'m.onnx'", tmp_path)
    assert error.value.hints


def test_damaged_files_end_in_one_error(tmp_path: Path) -> None:
    data = quantized(small_cnn(), tmp_path).SerializeToString()
    rng = random.Random(4)
    outcomes = {"sound": 0, "refused": 0}
    for kind in range(300):
        copy = bytearray(data)
        if kind % 3 == 0:
            copy = copy[: rng.randrange(len(copy))]
        else:
            for _ in range(1 if kind % 3 == 1 else 20):
                copy[rng.randrange(len(copy))] = rng.randrange(256)
        try:
            check(parse_onnx(bytes(copy), "'m.onnx'", None))
            outcomes["sound"] += 1
        except TvmTinyError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10, outcomes
