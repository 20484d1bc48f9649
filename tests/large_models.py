"""Compile time and memory of large models: ``python -m tests.large_models`` prints the table of docs/reliability.md."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from tests.fuzz.isolated import run_jobs
from tests.onnx_qdq import OnnxWriter
from tests.tflite_writer import TfliteWriter
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import TvmTinyError

NETWORKS = ("chain", "residual")
_LIMIT_S = 7200.0


def network(kind: str, operators: int) -> bytes:
    """A .tflite of 1x1 convolutions on 4x4x8; in "residual" every third operator adds what two convolutions read.

    All convolutions share their weights, so that a model's size does not hide what operators take.
    """
    writer, rng = TfliteWriter(), np.random.default_rng(0)
    weight = writer.const("weight", rng.integers(-127, 128, (8, 1, 1, 8), dtype=np.int8), 0.01)
    x = kept = writer.input("x", (1, 4, 4, 8), 0.1, 0)
    for i in range(operators):
        if kind == "residual" and i % 3 == 2:
            x = kept = writer.add(x, kept, out_scale=0.1)
        else:
            x = writer.conv2d(x, weight, out_scale=0.1, activation="relu")
    writer.output(x)
    return writer.finish()


def heavy_tflite(size_bytes: int) -> bytes:
    """Two dense layers with so many bytes of weights in all."""
    writer, rng = TfliteWriter(), np.random.default_rng(0)
    width = 4096
    middle = size_bytes // (2 * width)
    x = writer.input("x", (1, width), 0.1, 0)
    for outputs, inputs in ((middle, width), (width, middle)):
        weight = writer.const(f"w{inputs}", rng.integers(-127, 128, (outputs, inputs), dtype=np.int8), 0.001)
        x = writer.fully_connected(x, weight, out_scale=0.1)
    writer.output(x)
    return writer.finish()


def heavy_onnx(size_bytes: int) -> ModelProto:
    """The same in ONNX."""
    width = 4096
    middle = size_bytes // (2 * width)
    writer, rng = OnnxWriter((1, width)), np.random.default_rng(0)
    scale, zero = writer.constant(np.float32(0.1)), writer.constant(np.int8(0))
    weight_scale = writer.constant(np.float32(0.001))
    x = writer.node("QuantizeLinear", ["x", scale, zero], "quantized")
    for name, shape in (("a", (width, middle)), ("b", (middle, width))):
        weight = writer.constant(rng.integers(-127, 128, shape, dtype=np.int8))
        real = writer.node("DequantizeLinear", [x, scale, zero], f"{name}_in")
        weights = writer.node("DequantizeLinear", [weight, weight_scale, zero], f"{name}_weights")
        y = writer.node("MatMul", [real, weights], f"{name}_out")
        x = writer.node("QuantizeLinear", [y, scale, zero], f"{name}_q")
    return writer.model(writer.node("DequantizeLinear", [x, scale, zero], "y"))


def measure(model: Path, target: str = "qemu-m4") -> tuple[str, float, int]:
    """What compiling gives ("compiled" or the error's first line), its CPU time in s, and most memory in bytes.

    For a process of its own: memory is that of its whole life.
    """
    start = time.process_time()
    try:
        compiled = compile_model(model, target)
        text = f"compiled, {sum(map(len, compiled.files.values())):,} B"
    except TvmTinyError as error:
        text = f"{type(error).__name__}: {error.message.splitlines()[0]}"
    return text, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.large_models", description=__doc__)
    parser.add_argument("--operators", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--megabytes", type=int, nargs="*", default=[10, 100], help="of weights")
    options = parser.parse_args()
    _imports()
    print("| model | CPU time s | per operator ms | memory MB | |\n|---|---:|---:|---:|---|")
    for kind in NETWORKS:
        for count in options.operators:
            _print(f"{kind}, {count:,} operators", count, partial(network, kind, count))
    for size in options.megabytes:
        for name, make in (("TFLite", heavy_tflite), ("ONNX", heavy_onnx)):
            _print(f"{name}, {size:,} MB of weights", None, partial(make, size * 1_000_000))
    return 0


def _imports() -> None:
    """What a compilation imports, before the processes that are measured."""
    compile_model(network("residual", 3))


def _print(name: str, operators: int | None, make: partial[bytes] | partial[ModelProto]) -> None:
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-large-") as folder:
        path = Path(folder) / "default"

        def write() -> None:
            model = make()
            path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())

        run_jobs([write], _LIMIT_S)
        # In a process of its own, so that making the model is no part of its memory.
        (result,) = run_jobs([lambda: measure(path)], _LIMIT_S)
    if not isinstance(result, tuple):
        print(f"| {name} | | | | {result} |", flush=True)
        return
    text, seconds, memory = result
    each = f"{1000 * seconds / operators:.1f}" if operators else ""
    print(f"| {name} | {seconds:.1f} | {each} | {memory / 1e6:,.0f} | {text} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
