"""Models that take their input row by row: the C interface, and the bits of models that get it as a whole."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.models.test_fusion import BOARD, Network, any_program, assert_same, networks
from tests.native import FLAGS, NativeLibrary, build_library, host_compiler
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny import compiler, demo, planner
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import OptionError

ROWS, ROW_BYTES = 12, 16
SHAPE = (1, ROWS, 8, 2)
NO_ROW, TOO_MANY_ROWS = -1, -2
STREAMING = Path(__file__).resolve().parents[2] / "docs" / "streaming.md"


def camera_network() -> bytes:
    """Small, and worth a ring of input rows."""
    net = Network(5)
    x = net.conv(net.writer.input("image", list(SHAPE), scale=0.05, zero_point=-2), 6, (3, 3))
    x = net.add(x, net.conv(x, 6, (3, 3)))
    x = net.writer.max_pool2d(net.depthwise(x, (3, 3), stride=(2, 2)), (2, 2), stride=(2, 2))
    net.writer.output(net.conv(x, 6, (2, 2), padding="VALID", name="scores"))
    return net.writer.finish()


def both(model: bytes, objective: planner.Objective = "balanced") -> list[CompiledModel]:
    """The model that gets its image as a whole, and the one that gets it row by row."""
    return [
        compile_model(model, BOARD, stream_input=streamed, module_name=name, objective=objective)
        for name, streamed in (("resident", False), ("default", True))
    ]


@dataclass(frozen=True)
class Camera:
    """Both models, with images and the outputs of the resident one."""

    models: list[CompiledModel]
    library: NativeLibrary
    images: np.ndarray
    outputs: list[np.ndarray]

    def push(self, image: int, first: int = 0) -> list[int]:
        """Hand in an image's rows; what is returned for each."""
        rows = [ctypes.create_string_buffer(self.images[image, 0, y].tobytes()) for y in range(first, ROWS)]
        return [self.library.push("default", ctypes.addressof(row)) for row in rows]

    def reset(self) -> None:
        self.library.call("default", "reset")

    def assert_done(self, image: int) -> None:
        """The outputs are those of this image."""
        assert self.library.outputs("default") == [self.outputs[image].tobytes()]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    models = both(camera_network())
    library = build_library(models, tmp_path_factory.mktemp("camera"))
    images = np.random.default_rng(1).integers(-128, 128, (20, *SHAPE)).astype(np.int8)
    outputs = [library.run("resident", [image])[0] for image in images]
    assert len({o.tobytes() for o in outputs}) == len(outputs)
    return Camera(models, library, images, outputs)


def test_what_the_archive_says(camera: Camera) -> None:
    resident, streamed = camera.models
    info = streamed.report()
    header = streamed.files["codegen/host/include/tvmgen_default.h"].decode()
    assert info["stream"] == {"rows": ROWS, "row_bytes": ROW_BYTES, "axis": 1, "kept_rows": 3}
    assert streamed.plan.arena_bytes < resident.plan.arena_bytes
    assert f"#define TVMGEN_DEFAULT_INPUT_ROWS {ROWS}\n" in header
    assert f"#define TVMGEN_DEFAULT_INPUT_ROW_BYTES {ROW_BYTES}\n" in header
    assert "Row y is image[:, y, :, :]: int8 [1, 8, 2]." in header
    assert "_run(" not in header
    (main,) = streamed.metadata["modules"]["default"]["memory"]["functions"]["main"]
    assert main["io_size_bytes"] == ROW_BYTES + camera.outputs[0].nbytes


def test_a_thousand_images(camera: Camera) -> None:
    for i in range(1000):
        k = i * 7 % len(camera.images)
        (got,) = camera.library.run("default", [camera.images[k]])
        np.testing.assert_array_equal(got, camera.outputs[k], err_msg=f"image {i}")


def test_rows_still_expected(camera: Camera) -> None:
    camera.reset()
    assert camera.push(0) == list(reversed(range(ROWS)))
    camera.assert_done(0)


def test_too_many_rows_change_nothing(camera: Camera) -> None:
    camera.reset()
    camera.push(0)
    assert camera.library.row_buffer("default") is None
    assert camera.push(1) == [TOO_MANY_ROWS] * ROWS
    assert camera.library.push("default", None) == TOO_MANY_ROWS
    camera.assert_done(0)


def test_no_row_is_no_row(camera: Camera) -> None:
    camera.reset()
    row = ctypes.create_string_buffer(camera.images[1, 0, 0].tobytes())
    assert camera.library.push("default", None) == NO_ROW
    assert camera.library.push("default", ctypes.addressof(row)) == ROWS - 1
    assert camera.library.push("default", None) == NO_ROW
    assert camera.push(1, first=1)[-1] == 0
    camera.assert_done(1)


def test_an_image_given_up_halfway(camera: Camera) -> None:
    for rows in range(1, ROWS):
        camera.reset()
        camera.push(rows, first=ROWS - rows)
        camera.reset()
        camera.push(0)
        camera.assert_done(0)


def test_a_workspace_of_the_caller_is_all_the_state(camera: Camera, tmp_path: Path) -> None:
    """Two images in turns, each in memory of its own."""
    model = camera.models[1]
    library = build_library([model], tmp_path, flags=(*FLAGS, "-DTVMGEN_DEFAULT_NO_STATIC_WORKSPACE"))
    spaces = [ctypes.create_string_buffer(model.plan.arena_bytes + 8) for _ in range(2)]
    places = [ctypes.addressof(s) + -ctypes.addressof(s) % 8 for s in spaces]
    for y in range(-1, ROWS + 1):
        for image, place in enumerate(places):
            row = ctypes.create_string_buffer(camera.images[image, 0, y % ROWS].tobytes())
            expected = library.call("default", "push_row_in", ctypes.c_void_p(place), ctypes.c_int32(y), row)
            assert expected == (ROWS - 1 - y if 0 <= y < ROWS else TOO_MANY_ROWS)
    offset = model.report()["outputs"][0]["arena_offset"]
    for image, place in enumerate(places):
        output = camera.outputs[image]
        assert ctypes.string_at(place + offset, output.nbytes) == output.tobytes()


def example_of_the_header(folder: Path) -> str:
    """A loop body that takes one image."""
    (example,) = re.findall(r"Example, .*?:\n\n(.*?)\*/", (folder / "tvmgen_default.h").read_text(), re.DOTALL)
    return f"void on_frame(void) {{ {example} }}"


def example_of_the_page(folder: Path) -> str:
    (block,) = re.findall(r"```c\n(.*?)```", STREAMING.read_text(encoding="utf-8"), re.DOTALL)
    return str(block).replace(".probabilities", ".scores")  # the page has the bundled model


@pytest.mark.parametrize("source", [example_of_the_header, example_of_the_page])
@pytest.mark.parametrize("language", ["c", "c++"])
def test_examples_run(
    source: Callable[[Path], str], language: str, camera: Camera, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """Three images from standard input."""
    build_library([camera.models[1]], tmp_path)
    compiler_name = tool("g++") if language == "c++" else host_compiler()
    (tmp_path / "example.c").write_text(f"""
#include <stdio.h>
#include "tvmgen_default.h"
static void read_line(void* row) {{
  if (fread(row, 1, TVMGEN_DEFAULT_INPUT_ROW_BYTES, stdin) == 0) puts("no line");
}}
static void use(const void* outputs) {{ fwrite(outputs, 1, TVMGEN_DEFAULT_SCORES_SIZE, stdout); }}
{source(tmp_path)}
int main(void) {{
  for (int i = 0; i < 3; i++) on_frame();
  return 0;
}}
""")
    program = str(tmp_path / "example")
    command = [compiler_name, "-x", language, "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"{program}.c"]
    subprocess.run([*command, "-x", "none", str(tmp_path / "models.so"), "-o", program], check=True, timeout=60)
    given = camera.images[:3].tobytes()
    done = subprocess.run([program], input=given, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"".join(o.tobytes() for o in camera.outputs[:3])


def test_command_line(tmp_path: Path, camera: Camera, capsys: pytest.CaptureFixture[str]) -> None:
    model, archive, x, y = (str(tmp_path / name) for name in ("camera.tflite", "m.tar", "x.npz", "y.npz"))
    Path(model).write_bytes(camera_network())
    np.savez(x, inputs=camera.images[:3])
    assert main(["compile", model, "--stream-input", "-o", archive]) == 0
    assert main(["run", archive, "-i", x, "-o", y, "--json", str(tmp_path / "report.json")]) == 0
    np.testing.assert_array_equal(np.load(y)["outputs"], np.stack(camera.outputs[:3]))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ram"]["io_bytes"] == ROW_BYTES + camera.outputs[0].nbytes
    capsys.readouterr()
    assert main(["inspect", archive]) == 0
    out = capsys.readouterr().out
    assert "C name tvmgen_default_push_row" in out
    assert f"input in {ROWS} rows of {ROW_BYTES} B, 3 kept" in out


# More of them, under more options: tests/models/test_fuzz.py, and `make fuzz`.
@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.data())
def test_random_networks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    model = data.draw(networks())
    try:
        models = both(model)
    except OptionError as error:
        assume(not any(x in error.message for x in ("no rows that could come one by one", "reads all of it at once")))
        raise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler.planner, "choose", any_program(data.draw))
        models.append(compile_model(model, BOARD, stream_input=True, module_name="drawn"))
    assume(assert_same(models, tmp_path_factory.mktemp("random")))


def frames(w: TfliteWriter, x: TensorRef) -> None:
    """Four filters over time, for frames of six values."""
    weight = w.const("w", np.arange(-36, 36, dtype=np.int8).reshape(4, 3, 6, 1), scale=0.02)
    y = w.conv2d(x, weight, stride=(2, 1), padding="VALID", out_scale=0.4, out_zp=0)
    w.output(w.conv2d(y, w.const("v", np.ones((3, 5, 1, 4), np.int8), scale=0.1), out_scale=0.2, out_zp=0))


@pytest.mark.parametrize(("shape", "axis"), [((1, 21, 6, 1), 1), ((1, 126), None), ((21, 6), 0)])
def test_rows_behind_a_reshape(shape: tuple[int, ...], axis: int | None, tmp_path: Path) -> None:
    w = TfliteWriter()
    x = w.input("x", list(shape), scale=0.1, zero_point=4)
    frames(w, x if len(shape) == 4 else w.reshape(x, (1, 21, 6, 1)))
    models = both(w.finish(), "ram")
    stream = models[1].report()["stream"]
    assert (stream["rows"], stream["row_bytes"], stream["axis"]) == (21, 6, axis)
    assert stream["kept_rows"] <= 4
    assert assert_same(models, tmp_path)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_rows_of_planes(channels: int, tmp_path: Path) -> None:
    net = Network(channels)
    x = net.writer.input("x", [1, channels, 14, 9], scale=0.05, zero_point=-2)
    x = net.conv(net.writer.transpose(x, (0, 2, 3, 1)), 8, (3, 3), stride=(2, 1))
    net.writer.output(net.conv(x, 2, (3, 3), stride=(2, 2)))
    model = net.writer.finish()
    models = both(model)
    stream = models[1].report()["stream"]
    assert (stream["rows"], stream["row_bytes"], stream["axis"]) == (14, 9 * channels, 2)
    assert models[1].plan.arena_bytes <= models[0].plan.arena_bytes
    with pytest.MonkeyPatch.context() as patch:
        # One layer after the other: all rows are collected first.
        patch.setattr(compiler, "FUSIONS", {"auto": "off"})
        models.append(compile_model(model, BOARD, stream_input=True, module_name="collected"))
    assert models[2].report()["stream"]["kept_rows"] == 14
    assert assert_same(models, tmp_path)


def test_planes_behind_a_reshape() -> None:
    net = Network(6)
    x = net.writer.reshape(net.writer.input("image", [1, 336], scale=0.05, zero_point=-2), (1, 3, 14, 8))
    net.writer.output(net.conv(net.writer.transpose(x, (0, 2, 3, 1)), 6, (3, 3)))
    with pytest.raises(OptionError, match=r"'image', int8 .*, has no rows that could come one by one"):
        compile_model(net.writer.finish(), BOARD, stream_input=True)


def test_nothing_to_stream() -> None:
    w = TfliteWriter()
    x = w.input("features", [1, 64], scale=0.1, zero_point=0)
    w.output(w.fully_connected(x, w.const("w", np.ones((8, 64), np.int8), scale=0.1), out_scale=0.5, name="dense"))
    with pytest.raises(OptionError, match=r"'features', int8 \[1, 64\]: layer '.*' reads all of it at once") as caught:
        compile_model(w.finish(), BOARD, stream_input=True)
    assert caught.value.hints == ("leave out --stream-input: the input then lies in the arena as a whole",)


def test_floats_that_are_quantized_at_once() -> None:
    w = TfliteWriter()
    x = w.quantize(w.input("features", [1, 64], dtype="float32"), 0.1, 0)
    w.output(w.fully_connected(x, w.const("w", np.ones((8, 64), np.int8), scale=0.1), out_scale=0.5))
    with pytest.raises(OptionError, match=r"'features', float32 \[1, 64\]") as caught:
        compile_model(w.finish(), BOARD, stream_input=True)
    assert caught.value.hints[0] == "--quantized-io: rows of int8"


def test_an_image_of_one_row() -> None:
    w = TfliteWriter()
    x = w.input("line", [1, 1, 16, 2], scale=0.1, zero_point=0)
    w.output(w.max_pool2d(x, (1, 2), stride=(1, 2)))
    with pytest.raises(OptionError, match=r"input 'line', int8 \[1, 1, 16, 2\], has no rows that could come one by"):
        compile_model(w.finish(), BOARD, stream_input=True)


def test_two_inputs() -> None:
    w = TfliteWriter()
    a, b = (w.input(name, [1, 8, 8, 2], scale=0.1, zero_point=0) for name in ("left", "right"))
    w.output(w.add(a, b, out_scale=0.2, out_zp=0))
    with pytest.raises(OptionError, match=r"--stream-input: the model has 2 inputs \('left', 'right'\), expected one"):
        compile_model(w.finish(), BOARD, stream_input=True)


def test_options_that_exclude_streaming() -> None:
    with pytest.raises(OptionError, match="--stream-input with --fusion off: .* needs the whole input"):
        compile_model(demo.TFLITE, BOARD, stream_input=True, fusion="off")
    with pytest.raises(OptionError, match="--stream-input and --caller-io exclude each other"):
        compile_model(demo.TFLITE, BOARD, stream_input=True, caller_io=True)
