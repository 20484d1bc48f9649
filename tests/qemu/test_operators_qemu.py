"""A sample of the operator cases on emulated cores: the first and the last of every operator, cores taking turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.op_cases import OpCase, all_cases, oracle
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import run_model

BOARDS = ("qemu-m3", "qemu-m4", "qemu-m7", "qemu-m33", "qemu-m55", "rp2040")


def sample() -> list[tuple[OpCase, str]]:
    by_operator: dict[str, list[OpCase]] = {}
    for case in all_cases():
        if not case.rtol:
            by_operator.setdefault(case.operator, []).append(case)
    chosen = [
        case for cases in by_operator.values() for case in {cases[0].name: cases[0], cases[-1].name: cases[-1]}.values()
    ]
    return [(case, BOARDS[i % len(BOARDS)]) for i, case in enumerate(chosen)]


@pytest.mark.qemu
@pytest.mark.parametrize(("case", "board"), [pytest.param(c, b, id=f"{c.name}-{b}") for c, b in sample()])
def test_operator(case: OpCase, board: str, tmp_path: Path) -> None:
    archive = compile_model(case.model(), f"tinyml/{board}").export(tmp_path / "model.tar")
    sets = case.inputs()
    batch = {name: np.stack([s[name] for s in sets]) for name in sets[0]}
    result = run_model(archive, device="qemu", inputs=batch)
    for i, inputs in enumerate(sets):
        for name, expected in oracle(case.model(), inputs).items():
            np.testing.assert_array_equal(result.outputs[name][i], expected, strict=True)


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["qemu-m33", "qemu-m55"])
def test_float_input_is_rounded_by_the_fpu(board: str, tmp_path: Path) -> None:
    """Halves go away from zero, as in C: everything else and not-a-number as well."""
    (case,) = (case for case in all_cases() if case.name == "quantize-float32-int8-0")
    shape = case.inputs()[0]["x"].shape
    ends = [0.0625, -0.0625, 0.0624999, 1e30, -1e30, np.inf, -np.inf, np.nan, 15.9375, -16.0625, 0.1875, -0.1875]
    special = np.resize(np.array(ends, np.float32), shape)
    batch = np.stack([s["x"] for s in case.inputs()] + [special])
    archive = compile_model(case.model(), f"tinyml/{board}").export(tmp_path / "model.tar")
    got = run_model(archive, device="qemu", inputs={"x": batch}).outputs["y"]
    q = np.nan_to_num(batch.astype(np.float64) / 0.125, nan=0.0, posinf=1e9, neginf=-1e9)
    expected = np.clip(np.sign(q) * np.floor(np.abs(q) + 0.5), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(got, expected)
