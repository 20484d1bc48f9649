"""``load_model``: formats by content, files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm
from onnx import helper

from tests.onnx_models import onnx_model
from tests.tflite_writer import TfliteWriter
from tvm_tiny.errors import ModelError, TvmTinyError
from tvm_tiny.frontend import load_model


def tflite_bytes() -> bytes:
    w = TfliteWriter()
    w.output(w.unary("RELU", w.input("x", [1, 4], 0.5, -3), name="y"))
    return w.finish()


ONNX = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)})


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m"])
def test_the_content_tells_the_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(tflite_bytes())
    assert str(load_model(path)["main"].params[0].ty.dtype) == "int8"
    path.write_bytes(ONNX.SerializeToString())
    assert str(load_model(str(path))["main"].params[0].ty.dtype) == "float32"


def test_models_in_memory() -> None:
    expected = load_model(ONNX)
    tvm.ir.assert_structural_equal(load_model(ONNX.SerializeToString()), expected)
    tvm.ir.assert_structural_equal(load_model(bytearray(tflite_bytes())), load_model(tflite_bytes()))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file: '.*none.tflite'") as error:
        load_model(tmp_path / "none.tflite")
    assert error.value.hints


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a directory, not a model file") as error:
        load_model(tmp_path)
    assert error.value.hints


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match=r"cannot read '.*m.tflite': Permission denied") as error:
        load_model(tmp_path / "m.tflite")
    assert error.value.hints


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").touch()
    with pytest.raises(ModelError, match="'m.tflite' is empty"):
        load_model(tmp_path / "m.tflite")


@pytest.mark.parametrize(
    "content", [b"TFL3", b"hello, world\n" * 50, bytes(range(256)), bytes(1000), b"\x08\x07", tflite_bytes()[:6]]
)
def test_other_content(content: bytes) -> None:
    with pytest.raises(ModelError, match="the model is neither a TFLite nor an ONNX model") as error:
        load_model(content)
    assert error.value.hints


@pytest.mark.parametrize(
    ("magic", "hint"),
    [(b"PK\x03\x04", "zip archive"), (b"\x89HDF\r\n", "HDF5"), (b"\x20\x00\x00\x00ORTM", "ORT format")],
)
def test_known_other_formats_have_a_hint(magic: bytes, hint: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(magic + bytes(100), name="m.keras")
    assert error.value.message == "'m.keras' is neither a TFLite nor an ONNX model"
    assert hint in error.value.hints[0]


def test_truncated_files() -> None:
    data = tflite_bytes()
    for length in range(len(data)):
        with pytest.raises(TvmTinyError):
            load_model(data[:length])
    data = ONNX.SerializeToString()
    # The last field names an operator set that no operator uses: without it, the model is whole.
    whole = len(data) - ONNX.opset_import[-1].ByteSize() - 2
    for length in set(range(len(data))) - {whole}:
        with pytest.raises(TvmTinyError):
            load_model(data[:length])
