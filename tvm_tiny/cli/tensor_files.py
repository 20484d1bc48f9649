"""Arrays of ``tvmc run``: read from and written to ``.npz`` files, or made up."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.errors import InputDataError

SINGLE_INPUT = "inputs"
SINGLE_OUTPUT = "outputs"
_SEED = 0
_MAX_BYTES = 1 << 30
Array = NDArray[Any]
Tensor = Mapping[str, Any]


def read_inputs(path: Path, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The arrays of an ``.npz`` file that a model with ``tensors`` takes.

    Arrays by other names are left out, so that a file may hold expected outputs, too; where one of the inputs is
    missing all are given, for the message about it.

    Raises
    ------
    InputDataError : the file is missing, or no ``.npz`` of plain arrays
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise InputDataError(f"--inputs: '{path}' holds one array, expected an .npz file", hints=[_HOW_TO_SAVE])
            with zipfile.ZipFile(stream) as archive:
                arrays = _read_arrays(archive)
    except InputDataError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputDataError(f"--inputs: '{path}' cannot be read: {reason}", hints=[_HOW_TO_SAVE]) from error
    except Exception as error:  # damage makes zipfile, its decompressors and NumPy's parser of headers raise anything
        raise InputDataError(
            f"--inputs: '{path}' is no .npz file of plain arrays ({type(error).__name__})", hints=[_HOW_TO_SAVE]
        ) from error
    names = [tensor["name"] for tensor in tensors]
    if set(names) <= arrays.keys():
        return {name: arrays[name] for name in names}
    if len(names) == 1 and SINGLE_INPUT in arrays:
        return {SINGLE_INPUT: arrays[SINGLE_INPUT]}
    return arrays


def _read_arrays(archive: zipfile.ZipFile) -> dict[str, Array]:
    """All arrays, each of the size that its member has, so that no header has memory taken for what is not there."""
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > _MAX_BYTES:
        raise InputDataError(
            f"--inputs: the arrays have {total:,} bytes, at most {_MAX_BYTES:,} can be taken at once",
            hints=["run the batch in parts"],
        )
    arrays = {}
    for member in members:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(stream)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size or min(shape, default=0) < 0:
                raise ValueError(f"'{member.filename}' is no plain array of {member.file_size} bytes")
        with archive.open(member) as stream:
            # Never pickles: a file from elsewhere could run code.
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


_HOW_TO_SAVE = "save it in Python: numpy.savez('x.npz', inputs=array)"


def make_inputs(fill_mode: str, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """One array per input: zeros, ones, or random values that are the same every time.

    Random integers cover their type's range; random floats cover the range of the integers they are quantized to, or
    [0, 1) where the model takes floats as they are.
    """
    rng = np.random.default_rng(_SEED)
    return {tensor["name"]: _fill(fill_mode, tensor, rng) for tensor in tensors}


def _fill(fill_mode: str, tensor: Tensor, rng: np.random.Generator) -> Array:
    shape, dtype = tuple(tensor["shape"]), np.dtype(tensor["host_dtype"] or tensor["dtype"])
    values: Array
    if fill_mode == "zeros":
        values = np.zeros(shape, dtype)
    elif fill_mode == "ones":
        values = np.ones(shape, dtype)
    elif dtype.kind in "iu":
        values = _random_integers(rng, shape, dtype)
    elif tensor["host_dtype"] is not None:
        codes = _random_integers(rng, shape, np.dtype(tensor["dtype"])).astype(np.int64)
        values = ((codes - tensor["zero_point"]) * tensor["scale"]).astype(dtype)
    else:
        values = rng.random(shape).astype(dtype)
    return values


def _random_integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def named_outputs(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """``outputs``, the only one under the name "outputs", too."""
    named = dict(outputs)
    if len(named) == 1:
        named[SINGLE_OUTPUT] = next(iter(outputs.values()))
    return named


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An ``.npz`` file, the same bytes for the same arrays.

    Not compressed, as the bytes of a deflate stream depend on the zlib in use. ``numpy.savez`` takes names as keyword
    arguments and so cannot store an array named "file", and its bytes depend on the version of Python.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return buffer.getvalue()
