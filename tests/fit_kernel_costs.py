"""Finds the weights in ``schedules/cortex_m/dsp/cost.py`` again, for when kernels have changed.

    python -m tests.fit_kernel_costs [--layers 160] [--board qemu-m4]

Runs random convolutions on an emulated core, once with micro-kernels wherever there is one and once without, and prints
the weights with which the estimates are nearest to the counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from tests.random_layers import RandomLayers
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.ops import Kernel
from tvm_tiny.schedules import Chooser
from tvm_tiny.schedules.cortex_m.conv2d import Conv2D
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.depthwise_conv2d import DepthwiseConv2D
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.targets import Cpu, load_board

_AT_ONCE = 40
_OPERATORS = {"conv": "qconv2d", "depthwise": "qdepthwise_conv2d", "dense": "qdense"}

Samples = dict[str, list[tuple[Sequence[float], float]]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fit_kernel_costs")
    parser.add_argument("--layers", type=int, default=160)
    parser.add_argument("--board", default="qemu-m4")
    args = parser.parse_args()
    samples: Samples = {}
    core = cost.ARMV6M if load_board(args.board).cpu.is_armv6m else ""
    for kind in (k for k in _OPERATORS if k != "dense" or not core):
        for first in range(0, args.layers, _AT_ONCE):
            _collect(samples, kind, 5000 + first, min(_AT_ONCE, args.layers - first), args.board, core)
    for name, found in samples.items():
        weights, errors = fit(found)
        numbers = ", ".join(f"{w:.3g}" for w in weights)
        print(f'    "{name}": ({numbers}),  # {len(found)} layers, estimate / count {errors[0]:.2f} to {errors[1]:.2f}')


def _collect(samples: Samples, kind: str, seed: int, count: int, board: str, core: str) -> None:
    """Add what is known of ``count`` layers: terms and counts of their general kernels and of their micro-kernels."""
    network = RandomLayers(seed, (kind,), count)
    inputs = {name: values[:1] for name, values in network.inputs().items()}

    def run() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            compiled = compile_model(network.model, f"tinyml/{board}", fusion="off", caller_io=True)
            report = run_model(compiled.export(Path(folder) / "model.tar"), device="qemu", inputs=inputs).report
        # Tensors are numbered as layers were made; the planner may run them in another order.
        ordered = sorted(report.layers, key=lambda layer: int(layer.name.split("_")[1]))
        return [layer.instructions or 0.0 for layer in ordered if layer.op == _OPERATORS[kind]]

    if kind == "dense":
        _collect_dense(samples, run)
        return
    # Of every layer the question whether a micro-kernel pays that was asked last, if the answer led to one.
    asked: list[tuple[ConvLayer, str, Sequence[float]] | None] = []
    rule = {"conv": Conv2D, "depthwise": DepthwiseConv2D}[kind]
    apply = rule.apply

    def worth(layer: ConvLayer, kernel: str, terms: Sequence[float], _: str = "") -> bool:
        asked[-1] = layer, kernel, terms
        return True

    def recorded(self: Any, call: Any, cpu: Cpu, choose: Chooser) -> Kernel:
        asked.append(None)
        kernel = apply(self, call, cpu, choose)
        if choose.taken["kernel"] == "general":
            asked[-1] = None
        return kernel

    with mock.patch.object(cost, "worth", worth), mock.patch.object(rule, "apply", recorded):
        counts = run()
    with _general_kernels():
        general_counts = run()
    for question, ours, general in zip(asked, counts, general_counts, strict=True):
        if question is not None:
            layer, kernel, terms = question
            samples.setdefault(f"{core}general_{kind}", []).append((cost.general_terms(layer), general))
            samples.setdefault(kernel, []).append((terms, ours))


def _general_kernels() -> Any:
    return mock.patch.multiple(Cpu, has_dsp=False, has_mve=False, is_armv6m=False)


def _collect_dense(samples: Samples, run: Callable[[], list[float]]) -> None:
    asked: list[tuple[Sequence[float], str, Sequence[float]]] = []

    def worth(rows: int, length: int, outputs: int, kernel: str, terms: Sequence[float]) -> bool:
        asked.append((cost.general_dense_terms(rows, length, outputs), kernel, terms))
        return True

    with mock.patch.object(cost, "worth_dense", worth):
        counts = run()
    with _general_kernels():
        general_counts = run()
    for (general_terms, kernel, terms), count, general in zip(asked, counts, general_counts, strict=True):
        samples.setdefault("general_dense", []).append((general_terms, general))
        samples.setdefault(kernel, []).append((terms, count))


def fit(samples: list[tuple[Sequence[float], float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Non-negative least squares of relative errors, and the 5th and 95th percentile of estimate over count."""
    terms = np.array([t for t, _ in samples], dtype=np.float64) / np.array([[n] for _, n in samples])
    scale = np.maximum(np.linalg.norm(terms, axis=0), 1e-12)
    matrix, weights = terms / scale, np.zeros(terms.shape[1])
    gram, target = matrix.T @ matrix, matrix.sum(axis=0)
    for _ in range(20_000):  # coordinate descent
        for j in range(len(weights)):
            weights[j] = max(0.0, weights[j] + (target[j] - gram[j] @ weights) / max(gram[j, j], 1e-12))
    found = weights / scale
    return found, np.percentile(terms @ found, [5, 95])


if __name__ == "__main__":
    main()
