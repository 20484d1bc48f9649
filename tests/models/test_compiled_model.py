"""What every compiled model promises: same bytes for the same input, C that stands alone, names that are safe."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.native import FLAGS, build_library
from tests.tflite_writer import TfliteWriter
from tvm_tiny import demo
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import MemoryBudgetError, OptionError, OutputError, TargetError


@pytest.fixture(scope="module")
def digits() -> CompiledModel:
    return compile_model(demo.TFLITE, "tinyml/qemu-m7")


@pytest.fixture(scope="module")
def test_set() -> dict[str, np.ndarray]:
    with np.load(demo.TEST_SET) as arrays:
        return dict(arrays)


def sources(model: CompiledModel) -> dict[str, str]:
    return {Path(p).name: c.decode() for p, c in model.files.items() if p.endswith((".c", ".h"))}


def test_model_library_format(digits: CompiledModel) -> None:
    assert {
        "metadata.json",
        "codegen/host/src/default_lib0.c",
        "codegen/host/src/default_lib1.c",
        "codegen/host/include/tvmgen_default.h",
        "parameters/default.params",
        "src/default.relax",
    } < set(digits.files)
    metadata = json.loads(digits.files["metadata.json"])
    assert metadata["version"] == 7
    module = metadata["modules"]["default"]
    assert (module["executors"], module["style"]) == (["aot"], "full-model")
    (main,) = module["memory"]["functions"]["main"]
    assert main["workspace_size_bytes"] == digits.plan.arena_bytes
    assert main["io_size_bytes"] == 64 + 10


def test_c_stands_alone(digits: CompiledModel) -> None:
    for name, text in sources(digits).items():
        allowed = {"<stdint.h>", "<stddef.h>", "<string.h>", '"tvmgen_default.h"', '"tvm_tiny_kernels.h"'}
        assert set(re.findall(r"#include (\S+)", text)) <= allowed, name
        assert not re.search(r"\b(malloc|calloc|free|printf|alloca)\b", text), name


def test_only_the_interface_is_extern(digits: CompiledModel, tmp_path: Path, tool: Callable[[str], str]) -> None:
    build_library([digits], tmp_path)
    objects = []
    for part in ("lib0", "lib1"):
        objects.append(str(tmp_path / f"{part}.o"))
        source = str(tmp_path / f"default_{part}.c")
        subprocess.run([tool("gcc"), "-c", "-O1", f"-I{tmp_path}", source, "-o", objects[-1]], check=True, timeout=60)
    listed = subprocess.run(
        [tool("nm"), "-g", "--defined-only", *objects], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    symbols = set(re.findall(r" [A-Z] (\w+)", listed))
    names = ("run", "map_inputs", "map_outputs")
    expected = {f"tvmgen_default_{name}{suffix}" for name in names for suffix in ("", "_in")}
    assert {s for s in symbols if "_const_" not in s} == expected


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-std=c99", "-O3", "-Wpedantic")),
        ("gcc", ("-std=c11", "-Os", "-Wshadow")),
        ("gcc", ("-std=c99", "-O2", "-flto")),
        ("clang", ("-std=c99", "-O2")),
        ("clang", ("-std=c99", "-O0")),
        ("g++", ("-x", "c++", "-std=c++14", "-O2")),
    ],
)
def test_compilers_are_content_and_agree(
    compiler: str,
    flags: tuple[str, ...],
    digits: CompiledModel,
    test_set: dict[str, np.ndarray],
    tmp_path: Path,
    tool: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.native.host_compiler", lambda: tool(compiler))
    library = build_library([digits], tmp_path, flags=("-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", *flags))
    for given, expected in list(zip(test_set["inputs"], test_set["outputs"], strict=True))[:20]:
        np.testing.assert_array_equal(library.run("default", [given])[0], expected)


def test_a_program_in_cpp(
    digits: CompiledModel, test_set: dict[str, np.ndarray], tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """The header in C++, the model compiled as C."""
    for name, text in sources(digits).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.cpp").write_text("""
        #include <cstdio>
        #include "tvmgen_default.h"
        int main() {
          const auto inputs = tvmgen_default_map_inputs();
          const auto outputs = tvmgen_default_map_outputs();
          if (std::fread(inputs.image, TVMGEN_DEFAULT_IMAGE_SIZE, 1, stdin) != 1) return 1;
          if (tvmgen_default_run() != 0) return 2;
          std::fwrite(outputs.probabilities, TVMGEN_DEFAULT_PROBABILITIES_SIZE, 1, stdout);
        }
    """)
    objects = []
    for source in ("default_lib0.c", "default_lib1.c", "main.cpp"):
        command = [tool("g++"), "-std=c++11"] if source.endswith("cpp") else [tool("gcc"), "-std=c99"]
        objects.append(str(tmp_path / f"{source}.o"))
        command += ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{tmp_path}"]
        subprocess.run([*command, "-c", str(tmp_path / source), "-o", objects[-1]], check=True, timeout=60)
    program = str(tmp_path / "program")
    subprocess.run([tool("g++"), *objects, "-o", program], check=True, timeout=60)
    for given, expected in list(zip(test_set["inputs"], test_set["outputs"], strict=True))[:3]:
        done = subprocess.run([program], input=given.tobytes(), capture_output=True, check=True, timeout=60)
        assert done.stdout == expected.tobytes()


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_arm_compiler_is_content(core: str, digits: CompiledModel, tmp_path: Path, arm_gcc: list[str]) -> None:
    for name, text in sources(digits).items():
        (tmp_path / name).write_text(text)
    for part in ("lib0", "lib1"):
        command = [*arm_gcc, f"-mcpu={core}", "-mthumb", "-std=c99", "-O2", "-Wall", "-Wextra"]
        source = str(tmp_path / f"default_{part}.c")
        subprocess.run([*command, "-Werror", "-c", source, "-o", str(tmp_path / "o.o")], check=True, timeout=60)


def test_callers_workspace(digits: CompiledModel, tmp_path: Path) -> None:
    build_library([digits], tmp_path, flags=(*FLAGS, "-DTVMGEN_DEFAULT_NO_STATIC_WORKSPACE"))
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(tmp_path / "models.so")], capture_output=True, text=True, check=True
    ).stdout
    assert "tvmgen_default_run_in" in listed
    assert not re.search(r"tvmgen_default_run$", listed, re.MULTILINE)


def test_inputs_and_outputs_of_the_caller(tmp_path: Path, test_set: dict[str, np.ndarray]) -> None:
    models = [
        compile_model(demo.TFLITE, "tinyml/qemu-m7", module_name=name, caller_io=name != "inside")
        for name in ("inside", "outside", "bare")
    ]
    inside, outside, _ = (m.report() for m in models)
    assert all(t["arena_offset"] is not None for t in (*inside["inputs"], *inside["outputs"]))
    assert all(t["arena_offset"] is None for t in (*outside["inputs"], *outside["outputs"]))
    assert (models[0].plan.caller_bytes, models[1].plan.caller_bytes) == (0, 64 + 10)
    assert models[0].plan.arena_bytes < models[1].plan.ram_bytes
    library = build_library(models, tmp_path, flags=(*FLAGS, "-DTVMGEN_BARE_NO_STATIC_WORKSPACE"))
    for name in ("inside", "outside", "inside"):
        for i in range(3):
            np.testing.assert_array_equal(library.run(name, [test_set["inputs"][i]])[0], test_set["outputs"][i])


def test_two_models_in_one_program(tmp_path: Path, test_set: dict[str, np.ndarray]) -> None:
    models = [compile_model(demo.TFLITE, "tinyml/qemu-m7", module_name=n) for n in ("first", "second")]
    library = build_library(models, tmp_path)
    for name in ("first", "second", "first"):
        np.testing.assert_array_equal(library.run(name, [test_set["inputs"][0]])[0], test_set["outputs"][0])


def test_odd_names_are_mapped(tmp_path: Path) -> None:
    w = TfliteWriter()
    x = w.input("serving/default:0", [1, 4, 4, 2], scale=0.5, zero_point=0)
    y = w.input("int", [1, 4, 4, 2], scale=0.5, zero_point=0)
    w.output(w.add(x, y, out_scale=1.0, out_zp=0, name="1;*/ out"))
    model = compile_model(w.finish(), "tinyml/qemu-m7")
    report = model.report()
    assert [t["c_name"] for t in report["inputs"]] == ["serving_default_0", "int_"]
    assert [t["c_name"] for t in report["outputs"]] == ["t_1_out"]
    (out,) = build_library([model], tmp_path).run("default", [np.full((1, 4, 4, 2), v, np.int8) for v in (10, 20)])
    assert (out == 15).all()


def test_single_rounding_differs_and_is_deterministic(tmp_path: Path, test_set: dict[str, np.ndarray]) -> None:
    modes = {r: compile_model(demo.TFLITE, "tinyml/qemu-m7", rounding=r, module_name=r) for r in ("tflm", "single")}
    library = build_library(list(modes.values()), tmp_path)
    results = {r: np.stack([library.run(r, [x])[0] for x in test_set["inputs"][:100]]) for r in modes}
    np.testing.assert_array_equal(results["tflm"], test_set["outputs"][:100])
    assert (results["single"] != results["tflm"]).any()
    assert np.abs(results["single"].astype(int) - results["tflm"]).max() < 32


def test_dump_ir_writes_a_file_per_phase(tmp_path: Path) -> None:
    compile_model(demo.TFLITE, "tinyml/qemu-m7", dump_ir=tmp_path)
    phases = {p.stem for p in tmp_path.iterdir()}
    assert {"import", "integers", "simplify", "kernels", "lowered"} <= phases
    assert "R.dequantize" in (tmp_path / "import.py").read_text()
    assert "R.tinyml.qconv2d" in (tmp_path / "simplify.py").read_text()


def test_unknown_rounding() -> None:
    with pytest.raises(OptionError, match="--rounding 'up' is unknown"):
        compile_model(demo.TFLITE, rounding="up")


def test_unknown_pass_config() -> None:
    with pytest.raises(OptionError, match="--pass-config no.such=1: TVM refuses it"):
        compile_model(demo.TFLITE, pass_config={"no.such": 1})


def test_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"unknown board 'nrf52'.*nrf52840dk"):
        compile_model(demo.TFLITE, "tinyml/nrf52")


def test_too_large_for_the_board(tmp_path: Path) -> None:
    w = TfliteWriter()
    x = w.input("x", [1, 400, 400, 4], scale=0.5, zero_point=0)
    weight = w.const("w", np.ones((4, 3, 3, 4), np.int8), scale=0.5)
    w.output(w.conv2d(w.conv2d(x, weight, out_scale=1.0, name="wide"), weight, out_scale=1.0))
    with pytest.raises(MemoryBudgetError, match=r"needs 64\d,\d\d\d bytes of RAM.*has 262,144\n.*x, 640,000 bytes"):
        compile_model(w.finish(), "tinyml/nrf52840dk")


def test_export_into_a_folder_is_refused(digits: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        digits.export(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        digits.export(tmp_path / "missing" / "model.tar")
    with pytest.raises(OutputError, match="'/dev/null' is no regular file"):
        digits.export("/dev/null")
    assert list(tmp_path.iterdir()) == []
