"""Candidates on an emulated core: exact or out, many in one image, and a model that is faster for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.schemas import check
from tests.tune.fake_device import demo_tasks
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules import KERNEL, select
from tvm_tiny.targets import resolve
from tvm_tiny.tune import QemuDevice, image
from tvm_tiny.tune.image import Candidate, checksum

pytestmark = pytest.mark.qemu
BOARD = "qemu-m7"
_UNUSED = "(void)x; (void)packed; (void)scratch; (void)y; (void)slots;"


def test_checksums_see_every_byte() -> None:
    data = np.arange(-100, 100, dtype=np.int8)
    changed = data.copy()
    changed[77] ^= 1
    assert checksum(data) != checksum(changed)


def test_candidates_of_several_layers_in_one_image() -> None:
    tasks = demo_tasks()
    candidates = [Candidate(t.call, d) for t in tasks for d in (dict(t.default), {KERNEL: "general"})]
    candidates.append(Candidate(tasks[0].call, {KERNEL: "no such kernel"}))
    *found, impossible = QemuDevice(resolve(BOARD)).measure(candidates)
    assert impossible.status == "impossible"
    for default, general in zip(found[::2], found[1::2], strict=True):
        assert default.status == general.status == "ok"
        assert default.instructions is not None
        assert general.instructions is not None
        assert default.instructions <= general.instructions
        assert default.cycles
        assert default.code_bytes


def _broken(kernel: Kernel, text: str) -> Kernel:
    """The kernel with a function of ours behind its own name, which does ``text``."""
    (*others, last) = kernel.c_functions
    head, _ = last.text.split("{", 1)
    return replace(kernel, c_functions=(*others, CFunction(last.name, f"{head}{{ {text} }}\n")))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"{_UNUSED} out[0] = 1;", "wrong"),
        (f"{_UNUSED} out[0] = 1; *(volatile int*)0xF0000000 = 1;", "failed"),
        ("this is no C;", "failed"),
    ],
    ids=["wrong bytes", "fault", "does not compile"],
)  # fmt: skip
def test_a_bad_candidate_costs_itself_only(text: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = next(t for t in demo_tasks() if t.task.operator == "qconv2d" and t.default[KERNEL] == "dsp")
    good, bad = dict(task.default), {**task.default, "unroll": 2}

    def breaking(call: Any, cpu: Any, choose: Any) -> Kernel:
        kernel = select(call, cpu, choose)
        return _broken(kernel, text) if choose.taken.get("unroll") == 2 else kernel

    monkeypatch.setattr(image.schedules, "select", breaking)
    found = QemuDevice(resolve(BOARD)).measure([Candidate(task.call, d) for d in (good, bad, {KERNEL: "general"})])
    assert [m.status for m in found] == ["ok", status, "ok"]
    assert found[1].detail


@pytest.mark.slow
def test_tune_compile_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = tmp_path / "records"
    command = ["tune", str(demo.TFLITE), "--target", BOARD, "-o", str(records), "--tasks", "qdense*", "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    check("tune", printed)
    assert all(t["untuned"] >= t["best"] > 0 for t in printed["tasks"])
    assert printed["measured"] == sum(t["candidates"] for t in printed["tasks"])
    assert (records / "progress.svg").read_text().startswith("<svg")
    archive = str(tmp_path / "model.tar")
    assert main(["compile", str(demo.TFLITE), "--target", BOARD, "--tuning-records", str(records), "-o", archive]) == 0
    assert main(command) == 0  # goes on, with nothing left to do
    captured = capsys.readouterr()
    assert json.loads(captured.out.partition("\n")[2])["measured"] == 0
