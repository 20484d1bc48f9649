"""Compiled models as shared libraries of the host, called through ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tvm_tiny.compiler import CompiledModel
from tvm_tiny.measure.tensors import split_rows

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Of gcc; `make test-sanitized` compiles everything that runs in the tests' own process so."""
SANITIZED = bool(os.environ.get("TVM_TINY_SANITIZE"))
limits_address_space = pytest.mark.skipif(SANITIZED, reason="AddressSanitizer needs all of the address space")


def host_compiler() -> str:
    """The host's C compiler; skips the test where there is none, fails it in CI."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        message = "no C compiler on the host (gcc, cc or clang)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return compiler


def sanitizers(compiler: str) -> tuple[str, ...]:
    """Flags for a library of the tests' process: the run-time library that is preloaded is gcc's."""
    return SANITIZERS if SANITIZED and Path(compiler).name in ("gcc", "g++") else ()


def build_library(models: Sequence[CompiledModel], folder: Path, *, flags: Sequence[str] = FLAGS) -> NativeLibrary:
    """Compile the sources of ``models`` (distinct module names) into one shared library in ``folder``."""
    sources = []
    for model in models:
        for path, content in model.files.items():
            if path.endswith((".c", ".h")):
                file = folder / Path(path).name
                file.write_bytes(content)
                if path.endswith(".c"):
                    sources.append(str(file))
    library = folder / "models.so"
    compiler = host_compiler()
    command = [compiler, *flags, *sanitizers(compiler), f"-I{folder}", *sources, "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return NativeLibrary(ctypes.CDLL(str(library)), {m.module_name: m for m in models})


class NativeLibrary:
    """Runs the models of one shared library."""

    def __init__(self, library: ctypes.CDLL, models: dict[str, CompiledModel]) -> None:
        self._library = library
        self._models = models

    def run(self, module_name: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference; the caller's buffers are guarded, and its inputs must come back unchanged."""
        info = self._models[module_name].report()
        given = [np.ascontiguousarray(x) for x in inputs]
        for tensor, x in zip(info["inputs"], given, strict=True):
            assert (list(x.shape), x.dtype.name) == (tensor["shape"], tensor["dtype"])
        if info["stream"] is not None:
            contents = self._run_streamed(module_name, info, given[0])
        elif info["inputs"][0]["arena_offset"] is not None:
            contents = self._run_in_arena(module_name, info, given)
        else:
            contents = self._run(module_name, info, given)
        return [
            np.frombuffer(content, t["dtype"]).reshape(t["shape"])
            for t, content in zip(info["outputs"], contents, strict=True)
        ]

    def _run(self, module_name: str, info: dict[str, Any], given: list[NDArray[Any]]) -> list[bytes]:
        sources = [_Guarded(t["size_bytes"], x.tobytes()) for t, x in zip(info["inputs"], given, strict=True)]
        results = [_Guarded(t["size_bytes"]) for t in info["outputs"]]
        with _sealed(*sources, *results):
            status = self._library[f"tvmgen_{module_name}_run"](_struct(sources), _struct(results))
        assert status == 0
        for source, x in zip(sources, given, strict=True):
            assert source.content() == x.tobytes(), "an input was overwritten"
        return [r.content() for r in results]

    def _run_in_arena(self, module_name: str, info: dict[str, Any], given: list[NDArray[Any]]) -> list[bytes]:
        for place, x in zip(self._places(module_name, info, "inputs"), given, strict=True):
            ctypes.memmove(place, x.tobytes(), x.nbytes)
        assert self._library[f"tvmgen_{module_name}_run"]() == 0
        return self.outputs(module_name)

    def _run_streamed(self, module_name: str, info: dict[str, Any], given: NDArray[Any]) -> list[bytes]:
        """Rows go in alternately as copies and in their place."""
        self.call(module_name, "reset")
        rows = split_rows(info["stream"], info["inputs"][0], given.tobytes())
        for y, content in enumerate(rows):
            row = _Guarded(len(content), content)
            address = row.address
            if y % 2:
                address = self.row_buffer(module_name)
                ctypes.memmove(address, content, len(content))
            with _sealed(row):
                assert self.push(module_name, address) == len(rows) - 1 - y
            assert row.content() == content, "a row was overwritten"
        return self.outputs(module_name)

    def call(self, module_name: str, function: str, *arguments: Any) -> int:
        """What ``tvmgen_<module_name>_<function>`` returns, an int32."""
        return int(self._library[f"tvmgen_{module_name}_{function}"](*arguments))

    def push(self, module_name: str, address: int | None) -> int:
        """Hand in the row at ``address``."""
        return self.call(module_name, "push_row", ctypes.c_void_p(address))

    def row_buffer(self, module_name: str) -> int | None:
        """Where the next row goes."""
        function = self._library[f"tvmgen_{module_name}_row_buffer"]
        function.restype = ctypes.c_void_p
        address: int | None = function()
        return address

    def outputs(self, module_name: str) -> list[bytes]:
        """Outputs as they lie in the arena."""
        info = self._models[module_name].report()
        sizes = [t["size_bytes"] for t in info["outputs"]]
        places = self._places(module_name, info, "outputs")
        return [ctypes.string_at(place, size) for place, size in zip(places, sizes, strict=True)]

    def _places(self, module_name: str, info: dict[str, Any], kind: str) -> list[int]:
        fields = [(f"tensor_{i}", ctypes.c_void_p) for i in range(len(info[kind]))]
        map_function = self._library[f"tvmgen_{module_name}_map_{kind}"]
        map_function.restype = type(kind, (ctypes.Structure,), {"_fields_": fields})
        mapped = map_function()
        return [getattr(mapped, name) for name, _ in fields]


class _Guarded:
    """A buffer between two zones that nobody may write."""

    _ZONE = b"\xa5" * 64

    def __init__(self, size: int, content: bytes | None = None) -> None:
        self._size = size
        middle = content if content is not None else b"\x5a" * size
        self._memory = ctypes.create_string_buffer(self._ZONE + middle + self._ZONE, size + 192)
        offset = -ctypes.addressof(self._memory) % 64
        if offset:
            self._memory.raw = b"\0" * offset + self._ZONE + middle + self._ZONE + b"\0" * (64 - offset)
        self._start = offset

    @property
    def address(self) -> int:
        return ctypes.addressof(self._memory) + self._start + len(self._ZONE)

    def seal(self, closed: bool) -> None:
        """Have AddressSanitizer stop at the first access to a zone, reads included, or let them be looked at again."""
        change = ctypes.CDLL(None)["__asan_poison_memory_region" if closed else "__asan_unpoison_memory_region"]
        zone = len(self._ZONE)
        for start in (self.address - zone, self.address + self._size):
            change(ctypes.c_void_p(start), ctypes.c_size_t(zone))

    def content(self) -> bytes:
        raw = self._memory.raw[self._start :]
        zone = len(self._ZONE)
        assert raw[:zone] == self._ZONE, "bytes in front of a buffer were overwritten"
        assert raw[zone + self._size : zone + self._size + zone] == self._ZONE, "bytes behind a buffer were overwritten"
        return raw[zone : zone + self._size]


@contextlib.contextmanager
def _sealed(*buffers: _Guarded) -> Iterator[None]:
    """With sanitizers, buffers have exactly their size."""
    guarded = buffers if SANITIZED else ()
    for buffer in guarded:
        buffer.seal(True)
    yield
    for buffer in guarded:
        buffer.seal(False)


def _struct(buffers: Sequence[_Guarded]) -> Any:
    array = (ctypes.c_void_p * len(buffers))(*(b.address for b in buffers))
    return ctypes.byref(array)
