"""QDQ ONNX models, as onnxruntime's quantizer writes them, behind the Relax passes, against onnxruntime.

onnxruntime computes in floats between dequantize and quantize, so single results may differ by one step of the output's
quantization, and by more where several layers add up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate import evaluate
from tests.onnx_qdq import OnnxWriter, quantized, run_onnx
from tests.relax_builder import calls, simplified
from tvm_tiny.frontend import load_model
from tvm_tiny.ops import get_io
from tvm_tiny.passes import LowerQdq, QuantizedIo


def assert_close(writer: OnnxWriter, path: Path, steps: int) -> list[str]:
    """Outputs within ``steps`` of onnxruntime's; simplifying changes nothing. Returns the operators that remain."""
    mod = load_model(path)
    plain, final = LowerQdq()(mod), simplified(mod)
    (output,) = get_io(QuantizedIo()(final)["main"]).outputs
    assert output.scale is not None
    for x in writer.samples(8):
        (got,), (wanted,) = evaluate(final, x), run_onnx(path, x)
        np.testing.assert_array_equal(evaluate(plain, x)[0], got)
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() < (steps + 0.01) * output.scale
    return calls(final)


def op(operator: str, *extra: str, shape: tuple[int, ...] = (1, 4, 6, 7), **attributes: Any) -> OnnxWriter:
    """One operator; ``extra`` are weights "w:4,2,3,3", integers "i:1,2", floats "f:1,1,2,2", or empty.

    The quantizer leaves data movement of floats alone: so another operator stands in front.
    """
    writer = OnnxWriter(shape)
    inputs = [writer.node("LeakyRelu", ["x"], "x0", alpha=0.5)]
    for text in extra:
        kind, _, numbers = text.partition(":")
        values = [float(v) for v in numbers.split(",") if v]
        match kind:
            case "w":
                inputs.append(writer.weight(*map(int, values)))
            case "i":
                inputs.append(writer.constant(np.array(values, np.int64)))
            case "f":
                inputs.append(writer.constant(np.array(values, np.float32)))
            case _:
                inputs.append("")
    writer.node(operator, inputs, "y", **attributes)
    return writer


OPERATORS: dict[str, Callable[[], OnnxWriter]] = {
    "conv": lambda: op("Conv", "w:8,4,3,3", "w:8", pads=[1, 1, 1, 1]),
    "conv stride and uneven pads": lambda: op("Conv", "w:5,4,3,2", strides=[2, 1], pads=[0, 1, 2, 0]),
    "conv dilated": lambda: op("Conv", "w:3,4,3,3", "w:3", dilations=[2, 1], pads=[2, 1, 2, 1]),
    "conv grouped": lambda: op("Conv", "w:6,2,3,3", "w:6", group=2),
    "depthwise": lambda: op("Conv", "w:4,1,3,3", "w:4", group=4, pads=[1, 1, 1, 1]),
    "depthwise with multiplier": lambda: op("Conv", "w:12,1,2,2", group=4, strides=[2, 2]),
    "gemm": lambda: op("Gemm", "w:20,9", "w:9", shape=(3, 20)),
    "gemm transposed": lambda: op("Gemm", "w:9,20", "w:9", shape=(1, 20), transB=1),
    "matmul": lambda: op("MatMul", "w:20,9", shape=(6, 20)),
    "add": lambda: op("Add", "w:1,4,1,1"),
    "mul": lambda: op("Mul", "w:4,6,7"),
    "max pool": lambda: op("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1]),
    "max pool rounded up": lambda: op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "average pool": lambda: op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "global average": lambda: op("GlobalAveragePool"),
    "sigmoid": lambda: op("Sigmoid"),
    "leaky relu": lambda: op("LeakyRelu", alpha=0.2),
    "softmax": lambda: op("Softmax", axis=-1),
    "resize nearest": lambda: op(
        "Resize", "", "f:1,1,2,2", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize linear": lambda: op("Resize", "", "f:1,1,2,3", mode="linear"),
    "transpose": lambda: op("Transpose", perm=[0, 2, 3, 1]),
    "reshape": lambda: op("Reshape", "i:2,-1"),
    "unsqueeze": lambda: op("Unsqueeze", "i:0"),
    "slice": lambda: op("Slice", "i:1,5", "i:4,0", "i:1,3", "i:2,-2"),
    "pad": lambda: op("Pad", "i:0,0,1,0,0,1,0,2"),
}


@pytest.mark.parametrize("per_channel", [True, False], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, per_channel: bool, tmp_path: Path) -> None:
    writer = OPERATORS[name]()
    assert_close(writer, quantized(writer, tmp_path, "y", per_channel=per_channel), 1)


def small_resnet() -> OnnxWriter:
    """Strides, a residual with a projection, global pooling, a dense layer: what image classifiers are made of."""
    w = OnnxWriter((1, 3, 16, 16))
    w.node("Conv", ["x", w.weight(8, 3, 3, 3), w.weight(8)], "c1", pads=[0, 0, 1, 1], strides=[2, 2])
    w.node("Relu", ["c1"], "r1")
    w.node("MaxPool", ["r1"], "m1", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    w.node("Conv", ["m1", w.weight(16, 8, 3, 3)], "c2", pads=[1, 1, 1, 1], strides=[2, 2])
    w.node("Conv", ["m1", w.weight(16, 8, 1, 1), w.weight(16)], "c3", strides=[2, 2])
    w.node("Add", ["c2", "c3"], "a1")
    w.node("Relu", ["a1"], "r2")
    w.node("GlobalAveragePool", ["r2"], "g1")
    w.node("Flatten", ["g1"], "f1")
    w.node("Gemm", ["f1", w.weight(10, 16), w.weight(10)], "y", transB=1)
    return w


def small_mobilenet() -> OnnxWriter:
    """Depthwise layers with clip, a gate, hard-swish, a flattened image in front of a dense layer."""
    w = OnnxWriter((1, 3, 12, 12), seed=1)
    zero, six = (w.constant(np.float32(v)) for v in (0, 6))
    w.node("Conv", ["x", w.weight(8, 3, 3, 3), w.weight(8)], "c1", pads=[1, 1, 1, 1], strides=[2, 2])
    w.node("Clip", ["c1", zero, six], "r1")
    w.node("Conv", ["r1", w.weight(16, 1, 3, 3), w.weight(16)], "c2", pads=[1, 1, 1, 1], group=8)
    w.node("HardSwish", ["c2"], "h1")
    w.node("GlobalAveragePool", ["h1"], "g1")
    w.node("Conv", ["g1", w.weight(16, 16, 1, 1), w.weight(16)], "s1")
    w.node("Sigmoid", ["s1"], "s2")
    w.node("Mul", ["h1", "s2"], "m1")
    w.node("AveragePool", ["m1"], "p1", kernel_shape=[2, 2], strides=[2, 2])
    w.node("Flatten", ["p1"], "f1")
    w.node("Gemm", ["f1", w.weight(144, 6), w.weight(6)], "y")
    return w


def branches() -> OnnxWriter:
    """Data movement on NCHW: concat, slice, pad, resize, transpose, and functions in between."""
    w = OnnxWriter((1, 4, 8, 8), seed=2)
    w.node("Conv", ["x", w.weight(6, 4, 3, 3), w.weight(6)], "c1", pads=[1, 1, 1, 1])
    w.node("Tanh", ["c1"], "t1")
    w.node("LeakyRelu", ["c1"], "l1", alpha=0.1)
    w.node("Concat", ["t1", "l1"], "k1", axis=1)
    starts, ends, axes = (w.constant(np.array(v, np.int64)) for v in ([1, 2], [11, 8], [1, 2]))
    w.node("Slice", ["k1", starts, ends, axes], "v1")
    w.node("Pad", ["v1", w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 0], np.int64))], "p1")
    w.node("Conv", ["p1", w.weight(4, 10, 3, 3)], "c2")
    factors = w.constant(np.array([1, 1, 2, 2], np.float32))
    modes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    w.node("Resize", ["c2", "", factors], "z1", **modes)
    w.node("Transpose", ["z1"], "q1", perm=[0, 1, 3, 2])
    w.node("Conv", ["q1", w.weight(2, 4, 3, 3)], "y")
    return w


@pytest.mark.parametrize(
    ("build", "steps", "transposes"),
    # What remains: the input's; and for ``branches`` that of the model itself and the output's.
    [(small_resnet, 1, 1), (small_mobilenet, 2, 1), (branches, 2, 3)],
)
def test_networks(build: Callable[[], OnnxWriter], steps: int, transposes: int, tmp_path: Path) -> None:
    writer = build()
    found = assert_close(writer, quantized(writer, tmp_path, "y"), steps)
    assert found.count("permute_dims") == transposes
    assert "nn.pad" not in found


def test_uint8_activations_become_int8(tmp_path: Path) -> None:
    """onnxruntime's default for activations; inside there is int8 only."""
    from onnxruntime.quantization import QuantType

    writer = small_resnet()
    path = quantized(writer, tmp_path, "y", activation_type=QuantType.QUInt8)
    assert_close(writer, path, 1)
