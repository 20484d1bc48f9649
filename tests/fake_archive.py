"""Model Library Format archives written by hand, so that projects and measurements are tested without the compiler."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCES = Path(__file__).parent / "fake_model"


def tensor(name: str, c_name: str, shape: list[int], dtype: str, **more: Any) -> dict[str, Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    quantization = {"scale": None, "zero_point": None, "host_dtype": None}
    return {
        "name": name, "c_name": c_name, "shape": shape, "dtype": dtype, "size_bytes": size, **quantization, **more
    }  # fmt: skip


def layer(name: str, op: str, shape: list[int], macs: int) -> dict[str, Any]:
    return {
        "name": name, "op": op, "output_shape": shape, "macs": macs, "executed_macs": macs, "kernel": f"layer_{op}",
        "input_bytes": 16, "output_bytes": int(np.prod(shape)), "scratch_bytes": 0, "constants_bytes": 0,
    }  # fmt: skip


DEFAULT = {
    "format": 2,
    "target": "tinyml/qemu-m4",
    "board": "qemu-m4",
    "cpu": "cortex-m4",
    "model": "fake",
    "inputs": [
        tensor("x:0", "x_0", [1, 16], "int8"),
        tensor("bias", "bias", [1, 4], "int8", scale=0.5, zero_point=-3, host_dtype="float32"),
    ],
    "outputs": [tensor("y", "y", [1, 16], "int8", scale=0.25, zero_point=1), tensor("totals", "totals", [4], "int32")],
    "arena_bytes": 64,
    "constants_bytes": 64,
    "macs": 80,
    "executed_macs": 80,
    "layers": [layer("y", "scale", [1, 16], 16), layer("totals", "totals", [4], 64)],
    "order": {"changed": False, "peak_bytes": 64, "proved": True},
    "plan": {},
}
HAND = {
    **DEFAULT,
    "model": "hand",
    "inputs": [tensor("n", "n", [1], "uint8")],
    "outputs": [tensor("out", "out", [1], "uint8")],
    "arena_bytes": 0,
    "constants_bytes": 0,
    "layers": [layer("first", "loop", [1], 0), layer("second", "loop", [1], 0)],
}


def archive_metadata(module: str, tinyml: Mapping[str, Any]) -> bytes:
    """``metadata.json``."""
    metadata = {
        "version": 7,
        "modules": {
            module: {
                "model_name": module, "export_datetime": "2000-01-01 00:00:00Z", "memory": {}, "executors": ["aot"],
                "target": [tinyml["target"]], "style": "full-model", "tinyml": tinyml,
            }
        },
    }  # fmt: skip
    return json.dumps(metadata).encode()


def archive_files(module: str = "default", tinyml: Mapping[str, Any] = DEFAULT) -> dict[str, bytes]:
    """Path in the archive -> content; the sources are those of ``fake_model/`` that belong to ``module``."""
    files = {"metadata.json": archive_metadata(module, tinyml)}
    for source in sorted(SOURCES.glob(f"{module}_lib*.c")):
        files[f"codegen/host/src/{source.name}"] = source.read_bytes()
    for header in ("tvm_tiny_kernels.h", f"tvmgen_{module}.h"):
        files[f"codegen/host/include/{header}"] = (SOURCES / header).read_bytes()
    return files


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write ``files`` as a tar."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def expected_outputs(x: NDArray[np.int8], bias: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """What the fake model computes: x int8 [1, 16], bias int8 [1, 4] -> y int8 [1, 16], totals int32 [4]."""
    text = (SOURCES / "default_lib1.c").read_text()
    numbers = text[text.index("= {") + 3 : text.rindex("}")].split(",")
    weights = np.array([int(n) for n in numbers]).reshape(4, 16)
    y = np.trunc(x.astype(int) * weights[0] / 16).astype(np.int8)
    return y, (bias.reshape(4) + weights @ y.reshape(16).astype(int)).astype(np.int32)
