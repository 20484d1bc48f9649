"""Finds the weights in ``schedules/cortex_m/dsp/cost.py`` again, for when kernels have changed.

    python -m tests.fit_kernel_costs [--layers 160] [--board qemu-m4]

Runs random convolutions on an emulated core, once with micro-kernels wherever there is one and once without, and prints
the weights with which the estimates are nearest to the counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from tests.random_layers import RandomLayers
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.schedules import Chooser
from tvm_tiny.schedules.cortex_m import conv2d, depthwise_conv2d
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.targets import Cpu, load_board

_AT_ONCE = 40
_MICRO = {
    "has_dsp": {"conv": "dsp_conv2d", "depthwise": "dsp_depthwise_forms"},
    "is_armv6m": {"conv": "conv2d_pairs", "depthwise": "depthwise_taps"},
}
"""What makes micro-kernels, by what a core has."""
_OPERATORS = {"conv": "qconv2d", "depthwise": "qdepthwise_conv2d", "dense": "qdense"}

Samples = dict[str, list[tuple[tuple[float, ...], float]]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fit_kernel_costs")
    parser.add_argument("--layers", type=int, default=160)
    parser.add_argument("--board", default="qemu-m4")
    args = parser.parse_args()
    samples: Samples = {}
    level = "is_armv6m" if load_board(args.board).cpu.is_armv6m else "has_dsp"
    for kind in (k for k in _OPERATORS if k in _MICRO[level] or level == "has_dsp"):
        for first in range(0, args.layers, _AT_ONCE):
            _collect(samples, kind, 5000 + first, min(_AT_ONCE, args.layers - first), args.board, level)
    for name, found in samples.items():
        weights, errors = fit(found)
        numbers = ", ".join(f"{w:.3g}" for w in weights)
        print(f'    "{name}": ({numbers}),  # {len(found)} layers, estimate / count {errors[0]:.2f} to {errors[1]:.2f}')


def _collect(samples: Samples, kind: str, seed: int, count: int, board: str, level: str) -> None:
    """Add what is known of ``count`` layers: terms and counts of their general kernels and of their micro-kernels."""
    network = RandomLayers(seed, (kind,), count)
    inputs = {name: values[:1] for name, values in network.inputs().items()}
    layers: list[ConvLayer] = []
    micro: dict[int, tuple[str, tuple[float, ...]]] = {}

    def worth(_: ConvLayer, kernel: str, terms: tuple[float, ...], __: str = "") -> bool:
        micro[len(layers) - 1] = (kernel, terms)
        return True

    def run() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            archive = compile_model(network.model, f"tinyml/{board}", fusion="off").export(Path(folder) / "model.tar")
            report = run_model(archive, device="qemu", inputs=inputs).report
        # Tensors are numbered as layers were made; the planner may run them in another order.
        ordered = sorted(report.layers, key=lambda layer: int(layer.name.split("_")[1]))
        return [layer.instructions or 0.0 for layer in ordered if layer.op == _OPERATORS[kind]]

    if kind == "dense":
        _collect_dense(samples, run)
        return
    name = _MICRO[level][kind]
    module = {"conv": conv2d, "depthwise": depthwise_conv2d}[kind]
    select = getattr(module, name)

    def recorded(layer: ConvLayer, choose: Chooser) -> object:
        layers.append(layer)
        made = select(layer, choose)
        kernels = [make() for make in made.values()] if isinstance(made, dict) else [made]
        if all(kernel is None for kernel in kernels):
            micro.pop(len(layers) - 1, None)
        return made

    with mock.patch.object(cost, "worth", worth), mock.patch.object(module, name, recorded):
        counts = run()
    with mock.patch.object(Cpu, level, False):
        general_counts = run()
    assert len(layers) == len(counts) == len(general_counts)
    for i, layer in enumerate(layers):
        plain = layer.params.dilation == (1, 1) or kind == "depthwise"
        if plain:
            general = cost.ARMV6M * (level == "is_armv6m") + f"general_{kind}"
            samples.setdefault(general, []).append((cost.general_terms(layer), general_counts[i]))
        if i in micro:
            samples.setdefault(micro[i][0], []).append((micro[i][1], counts[i]))


def _collect_dense(samples: Samples, run: Callable[[], list[float]]) -> None:
    sizes: list[tuple[int, int, int]] = []
    with mock.patch.object(cost, "worth_dense", lambda *size: sizes.append(size) or True):
        counts = run()
    with mock.patch.object(Cpu, "has_dsp", False):
        general_counts = run()
    for size, count, general in zip(sizes, counts, general_counts, strict=True):
        samples.setdefault("general_dense", []).append((cost.general_dense_terms(*size), general))
        samples.setdefault("dense", []).append((cost.dense_terms(*size), count))


def fit(samples: list[tuple[tuple[float, ...], float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
