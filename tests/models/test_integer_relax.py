"""Whole models as the passes leave them, evaluated by the NumPy reference: exact before any kernel is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm

from tests.evaluate import evaluate
from tests.onnx_qdq import OnnxWriter, quantized, run_onnx
from tests.op_cases import OpCase, all_cases, oracle
from tests.relax_builder import apply, calls
from tvm_tiny.frontend import load_model
from tvm_tiny.ops import get_io
from tvm_tiny.passes import LowerQdq, QuantizedIo
from tvm_tiny.pipeline import Options, relax_phases

VECTORS = {
    "ad01_int8": 8,
    "kws_int8": 8,
    "resnet8_int8": 8,
    "vww96_int8": 4,
    "mcunet_vww": 2,
    "mobilenet_v2_224_int8": 1,
}


def simplified(mod: tvm.IRModule, options: Options | None = None) -> tvm.IRModule:
    """``mod`` behind all Relax passes of the pipeline, each of which must leave its own result alone."""
    for phase in relax_phases(options or Options()).values():
        for each in phase:
            mod = apply(each, mod)
    return mod


@pytest.mark.parametrize("name", VECTORS)
def test_shared_models_are_exact(name: str, shared_file: Callable[[str], Path]) -> None:
    mod = load_model(shared_file(f"models/{name}.tflite"))
    vectors = np.load(shared_file(f"vectors/{name}.npz"))
    for variant in (LowerQdq()(mod), simplified(mod)):
        for given, wanted in zip(vectors["inputs"][: VECTORS[name]], vectors["outputs"], strict=False):
            np.testing.assert_array_equal(evaluate(variant, given)[0], wanted)


def test_nothing_is_left_to_move(shared_file: Callable[[str], Path]) -> None:
    """Pads are folded; of the transposes only the one at the input of a model with NCHW input remains."""
    found = calls(simplified(load_model(shared_file("models/mobilenet_v2_224_int8.tflite"))))
    assert found.count("permute_dims") == 1
    assert found[0] == "permute_dims"
    assert "nn.pad" not in found


def test_quantized_io_converts_on_the_host(shared_file: Callable[[str], Path]) -> None:
    mod = simplified(load_model(shared_file("models/mcunet_vww.tflite")), Options(quantized_io=True))
    vectors = np.load(shared_file("vectors/mcunet_vww.npz"))
    (source,), (target,) = get_io(mod["main"]).inputs, get_io(mod["main"]).outputs
    assert (source.host_dtype, target.host_dtype) == ("float32", "float32")
    assert source.scale is not None
    assert target.scale is not None
    quotient = vectors["inputs"][0] / np.float32(source.scale)
    rounded = np.copysign(np.floor(np.abs(quotient) + np.float32(0.5)), quotient) + source.zero_point
    (got,) = evaluate(mod, np.clip(rounded, -128, 127).astype(np.int8))
    real = (got.astype(np.float32) - target.zero_point) * np.float32(target.scale)
    np.testing.assert_array_equal(real, vectors["outputs"][0])


QUANTIZED = [c for c in all_cases() if not c.name.startswith("float-")]


@pytest.mark.slow
@pytest.mark.parametrize("case", QUANTIZED, ids=lambda c: c.name)
def test_operator_cases_are_exact(case: OpCase) -> None:
    model = case.model()
    mod = simplified(load_model(model))
    for tensors in case.inputs():
        got = evaluate(mod, *(tensors[t.name] for t in get_io(mod["main"]).inputs))
        wanted = oracle(model, tensors)
        for io, array in zip(get_io(mod["main"]).outputs, got, strict=True):
            np.testing.assert_array_equal(array, wanted[io.name])


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
    """Depthwise layers with clip, a gate, hard-swish, softmax, a flattened image in front of a dense layer."""
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
    w.node("Gemm", ["f1", w.weight(144, 6), w.weight(6)], "d1")
    w.node("Softmax", ["d1"], "y", axis=-1)
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
    scales = w.constant(np.array([1, 1, 2, 2], np.float32))
    w.node("Resize", ["c2", "", scales], "z1", mode="nearest", nearest_mode="floor",
           coordinate_transformation_mode="asymmetric")  # fmt: skip
    w.node("Transpose", ["z1"], "q1", perm=[0, 2, 1, 3])
    w.node("ReduceMean", ["q1"], "n1", axes=[1], keepdims=0)
    w.node("Sub", ["n1", w.weight(1, 4, 1)], "y")
    return w


NETWORKS: dict[str, tuple[Callable[[], OnnxWriter], int]] = {
    # name -> (model, transposes that remain)
    "resnet": (small_resnet, 1),
    "mobilenet": (small_mobilenet, 1),
    "branches": (branches, 2),
}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_networks(name: str, per_channel: bool, tmp_path: Path) -> None:
    """Within one step of onnxruntime, which computes in floats; and moving transposes changes nothing."""
    build, transposes = NETWORKS[name]
    writer = build()
    path = quantized(writer, tmp_path, "y", per_channel=per_channel)
    mod = load_model(path)
    plain, final = LowerQdq()(mod), simplified(mod)
    assert calls(final).count("permute_dims") == transposes
    (output,) = get_io(QuantizedIo()(final)["main"]).outputs
    assert output.scale is not None
    for x in writer.samples(8):
        (got,) = evaluate(final, x)
        np.testing.assert_array_equal(evaluate(plain, x)[0], got)
        (wanted,) = run_onnx(path, x)
        assert np.abs(got - wanted).max() < 1.01 * output.scale
