"""Reads a model file and hands it to the importer of its format."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_tiny.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import tvm

# Position and first bytes of files that users mistake for a model this can read -> what to do.
_OTHER_FORMATS = {
    (0, b"PK\x03\x04"): "this is a zip archive (Keras, PyTorch): convert it to .tflite or export it to .onnx",
    (0, b"\x89HDF"): "this is an HDF5 file (Keras .h5): convert it with tf.lite.TFLiteConverter",
    (4, b"ORTM"): "this is onnxruntime's own ORT format: use the .onnx file that it was made from",
}


def load_model(
    model: str | PathLike[str] | bytes | bytearray | onnx.ModelProto, *, name: str | None = None
) -> tvm.IRModule:
    """Import a TFLite or ONNX model as canonical QDQ Relax; the format is told by the content.

    Parameters
    ----------
    model : path of a file, its content, or an ``onnx.ModelProto``
    name : how to call the model in error messages; default: the file's name

    Returns
    -------
    Module with one function ``main``: float operators between quantize and dequantize, variables named as the file's
    tensors, attribute ``tinyml.io`` with the names and quantization of inputs and outputs.

    Raises
    ------
    ModelError
        the file cannot be read, is damaged, or has dynamic shapes
    UnsupportedOperatorError
        names all operators that cannot be compiled
    """
    if isinstance(model, str | PathLike):
        path = Path(model)
        label = f"'{name or path.name}'"
        return _import(_read(path), label, path.parent)
    if isinstance(model, bytes | bytearray):
        return _import(bytes(model), f"'{name}'" if name else "the model", None)
    from .onnx_importer import import_onnx

    return import_onnx(model, f"'{name}'" if name else "the model")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"no such model file: '{path}'", hints=["check the path"]) from None
    except IsADirectoryError:
        raise ModelError(
            f"'{path}' is a directory, not a model file",
            hints=["give the .tflite or .onnx file itself; a TensorFlow SavedModel must be converted first"],
        ) from None
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {error.strerror}", hints=["check the file's permissions"]) from None


def _import(data: bytes, label: str, folder: Path | None) -> tvm.IRModule:
    if not data:
        raise ModelError(f"{label} is empty", hints=["copy or download the file again"])
    if data[4:8] == b"TFL3":
        from .tflite_importer import import_tflite

        return import_tflite(data, label)
    for (at, magic), hint in _OTHER_FORMATS.items():
        if data.startswith(magic, at):
            raise ModelError(f"{label} is neither a TFLite nor an ONNX model", hints=[hint])
    from .onnx_importer import import_onnx
    from .onnx_reader import parse_onnx

    return import_onnx(parse_onnx(data, label, folder), label)
