"""What the compiler knows of a model's inputs and outputs beyond their Relax types.

Kept as one JSON string in the function attribute ``tinyml.io``, so that it survives every pass and ``save_json``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

IO_ATTR = "tinyml.io"
_FLOATS_ATTR = "tinyml.floats"


@dataclass(frozen=True)
class IoTensor:
    """One input or output as the model file names it.

    scale, zero_point : the tensor's quantization when its dtype is an integer, else None
    host_dtype : dtype of the data a user gives or gets; "float32" where ``--quantized-io`` removed a QUANTIZE, then
        the host converts with ``scale`` and ``zero_point``
    """

    name: str
    scale: float | None = None
    zero_point: int | None = None
    host_dtype: str | None = None


@dataclass(frozen=True)
class ModelIo:
    inputs: tuple[IoTensor, ...]
    outputs: tuple[IoTensor, ...]


def with_io(func: Any, io: ModelIo) -> Any:
    """A copy of the Relax function ``func`` that carries ``io``."""
    return func.with_attr(IO_ATTR, json.dumps(asdict(io), sort_keys=True))


def with_float_semantics(func: Any) -> Any:
    """A copy of a QDQ function in which operators between dequantize and quantize mean those of floats (ONNX).

    Without, they mean TFLite Micro's, to the last bit.
    """
    return func.with_attr(_FLOATS_ATTR, True)


def has_float_semantics(func: Any) -> bool:
    """See ``with_float_semantics``."""
    return func.attrs is not None and bool(func.attrs.get(_FLOATS_ATTR, False))


def get_io(func: Any) -> ModelIo:
    """The ``ModelIo`` of a Relax function; invented from parameter names where no front end left one."""
    if func.attrs is not None and IO_ATTR in func.attrs:
        raw = json.loads(str(func.attrs[IO_ATTR]))
        return ModelIo(
            tuple(IoTensor(**t) for t in raw["inputs"]),
            tuple(IoTensor(**t) for t in raw["outputs"]),
        )
    n_outputs = len(func.ret_ty.fields) if hasattr(func.ret_ty, "fields") else 1
    names = ["output"] if n_outputs == 1 else [f"output{i}" for i in range(n_outputs)]
    return ModelIo(
        tuple(IoTensor(p.name) for p in func.params),
        tuple(IoTensor(n) for n in names),
    )
