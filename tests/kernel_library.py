"""Kernels of single operator calls, compiled into one library of the host and called row by row or as a whole."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx

from tests.native import host_compiler, sanitizers
from tvm_tiny.aot.c_text import generate_functions, guarded_text
from tvm_tiny.ops import Function, Kernel, TirProgram
from tvm_tiny.passes.lower_tir import lower_tir

Array = NDArray[Any]
FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
GUARD = 64
"""Bytes before and behind every output that must not change."""

RowsOf = Callable[[int, int], tuple[int, int]]
"""(input, output row) -> the first input row needed, and the row behind the last."""


@dataclass(frozen=True)
class KernelCall:
    """One kernel with what it computes.

    arrays : activation inputs; images have shape [N, H, W, C]
    outputs : (shape, dtype) of each
    rows_of : for row kernels
    """

    kernel: Kernel
    arrays: tuple[Array, ...]
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    rows_of: RowsOf | None = None


def normalized_call(call: relax.Expr, variables: Sequence[relax.Var]) -> relax.Call:
    """``call`` with its type, as it stands in a function."""
    builder = relax.BlockBuilder()
    with builder.function("main", list(variables)):
        with builder.dataflow():
            result = builder.emit_output(call)
        builder.emit_func_output(result)
    return builder.finalize()["main"].body.blocks[0].bindings[0].value


def c_source(kernels: Sequence[Kernel]) -> str:
    """All kernels as external functions ``k0``, ``k1`` ..."""
    functions = {f"k{i}": k.func.with_attr("global_symbol", f"k{i}") for i, k in enumerate(kernels)}
    declared = [Function(f"k{i}", _read_only(k)) for i, k in enumerate(kernels)]
    program = TirProgram(lower_tir()(tvm.IRModule(functions)), tuple(declared), {}, ())
    texts = [text.replace("static ", "", 1) for text in generate_functions(program).values()]
    prototypes = [text.split(" {", 1)[0] + ";" for text in texts]
    includes = '#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n#include "tvm_tiny_kernels.h"\n'
    called = dict.fromkeys(function for k in kernels for function in k.c_functions)
    return "\n".join([includes, *map(guarded_text, called), *prototypes, *texts])


def driver_source(calls: Sequence[KernelCall]) -> str:
    """A program that runs every kernel on buffers of exactly the right size and prints how many there were."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>", c_source([call.kernel for call in calls])]
    lines += [
        "static void* noise(size_t n) {",
        "  static uint32_t state = 1;",
        "  uint8_t* p = (uint8_t*)malloc(n);",
        "  for (size_t i = 0; i < n; ++i) { state = state * 1664525u + 1013904223u; p[i] = (uint8_t)(state >> 24); }",
        "  return p;",
        "}",
        "static void* copy(const void* from, size_t n) { return memcpy(malloc(n), from, n); }",
    ]
    functions = [
        "const char* __asan_default_options(void);",
        'const char* __asan_default_options(void) { return "detect_leaks=0"; }',
    ]
    body: list[str] = []
    for number, call in enumerate(calls):
        constants = []
        for i, array in enumerate(call.kernel.constants):
            values = ",".join(str(b) for b in array.tobytes())
            lines.append(f"static const uint8_t c{number}_{i}[] = {{{values}}};")
            constants.append(f"copy(c{number}_{i}, sizeof c{number}_{i})")
        scratch = [f"malloc({call.kernel.scratch_bytes})"] if call.kernel.scratch_bytes else []
        row = call.kernel.granularity == "row"
        shape, _ = call.outputs[0]
        outputs = [_bytes(s[2:] if row else s, d) for s, d in call.outputs]
        buffers = [f"malloc({n})" for n in outputs] + constants + scratch
        if call.kernel.granularity == "sum":
            image, rows = call.arrays[0], call.arrays[0].shape[1]
            values = [f"noise({image.nbytes})", *buffers]
            names = [f"p{i}" for i in range(len(values))]
            made = "".join(f"void* {name} = {v}; " for name, v in zip(names, values, strict=True))
            each = f"for (int y = 0; y < {rows}; ++y) k{number}({', '.join(names)}, y, {rows});"
            functions.append(f"static void run_{number}(void) {{ {made}{each} }}")
            body.append(f"  run_{number}();")
            continue
        for y in sorted({0, 1, shape[1] // 2, shape[1] - 1} & set(range(shape[1]))) if row else [0]:
            spans = [_span(call, i, y) for i in range(len(call.arrays))] if row else []
            sizes = [s * _bytes(a.shape[2:], a.dtype.name) for s, a in zip(spans, call.arrays, strict=False)]
            inputs = [f"noise({n})" for n in (sizes if row else [a.nbytes for a in call.arrays])]
            arguments = [*inputs, *buffers, *(map(str, [y, *spans]) if row else ())]
            functions.append(f"static void run_{number}_{y}(void) {{ k{number}({', '.join(arguments)}); }}")
            body.append(f"  run_{number}_{y}();")
    finish = [f'  puts("{len(calls)} kernels");', "  return 0;", "}"]
    return "\n".join([*lines, *functions, "int main(void) {", *body, *finish])


def _span(call: KernelCall, index: int, y: int) -> int:
    assert call.rows_of is not None
    first, stop = call.rows_of(index, y)
    return max(1, stop - first)


def _bytes(shape: Sequence[int], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def support_folder() -> Path:
    """Where ``tvm_tiny_kernels.h`` lies."""
    return Path(str(resources.files("tvm_tiny.schedules").joinpath("cortex_m", "support")))


def run_tool(command: Sequence[str]) -> str:
    """Run a compiler or a program; fails with what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


class KernelLibrary:
    """A shared library with the kernels of some calls."""

    def __init__(self, calls: Sequence[KernelCall], folder: Path) -> None:
        source, library = folder / "kernels.c", folder / "kernels.so"
        source.write_text(c_source([call.kernel for call in calls]))
        compiler = host_compiler()
        options = [*FLAGS, *sanitizers(compiler), "-fPIC", "-shared", f"-I{support_folder()}"]
        run_tool([compiler, *options, str(source), "-o", str(library), "-lm"])
        self._library = ctypes.CDLL(str(library))
        self._calls = calls

    def run(self, index: int, *, ring: bool = False, in_place: int | None = None) -> list[Array]:
        """Outputs of call ``index``.

        Parameters
        ----------
        ring : give row kernels no more rows than they need, in a ring; the rest of memory holds noise
        in_place : the activation input whose memory output 0 gets
        """
        call, function = self._calls[index], self._library[f"k{index}"]
        inputs = [np.ascontiguousarray(a).copy() for a in call.arrays]
        outputs = [_Guarded(shape, dtype) for shape, dtype in call.outputs]
        if in_place is not None:
            outputs[0] = _Guarded(*call.outputs[0], over=inputs[in_place])
            inputs[in_place] = outputs[0].memory
        constants = [np.ascontiguousarray(c) for c in call.kernel.constants]
        scratch = [_Guarded((call.kernel.scratch_bytes,), "uint8")] if call.kernel.scratch_bytes else []
        if call.kernel.granularity == "tensor":
            function(
                *(_pointer(a) for a in inputs),
                *(o.pointer() for o in outputs),
                *map(_pointer, constants),
                *(s.pointer() for s in scratch),
            )
        elif call.kernel.granularity == "sum":
            self._run_sum(function, inputs[0], outputs[0], [*map(_pointer, constants), scratch[0].pointer()], ring)
        else:
            fixed = [*map(_pointer, constants), *(s.pointer() for s in scratch)]
            self._run_rows(call, function, inputs, outputs[0], fixed, ring)
        for guarded in (*outputs, *scratch):
            guarded.check()
        return [o.content() for o in outputs]

    def run_segment(self, index: int, inputs: Sequence[Array], out: int, numbers: Sequence[int]) -> None:
        """Call a kernel of granularity "segment" once.

        Parameters
        ----------
        out : address of column 0 of the output row, which need not exist
        numbers : y, x0, x1 and the numbers of ``ops.ROW_ADDRESS`` of each input
        """
        kernel = self._calls[index].kernel
        constants = [np.ascontiguousarray(c) for c in kernel.constants]
        scratch = [_Guarded((kernel.scratch_bytes,), "uint8")] if kernel.scratch_bytes else []
        pointers = [*map(_pointer, inputs), ctypes.c_void_p(out), *map(_pointer, constants)]
        self._library[f"k{index}"](*pointers, *(s.pointer() for s in scratch), *map(ctypes.c_int32, numbers))
        for guarded in scratch:
            guarded.check()

    def _run_sum(self, function: Any, image: Array, output: _Guarded, fixed: list[Any], ring: bool) -> None:
        for y, row in enumerate(image[0]):
            given, rows = (row, 1) if ring else (image, image.shape[1])
            function(_pointer(given), output.pointer(), *fixed, ctypes.c_int32(y), ctypes.c_int32(rows))

    def _run_rows(
        self, call: KernelCall, function: Any, inputs: list[Array], output: _Guarded, fixed: list[Any], ring: bool
    ) -> None:
        shape, dtype = call.outputs[0]
        row_bytes = shape[2] * shape[3] * np.dtype(dtype).itemsize
        rng = np.random.default_rng(7)
        for n in range(shape[0]):
            for y in range(shape[1]):
                images = [a[n] if a.ndim == 4 else a for a in inputs]
                rows = [image.shape[0] for image in images]
                if ring:
                    assert call.rows_of is not None
                    spans = [call.rows_of(i, y) for i in range(len(images))]
                    images = [_ring(image, span, rng) for image, span in zip(images, spans, strict=True)]
                    rows = [image.shape[0] for image in images]
                out = output.pointer((n * shape[1] + y) * row_bytes)
                function(*(_pointer(i) for i in images), out, *fixed, ctypes.c_int32(y), *map(ctypes.c_int32, rows))


def _ring(image: Array, span: tuple[int, int], rng: np.random.Generator) -> Array:
    """The rows of ``span`` at ``row % length`` of a buffer as long as the span."""
    length = max(1, span[1] - span[0])
    noise = rng.integers(0, 256, length * image[0].nbytes, dtype=np.uint8)
    buffer = noise.view(image.dtype).reshape(length, *image.shape[1:]).copy()
    for row in range(*span):
        buffer[row % length] = image[row]
    return buffer


def _read_only(kernel: Kernel) -> frozenset[str]:
    names = [str(p.name) for p in kernel.func.params]
    assert len(set(names)) == len(names), f"parameters of {kernel.name} share names: {names}"
    pointers = sum(isinstance(p.ty, tirx.BufferType) for p in kernel.func.params)
    end = pointers - (1 if kernel.scratch_bytes else 0)
    return frozenset(names[end - len(kernel.constants) : end])


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class _Guarded:
    """Memory between two zones that nobody may write."""

    def __init__(self, shape: tuple[int, ...], dtype: str, over: Array | None = None) -> None:
        self._shape, self._dtype = shape, dtype
        self._size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        body = over.nbytes if over is not None else self._size
        self._raw = np.full(body + 2 * GUARD, 0xA5, np.uint8)
        self.memory = self._raw[GUARD : GUARD + body]
        if over is not None:
            self.memory = self.memory.view(over.dtype).reshape(over.shape)
            self.memory[...] = over

    def pointer(self, offset: int = 0) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._raw.ctypes.data + GUARD + offset)

    def check(self) -> None:
        assert (self._raw[:GUARD] == 0xA5).all(), "bytes in front of a buffer were written"
        assert (self._raw[-GUARD:] == 0xA5).all(), "bytes behind a buffer were written"

    def content(self) -> Array:
        return self._raw[GUARD : GUARD + self._size].view(self._dtype).reshape(self._shape)
