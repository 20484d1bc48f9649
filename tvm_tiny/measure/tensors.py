"""Arrays of a user to bytes of a model and back: names, batches, shapes, dtypes, quantization at the edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.errors import InputDataError
from tvm_tiny.quant import reference
from tvm_tiny.quant.params import QuantizeParams

SINGLE_INPUT = "inputs"
Array = NDArray[Any]


def split_inputs(tensors: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]) -> tuple[list[list[bytes]], bool]:
    """Bytes of every input for every inference, and whether a batch was given.

    Parameters
    ----------
    tensors : inputs as the archive's metadata describes them
    arrays : by tensor name, or under "inputs" where there is one input; of the tensor's shape, or with a batch in front

    Raises
    ------
    InputDataError : names, shape, dtype or number of inferences do not fit
    """
    named = _by_name(tensors, arrays)
    sizes: dict[str, int] = {}
    columns = []
    for tensor in tensors:
        array = named[tensor["name"]]
        _check_dtype(tensor, array)
        shape = tuple(tensor["shape"])
        if array.shape == shape:
            array = array[np.newaxis]
            sizes[tensor["name"]] = -1
        elif array.shape[1:] == shape and array.ndim == len(shape) + 1:
            sizes[tensor["name"]] = len(array)
        else:
            raise InputDataError(
                f"input '{tensor['name']}' has shape {list(array.shape)}, expected {list(shape)} or a batch [N, "
                f"{', '.join(map(str, shape))}]"
            )
        columns.append([_to_device(tensor, sample) for sample in array])
    if len(set(sizes.values())) > 1:
        given = ", ".join(f"'{name}' {'1, no batch' if n < 0 else n}" for name, n in sizes.items())
        raise InputDataError(f"inputs have different numbers of inferences: {given}")
    if not columns[0]:
        raise InputDataError("the batch of inputs is empty")
    return [list(row) for row in zip(*columns, strict=True)], -1 not in sizes.values()


def split_rows(stream: Mapping[str, Any], tensor: Mapping[str, Any], data: bytes) -> list[bytes]:
    """The rows of an input as a model takes them one by one.

    Parameters
    ----------
    stream : "rows", "row_bytes" and "axis" of the archive's metadata; ``axis`` None: rows are pieces of ``data``
    tensor : the input's shape and dtype
    data : the whole input
    """
    if stream["axis"] is not None:
        image = np.frombuffer(data, np.dtype(tensor["dtype"])).reshape(tensor["shape"])
        data = np.moveaxis(image, stream["axis"], 0).tobytes()
    size = int(stream["row_bytes"])
    return [data[y * size : (y + 1) * size] for y in range(stream["rows"])]


def join_outputs(
    tensors: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[bytes]], batched: bool
) -> dict[str, Array]:
    """Outputs by tensor name, stacked like the inputs were."""
    outputs = {}
    for i, tensor in enumerate(tensors):
        samples = [_from_device(tensor, row[i]) for row in rows]
        outputs[tensor["name"]] = np.stack(samples) if batched else samples[0]
    return outputs


def _by_name(tensors: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]) -> dict[str, Array]:
    names = [tensor["name"] for tensor in tensors]
    if list(arrays) == [SINGLE_INPUT] and len(names) == 1:
        return {names[0]: arrays[SINGLE_INPUT]}
    missing = [name for name in names if name not in arrays]
    unknown = sorted(arrays.keys() - names)
    if missing or unknown:
        expected = ", ".join(f"'{t['name']}' {_host_dtype(t)} {t['shape']}" for t in tensors)
        problems = [f"no '{name}'" for name in missing] + [f"unknown '{name}'" for name in unknown]
        or_inputs = [f"one input may be called '{SINGLE_INPUT}', too"] if len(names) == 1 else []
        raise InputDataError(
            f"inputs do not fit the model: {', '.join(problems)}", hints=[f"expected: {expected}", *or_inputs]
        )
    return {name: arrays[name] for name in names}


def _host_dtype(tensor: Mapping[str, Any]) -> str:
    return str(tensor["host_dtype"] or tensor["dtype"])


def _check_dtype(tensor: Mapping[str, Any], array: Array) -> None:
    expected = _host_dtype(tensor)
    if array.dtype == np.dtype(expected):
        return
    hints = [f"convert it: array.astype('{expected}')"]
    if array.dtype.kind == "f" and np.dtype(expected).kind in "iu" and tensor["scale"] is not None:
        hints = [
            f"quantize it: clip(round(x / {tensor['scale']}) + {tensor['zero_point']}).astype('{expected}')",
            "a model with float32 inputs, compiled with --quantized-io, is quantized by tvmc run itself",
        ]
    raise InputDataError(f"input '{tensor['name']}' has dtype {array.dtype}, expected {expected}", hints=hints)


def _params(tensor: Mapping[str, Any], dtype: str) -> QuantizeParams:
    # The scale is a float32 value; metadata holds it with all its digits.
    return QuantizeParams(float(tensor["scale"]), int(tensor["zero_point"]), dtype)


def _to_device(tensor: Mapping[str, Any], sample: Array) -> bytes:
    if tensor["host_dtype"] is not None and tensor["host_dtype"] != tensor["dtype"]:
        sample = reference.quantize(_params(tensor, tensor["dtype"]), sample)
    return np.ascontiguousarray(sample.astype(sample.dtype.newbyteorder("<"))).tobytes()


def _from_device(tensor: Mapping[str, Any], data: bytes) -> Array:
    sample: Array = np.frombuffer(data, np.dtype(tensor["dtype"]).newbyteorder("<")).reshape(tensor["shape"])
    sample = sample.astype(np.dtype(tensor["dtype"]))
    if tensor["host_dtype"] is not None and tensor["host_dtype"] != tensor["dtype"]:
        return reference.dequantize(_params(tensor, "float32"), sample)
    return sample
