"""Networks with dead channels give TFLite Micro's bits, with fewer channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate import evaluate
from tests.native import build_library
from tests.op_cases.oracle import oracle
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.compiler import compile_model
from tvm_tiny.frontend import load_model
from tvm_tiny.pipeline import Options, relax_phases

BOARD = "tinyml/qemu-m4"
SCALE, ZERO_POINT = 0.05, -7


class Network:
    """A random int8 network whose layers have filters of zero, columns of zero, and biases of any size."""

    def __init__(self, seed: int) -> None:
        self.writer = TfliteWriter()
        self.rng = np.random.default_rng(seed)

    def conv(self, x: TensorRef, channels: int, size: int, **options: Any) -> TensorRef:
        weight = self.rng.integers(-127, 128, (channels, size, size, x.shape[3])).astype(np.int8)
        weight[..., self.rng.random(x.shape[3]) < 0.3] = 0
        return self._layer(self.writer.conv2d, x, weight, channels, 0, options)

    def depthwise(self, x: TensorRef, size: int, **options: Any) -> TensorRef:
        channels = x.shape[3]
        weight = self.rng.integers(-127, 128, (1, size, size, channels)).astype(np.int8)
        return self._layer(self.writer.depthwise_conv2d, x, weight, channels, 3, options)

    def dense(self, x: TensorRef, outputs: int) -> TensorRef:
        inputs = int(np.prod(x.shape[1:]))
        weight = self.rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        weight[:, self.rng.random(inputs) < 0.2] = 0
        w = self.writer.const(self._name("w"), weight, scale=0.004)
        return self.writer.fully_connected(x, w, out_scale=0.2, out_zp=1)

    def _layer(
        self,
        method: Callable[..., TensorRef],
        x: TensorRef,
        weight: np.ndarray,
        channels: int,
        axis: int,
        options: dict[str, Any],
    ) -> TensorRef:
        dead = self.rng.random(channels) < 0.4
        weight[(slice(None),) * axis + (dead,)] = 0
        scales = self.rng.uniform(0.002, 0.008, channels).astype(np.float32)
        bias = self.rng.integers(-3000, 3001, channels)
        # Some constants are the zero point, which passes a border; below it they are where an activation cuts them off.
        bias[dead & (self.rng.random(channels) < 0.5)] = 0
        b = self.writer.const(self._name("b"), bias.astype(np.int32), np.float32(x.scale) * scales)
        w = self.writer.const(self._name("w"), weight, scales, axis=axis)
        return method(x, w, b, out_scale=SCALE, out_zp=ZERO_POINT, **options)

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.writer.tensors)}"


def network(seed: int) -> tuple[bytes, tuple[int, ...]]:
    """A model with one input, and the input's shape."""
    net = Network(seed)
    rng, w = net.rng, net.writer
    shape = (1, int(rng.integers(4, 10)), int(rng.integers(4, 10)), int(rng.integers(1, 5)))
    x = w.input("x", shape, SCALE, ZERO_POINT)
    y = net.conv(x, 12, 3, stride=(1, 2))
    for _ in range(rng.integers(3, 7)):
        options = {
            "stride": (1 + int(rng.random() < 0.2),) * 2,
            "padding": "VALID" if rng.random() < 0.3 and min(y.shape[1:3]) >= 3 else "SAME",
            "activation": str(rng.choice(["none", "relu", "relu6"])),
        }
        match rng.choice(["conv", "point", "depthwise", "residual", "pool", "concat", "split", "unary"]):
            case "conv":
                y = net.conv(y, int(rng.integers(3, 13)), 3, **options)
            case "point":
                y = net.conv(y, int(rng.integers(3, 13)), 1, **options)
            case "depthwise":
                y = net.depthwise(y, 3, **options)
            case "residual":
                branch = net.conv(net.conv(y, 8, 3, activation="relu"), y.shape[3], 1)
                y = w.add(y, branch, out_scale=0.08, out_zp=3)
                y = net.conv(y, 9, 1)
            case "pool":
                pool = w.avg_pool2d if rng.random() < 0.5 else w.max_pool2d
                y = pool(y, (2, 2), stride=(1, 1), padding="SAME")
            case "concat":
                y = w.concatenation([y, net.conv(y, 6, 1)], 3)
            case "split" if y.shape[3] % 2 == 0:
                a, b = w.split(y, 3, 2)
                y = w.concatenation([b, a], 3)
            case _:
                y = w.tanh(y)
                y = w.quantize(y, SCALE, ZERO_POINT)
    if rng.random() < 0.5:
        y = net.dense(w.mean(y, (1, 2), out_scale=SCALE, out_zp=ZERO_POINT), 5)
    else:
        y = net.dense(w.reshape(y, (1, -1)), 5) if rng.random() < 0.5 else net.conv(y, 5, 3)
    w.output(y)
    return w.finish(), shape


def simplified(model: bytes, skip: Sequence[str] = ()) -> Any:
    module = load_model(model)
    for phase, passes in relax_phases(Options()).items():
        for each in passes if phase not in skip else ():
            module = each(module)
    return module


def test_random_networks_compiled(tmp_path: Path) -> None:
    networks = [network(seed) for seed in range(4)]
    models = [compile_model(model, BOARD, module_name=f"m{i}") for i, (model, _) in enumerate(networks)]
    library = build_library(models, tmp_path)
    fewer = 0
    for compiled, (model, shape) in zip(models, networks, strict=True):
        report = compiled.report()
        fewer += report["executed_macs"] < report["macs"]
        for x in images(shape):
            (expected,) = oracle(model, {"x": x}).values()
            (got,) = library.run(compiled.module_name, [x])
            np.testing.assert_array_equal(got, expected, err_msg=compiled.module_name, strict=True)
    assert fewer >= 3


def test_random_networks_without_a_dead_channel_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvm_tiny.pipeline._CHANNELS", 1)
    for seed in range(100, 112):
        model, shape = network(seed)
        module = simplified(model)
        for x in images(shape):
            (expected,) = oracle(model, {"x": x}).values()
            (got,) = evaluate(module, x)
            np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}", strict=True)


def images(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Full range; extremes only."""
    rng = np.random.default_rng(9)
    return [rng.integers(-128, 128, shape, dtype=np.int8), rng.choice(np.array([-128, 127], np.int8), shape)]


def test_vww96(shared_file: Callable[[str], Path]) -> None:
    """The model file has nearly twice the MACs that its outputs need."""
    report = compile_model(shared_file("models/vww96_int8.tflite"), BOARD).report()
    assert report["macs"] == 7_489_664
    assert report["executed_macs"] < 3_800_000
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    assert report["constants_bytes"] < 45_000
