"""Assembly against general kernels on the same emulated core: random layers, byte for byte, and which is faster."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.measure.run import RunResult
from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import select_convolution
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.conv_part import ROW_PARAMETERS
from tvm_tiny.targets import Cpu

LAYERS = 24
BOARDS = ("qemu-m4", "qemu-m7", "qemu-m33", "qemu-m55")


class _Network:
    """Random layers side by side, each with its own inputs and output."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._writer = TfliteWriter()
        makers = (self._conv, self._conv, self._conv, self._depthwise, self._depthwise, self._depthwise3x3)
        for i in range(LAYERS):
            ([*makers, self._dense, self._add][i % (len(makers) + 2)])(i)
        self.model = self._writer.finish()

    def inputs(self) -> dict[str, np.ndarray]:
        """Two sets: any values, and extremes."""
        rng = self._rng
        sets = {}
        for x in self._writer.inputs:
            random, extreme = rng.integers(-128, 128, x.shape), rng.choice([-128, 127], x.shape)
            sets[x.name] = np.stack([random, extreme]).astype(np.int8)
        return sets

    def _pick(self, *values: Any) -> Any:
        return values[self._rng.integers(len(values))]

    def _size(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def _input(self, name: str, *shape: int) -> TensorRef:
        return self._writer.input(name, shape, 0.05, self._size(-128, 127))

    def _padded(self, x: TensorRef, kernel: tuple[int, int]) -> tuple[TensorRef, str]:
        """Padding SAME, VALID, or any, which a PAD in front stands for; windows always fit."""
        short = any(d < k for d, k in zip(x.shape[1:3], kernel, strict=True))
        how = self._pick("SAME", "VALID", "PAD")
        if how != "PAD":
            return x, "SAME" if short else how
        sides = [(k - 1 if short else self._size(0, k - 1), self._size(0, k - 1)) for k in kernel]
        return self._writer.pad(x, [(0, 0), *sides, (0, 0)]), "VALID"

    def _weighted(self, method: str, x: TensorRef, shape: tuple[int, ...], axis: int, **options: Any) -> None:
        rng, writer = self._rng, self._writer
        outputs, taps = shape[axis], int(np.prod(shape)) // shape[axis]
        scales = (0.01 * 2.0 ** rng.uniform(-3, 0, outputs)).astype(np.float32)
        weight = writer.const(f"{x.name}-w", rng.integers(-127, 128, shape).astype(np.int8), scales, axis=axis)
        limit = int(3000 * np.sqrt(taps))
        bias_values = rng.integers(-limit, limit + 1, outputs).astype(np.int32)
        bias = writer.const(f"{x.name}-b", bias_values, np.float32(x.scale) * scales)
        scale = float(x.scale * 0.01 * np.sqrt(taps) * rng.uniform(30, 200))
        zero_point = self._pick(-128, self._size(-128, 40))
        writer.output(getattr(writer, method)(x, weight, bias, out_scale=scale, out_zp=zero_point, **options))

    def _conv(self, i: int) -> None:
        kernel = self._pick((1, 1), (1, 1), (3, 3), (2, 3), (5, 1), (1, 4), (10, 4))
        channels, outputs = self._pick(1, 2, 3, 4, 7, 8, 16, 21, 24), self._pick(1, 2, 3, 5, 8, 13, 16)
        x, padding = self._padded(self._input(f"c{i}", 1, self._size(2, 12), self._size(2, 13), channels), kernel)
        stride = self._pick((1, 1), (2, 2), (1, 2), (3, 1))
        options = {"stride": stride, "padding": padding, "activation": self._pick("none", "relu", "relu6")}
        self._weighted("conv2d", x, (outputs, *kernel, channels), 0, **options)

    def _depthwise(self, i: int, *kernels: tuple[int, int]) -> None:
        kernel = self._pick(*(kernels or ((5, 5), (7, 7), (1, 3), (3, 1), (4, 2), (2, 5), (9, 9))))
        channels = self._pick(4, 5, 8, 11, 16)
        x, padding = self._padded(self._input(f"d{i}", 1, self._size(1, 12), self._size(1, 14), channels), kernel)
        stride = self._pick((1, 1), (1, 1), (2, 2), (3, 3), (1, 2))
        options = {"stride": stride, "padding": padding, "activation": self._pick("relu", "relu", "relu6", "none")}
        self._weighted("depthwise_conv2d", x, (1, *kernel, channels), 3, **options)

    def _depthwise3x3(self, i: int) -> None:
        self._depthwise(i, (3, 3))

    def _dense(self, i: int) -> None:
        length = self._pick(1, 2, 3, 5, 8, 17, 31, 64, 130, 640)
        x = self._input(f"f{i}", self._pick(1, 1, 3), length)
        outputs = self._pick(1, 2, 3, 4, 7, 10, 33)
        self._weighted("fully_connected", x, (outputs, length), 0, activation=self._pick("none", "relu"))

    def _add(self, i: int) -> None:
        shape = self._pick((1, 5, 3, 7), (1, 4, 4, 8), (3, 5))
        a, b = (self._writer.input(f"{k}{i}", shape, self._pick(0.02, 0.05, 0.11), self._size(-128, 127)) for k in "ab")
        operation = self._pick(self._writer.add, self._writer.add, self._writer.sub)
        zero_point = self._size(-128, 127)
        self._writer.output(operation(a, b, out_scale=0.08, out_zp=zero_point, activation=self._pick("none", "relu")))


@pytest.mark.qemu
def test_two_pixels_in_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Assembly for Armv6-M against general kernels.
    network = _Network(len(BOARDS))
    inputs = network.inputs()

    def run(name: str) -> RunResult:
        archive = compile_model(network.model, "tinyml/rp2040", name=name).export(tmp_path / f"{name}.tar")
        return run_model(archive, device="qemu", inputs=inputs)

    special = run("special")
    monkeypatch.setattr(Cpu, "is_armv6m", False)
    general = run("general")
    for name, expected in general.outputs.items():
        np.testing.assert_array_equal(special.outputs[name], expected, name, strict=True)
    assert special.report.instructions is not None
    assert general.report.instructions is not None
    assert special.report.instructions < general.report.instructions


def _functions(model: CompiledModel) -> set[str]:
    """Kinds of micro-kernels in the C source."""
    (source,) = (text.decode() for path, text in model.files.items() if path.endswith("_lib0.c"))
    return set(re.findall(r"TINYML_NAKED void tinyml_([a-z_0-9]+)_[0-9a-f]{10}\(", source))


@pytest.mark.qemu
@pytest.mark.parametrize(("seed", "board"), [(i, board) for i, board in enumerate(BOARDS * 2)])
def test_random_layers(seed: int, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _Network(seed)
    inputs = network.inputs()

    def run(name: str) -> tuple[CompiledModel, RunResult]:
        model = compile_model(network.model, f"tinyml/{board}", name=name)
        return model, run_model(model.export(tmp_path / f"{name}.tar"), device="qemu", inputs=inputs)

    micro_model, micro = run("micro")
    monkeypatch.setattr(Cpu, "has_dsp", False)
    monkeypatch.setattr(Cpu, "has_mve", False)
    general_model, general = run("general")
    vectors = {"mve_gemm", "mve_gather", "mve_interleave3", "mve_depthwise"}
    assert (vectors if board == "qemu-m55" else {"dense", "dw", "dw3x3", "gemm3", "gemm4"}) <= _functions(micro_model)
    assert not _functions(general_model)
    for name, expected in general.outputs.items():
        np.testing.assert_array_equal(micro.outputs[name], expected, name, strict=True)


def _in_parts(layer: ConvLayer, part: str) -> CFunction:
    """A row in parts of 1 to 11 columns, from older rows in place and new ones of which just these columns exist."""
    vertical, horizontal = layer.axes
    channels = layer.input_shape[3]
    taps = (10 * horizontal.stride + horizontal.kernel) * channels
    text = f"""
    static int8_t stage[{vertical.kernel * taps}];
    const int32_t new_row = y * {vertical.stride} - {vertical.before} + {vertical.kernel // 2};
    int32_t x0, x1, r;
    for (x0 = 0; x0 < {horizontal.outputs}; x0 = x1) {{
        const int32_t start = x0 * {horizontal.stride} - {horizontal.before};
        int32_t low = start < 0 ? 0 : start, high, bytes;
        x1 = x0 + 1 + (7 * x0 + 3 * y) % 11;
        x1 = x1 < {horizontal.outputs} ? x1 : {horizontal.outputs};
        high = (x1 - 1) * {horizontal.stride} - {horizontal.before} + {horizontal.kernel};
        high = high < {horizontal.size} ? high : {horizontal.size};
        bytes = high > low ? (high - low) * {channels} : 0;
        memset(stage, 85, sizeof stage);
        for (r = new_row > 0 ? new_row : 0; r < new_row + {vertical.kernel} && r < {vertical.size}; ++r) {{
            const int8_t* row = x + r % slots * {horizontal.size * channels};
            memcpy(stage + (r - new_row) * bytes, row + low * {channels}, (size_t)bytes);
        }}
        {part}(x, out, packed, scratch, y, x0, x1, 0, slots, {horizontal.size * channels}, 0,
            (int32_t)(stage - x) - low * {channels}, bytes, new_row);
    }}
"""
    return c_function("in_parts", lambda name: f"static void {name}({ROW_PARAMETERS}) {{{text}}}\n")


@pytest.mark.qemu
@pytest.mark.parametrize(("seed", "board"), [(20, "qemu-m4"), (21, "qemu-m7")])
def test_parts_of_rows(seed: int, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _Network(seed)
    inputs = network.inputs()
    rows = compile_model(network.model, f"tinyml/{board}", name="rows")
    expected = run_model(rows.export(tmp_path / "rows.tar"), device="qemu", inputs=inputs)
    make_kernel = select_convolution._kernel

    def in_parts(name: str, layer: ConvLayer, functions: Callable[[bool], tuple[CFunction, ...]], *rest: Any) -> Kernel:
        parts = functions(True)
        return make_kernel(name, layer, lambda _: (*parts, _in_parts(layer, parts[-1].name)), *rest)

    monkeypatch.setattr(select_convolution, "_kernel", in_parts)
    parts = compile_model(network.model, f"tinyml/{board}", name="parts")
    assert "tinyml_in_parts" in parts.files["codegen/host/src/default_lib0.c"].decode()
    got = run_model(parts.export(tmp_path / "parts.tar"), device="qemu", inputs=inputs)
    for name, row in expected.outputs.items():
        np.testing.assert_array_equal(got.outputs[name], row, name, strict=True)
