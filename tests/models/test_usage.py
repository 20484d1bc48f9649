"""The header's macros quantize as the reference does; the example of READMEs runs for every way to hand in inputs."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.c.test_usage_example import printed_values
from tests.native import build_library
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.demo import demo
from tvm_tiny.project.platforms.common.archive import extract, load_model
from tvm_tiny.project.platforms.common.usage import program
from tvm_tiny.quant import reference
from tvm_tiny.quant.params import QuantizeParams

_PROBE = """#include "tvmgen_default.h"
int8_t quantize(float real) { return TVMGEN_DEFAULT_IMAGE_QUANTIZE(real); }
float dequantize(int8_t value) { return TVMGEN_DEFAULT_IMAGE_DEQUANTIZE(value); }
"""


@pytest.fixture(scope="module")
def digits() -> CompiledModel:
    return compile_model(demo.TFLITE, "tinyml/qemu-m7")


def test_macros_against_the_reference(digits: CompiledModel, tmp_path: Path, tool: Callable[[str], str]) -> None:
    (tmp_path / "tvmgen_default.h").write_bytes(digits.files["codegen/host/include/tvmgen_default.h"])
    (tmp_path / "probe.c").write_text(_PROBE)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"]
    subprocess.run([tool("gcc"), *flags, "probe.c", "-o", "probe.so"], cwd=tmp_path, check=True, timeout=60)
    library = ctypes.CDLL(str(tmp_path / "probe.so"))
    library.quantize.argtypes, library.quantize.restype = [ctypes.c_float], ctypes.c_int8
    library.dequantize.argtypes, library.dequantize.restype = [ctypes.c_int8], ctypes.c_float
    image = digits.report()["inputs"][0]
    params = QuantizeParams(float(image["scale"]), int(image["zero_point"]), "int8")
    halves = (np.arange(-3, 520, dtype=np.float32) / 2 * np.float32(params.scale)).astype(np.float32)
    beside = [np.nextafter(halves, np.float32(side)) for side in (-np.inf, np.inf)]
    special = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0], np.float32)
    reals = np.concatenate([halves, *beside, special])
    assert [library.quantize(float(r)) for r in reals] == reference.quantize(params, reals).tolist()
    values = np.arange(-128, 128).astype(np.int8)
    assert [library.dequantize(int(v)) for v in values] == reference.dequantize(params, values).tolist()


@pytest.mark.parametrize("options", [{}, {"caller_io": True}, {"stream_input": True}], ids=["arena", "caller", "rows"])
def test_the_example_program(options: dict[str, Any], tmp_path: Path, tool: Callable[[str], str]) -> None:
    compiled = compile_model(demo.TFLITE, "tinyml/qemu-m4", **options)
    extract(compiled.export(tmp_path / "model.tar"), tmp_path / "model")
    model = load_model(tmp_path / "model")
    (tmp_path / "main.c").write_text(program(model))
    sources = [str(path) for path in model.sources]
    size = 8 if "stream_input" in options else 64
    ramp = np.tile(np.arange(size, dtype=np.float32) / np.float32(size), 64 // size)
    tensors = compiled.report()
    image = reference.quantize(_params(tensors["inputs"][0]), ramp).reshape(1, 8, 8, 1)
    (expected,) = build_library([compiled], tmp_path).run("default", [image])
    thousandths = 1000 * reference.dequantize(_params(tensors["outputs"][0]), expected)
    pairs = list(zip(expected.reshape(-1), thousandths.reshape(-1), strict=True))
    for compiler, flags in (("gcc", ["-std=c99", "-Wpedantic"]), ("g++", ["-x", "c++", "-std=c++14"])):
        command = [tool(compiler), *flags, "-Wall", "-Wextra", "-Werror", f"-I{model.include_dir}", "main.c", *sources]
        subprocess.run([*command, "-o", compiler], cwd=tmp_path, check=True, timeout=60)
        text = subprocess.run([f"./{compiler}"], cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True)
        assert printed_values(text.stdout) == [("probabilities", int(q), int(r)) for q, r in pairs]


def _params(tensor: dict[str, Any]) -> QuantizeParams:
    return QuantizeParams(float(tensor["scale"]), int(tensor["zero_point"]), tensor["dtype"])
