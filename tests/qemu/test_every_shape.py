"""Many random layers of every operator: exact, and never slower than the general kernels. ``make random-layers``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.op_cases.oracle import oracle
from tests.random_layers import KINDS, RandomLayers, slower
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model
from tvm_tiny.measure.run import RunResult
from tvm_tiny.targets import Cpu

LAYERS = int(os.environ.get("TVM_TINY_RANDOM_LAYERS", "0"))
"""Of each operator; the sample that every run tries is in test_micro_kernels.py."""
AT_ONCE = 50


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.skipif(LAYERS == 0, reason="TVM_TINY_RANDOM_LAYERS is not set")
@pytest.mark.parametrize("first", range(0, LAYERS or 1, AT_ONCE))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("board", ["qemu-m4", "qemu-m55"])
def test_random_layers(board: str, kind: str, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = 1000 * KINDS.index(kind) + first
    network = RandomLayers(seed, (kind,), min(AT_ONCE, LAYERS - first))
    inputs = network.inputs()

    def run(name: str) -> RunResult:
        # With inputs and outputs elsewhere there is next to nothing to place.
        compiled = compile_model(network.model, f"tinyml/{board}", name=name, fusion="off", caller_io=True)
        return run_model(compiled.export(tmp_path / "model.tar"), device="qemu", inputs=inputs)

    chosen = run("chosen")
    for i in range(2):
        for name, expected in oracle(network.model, {k: v[i] for k, v in inputs.items()}).items():
            np.testing.assert_array_equal(chosen.outputs[name][i], expected, name, strict=True)
    for level in ("has_dsp", "has_mve", "is_armv6m"):
        monkeypatch.setattr(Cpu, level, False)
    assert not slower(chosen.report, run("general").report)
