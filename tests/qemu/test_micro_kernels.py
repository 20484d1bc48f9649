"""Assembly against general kernels on the same emulated core: random layers, byte for byte, and which is faster."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.random_layers import RandomLayers, slower
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.measure.run import RunResult
from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost, select_convolution
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.dsp.conv_part import ROW_PARAMETERS
from tvm_tiny.targets import Cpu

LAYERS = 24
# Inputs and outputs lie elsewhere, layers run one after the other: there is next to nothing to place.
PLAIN: dict[str, Any] = {"fusion": "off", "caller_io": True}
BOARDS = ("qemu-m4", "qemu-m7", "qemu-m33", "qemu-m55")


KINDS = ("conv", "conv", "conv", "depthwise", "depthwise", "depthwise3x3", "dense", "add")


@pytest.mark.qemu
def test_two_pixels_in_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Assembly for Armv6-M against general kernels.
    network = RandomLayers(len(BOARDS), KINDS, LAYERS)
    inputs = network.inputs()

    def run(name: str) -> RunResult:
        archive = compile_model(network.model, "tinyml/rp2040", name=name, **PLAIN).export(tmp_path / f"{name}.tar")
        return run_model(archive, device="qemu", inputs=inputs)

    with monkeypatch.context() as always:
        always.setattr(cost, "worth", lambda *_: True)
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
# For size an M7 and an M33 have an M4's kernels.
@pytest.mark.parametrize(("seed", "board"), [*enumerate(BOARDS), (4, "qemu-m4"), (7, "qemu-m55")])
def test_random_layers(seed: int, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimize = "speed" if seed < len(BOARDS) else "size"
    network = RandomLayers(seed, KINDS, LAYERS)
    inputs = network.inputs()

    def run(name: str) -> tuple[CompiledModel, RunResult]:
        model = compile_model(network.model, f"tinyml/{board}", name=name, optimize=optimize, **PLAIN)
        return model, run_model(model.export(tmp_path / f"{name}.tar"), device="qemu", inputs=inputs)

    # What would be taken, as far as that is asked below.
    chosen = compile_model(network.model, f"tinyml/{board}", **PLAIN) if optimize == "speed" else None
    with monkeypatch.context() as always:
        for question in ("worth", "worth_dense"):
            always.setattr(cost, question, lambda *_: True)
        micro_model, micro = run("micro")
    monkeypatch.setattr(Cpu, "has_dsp", False)
    monkeypatch.setattr(Cpu, "has_mve", False)
    general_model, general = run("general")
    vectors = {"mve_gemm", "mve_gather", "mve_depthwise", f"mve_interleave{3 if optimize == 'speed' else 4}"}
    words = {"dense", "dw", *({"dw3x3", "gemm3", "gemm4"} if optimize == "speed" else {"gemm1", "gemm2"})}
    assert (vectors if board == "qemu-m55" else words) <= _functions(micro_model)
    assert not _functions(general_model)
    for name, expected in general.outputs.items():
        np.testing.assert_array_equal(micro.outputs[name], expected, name, strict=True)
    if chosen is not None:
        # What is taken without a need is no slower; that nearly all is taken that is faster, test_cost.py says.
        taken = {layer["name"] for layer in chosen.report()["layers"] if _is_micro(layer)}
        assert taken
        assert not slower(micro.report, general.report, taken)


def _is_micro(layer: dict[str, Any]) -> bool:
    """General kernels of convolutions have the window's size in their names; small dense layers do not say."""
    return re.search(r"conv2d_\d+x\d+", layer["kernel"]) is None and layer["op"] != "qdense"


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
@pytest.mark.parametrize(("seed", "board"), [(20, "qemu-m4")])
def test_parts_of_rows(seed: int, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = RandomLayers(seed, KINDS, LAYERS)
    inputs = network.inputs()
    rows = compile_model(network.model, f"tinyml/{board}", name="rows", **PLAIN)
    expected = run_model(rows.export(tmp_path / "rows.tar"), device="qemu", inputs=inputs)
    make_kernel = select_convolution._kernel

    def in_parts(name: str, layer: ConvLayer, functions: Callable[[bool], tuple[CFunction, ...]], *rest: Any) -> Kernel:
        parts = functions(True)
        return make_kernel(name, layer, lambda _: (*parts, _in_parts(layer, parts[-1].name)), *rest)

    monkeypatch.setattr(select_convolution, "_kernel", in_parts)
    parts = compile_model(network.model, f"tinyml/{board}", name="parts", **PLAIN)
    assert "tinyml_in_parts" in parts.files["codegen/host/src/default_lib0.c"].decode()
    got = run_model(parts.export(tmp_path / "parts.tar"), device="qemu", inputs=inputs)
    for name, row in expected.outputs.items():
        np.testing.assert_array_equal(got.outputs[name], row, name, strict=True)
