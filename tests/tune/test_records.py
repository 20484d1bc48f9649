"""Records of tuned layers: what compiling makes of them, and of damaged or old ones."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune.fake_device import BOARD, demo_tasks
from tvm_tiny import demo
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import ArtifactError
from tvm_tiny.schedules import KERNEL, Chooser, select
from tvm_tiny.schedules.records import Record, Records, StaleRecordsWarning, fingerprint, load_records, shipped
from tvm_tiny.schedules.task import Task
from tvm_tiny.targets import CPUS
from tvm_tiny.tune import TuningTask

CPU = CPUS["cortex-m7"]


def _records(*entries: Record, cpu: str = "cortex-m7", kernels: str | None = None) -> Records:
    return Records("here", cpu, fingerprint() if kernels is None else kernels, "instructions", entries)


@pytest.fixture(scope="module")
def conv() -> TuningTask:
    return next(t for t in demo_tasks() if t.task.operator == "qconv2d")


def test_there_and_back(conv: TuningTask, tmp_path: Path) -> None:
    records = _records(
        Record(conv.task, {KERNEL: "general"}, 1.0, 2.0), Record(Task("qdense", (1, 2, 3), "x"), {}, 5, 5)
    )
    path = tmp_path / "records.json"
    path.write_text(records.to_json())
    assert load_records(path) == replace(records, source=str(path))
    assert json.loads(path.read_text())["format"] == 1


def test_own_records_decide(conv: TuningTask) -> None:
    records = _records(Record(conv.task, {KERNEL: "general"}, 1.0, 2.0))
    untuned = Chooser()
    select(conv.call, CPU, untuned)
    chosen = records.chooser(conv.call, CPU, untuned)
    assert chosen is not untuned
    assert select(conv.call, CPU, chosen).name != select(conv.call, CPU).name
    # Not for another core, and nothing where defaults were best.
    assert records.chooser(conv.call, CPUS["cortex-m4"], untuned) is untuned
    assert _records(Record(conv.task, {}, 2.0, 2.0)).chooser(conv.call, CPU, untuned) is untuned


def test_a_neighbour_decides_where_its_kernel_is_the_default(conv: TuningTask) -> None:
    untuned = Chooser()
    select(conv.call, CPU, untuned)
    near = replace(conv.task, sizes=(*conv.task.sizes[:-1], conv.task.sizes[-1] * 2))
    far = replace(conv.task, sizes=tuple(8 * s for s in conv.task.sizes))
    same, other = {KERNEL: untuned.taken[KERNEL], "unroll": 2}, {KERNEL: "general"}
    assert _records(Record(near, same, 1.0, 2.0)).chooser(conv.call, CPU, untuned) is not untuned
    assert _records(Record(near, other, 1.0, 2.0)).chooser(conv.call, CPU, untuned) is untuned
    assert _records(Record(far, same, 1.0, 2.0)).chooser(conv.call, CPU, untuned) is untuned


def test_compiling_with_records(conv: TuningTask, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "records.json").write_text(_records(Record(conv.task, {KERNEL: "general"}, 1.0, 2.0)).to_json())
    tuned = compile_model(demo.TFLITE, BOARD, tuning_records=folder)
    untuned = compile_model(demo.TFLITE, BOARD, tuning_records=None)
    kernels = [{layer["kernel"] for layer in model.report()["layers"]} for model in (tuned, untuned)]
    assert kernels[0] != kernels[1]


def test_decisions_that_are_impossible_leave_the_default(conv: TuningTask) -> None:
    impossible = _records(Record(conv.task, {KERNEL: "no such kernel"}, 1.0, 2.0))
    tuned = compile_model(demo.TFLITE, BOARD, tuning_records=impossible)
    assert tuned.files == compile_model(demo.TFLITE, BOARD, tuning_records=None).files


@pytest.mark.parametrize(
    ("records", "says"), [(_records(kernels="old"), "other kernels"), (_records(cpu="cortex-m4"), "cortex-m4")]
)
def test_records_of_something_else_are_left_out_with_a_warning(records: Records, says: str) -> None:
    with pytest.warns(StaleRecordsWarning, match=says):
        compile_model(demo.TFLITE, BOARD, tuning_records=records)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "cpu": "x"}', "[" * 100_000, "\0",
     '{"format": 1, "cpu": "x", "kernels": "y", "objective": "z", "records": [{"task": "?"}]}',
     '{"format": 1, "cpu": "x", "kernels": "y", "objective": "z", "records": 3}',
     '{"format": 1, "cpu": "x", "kernels": "y", "objective": "z", '
     '"records": [{"task": "qdense 1 x", "decisions": {"a": []}, "cost": 1, "untuned": 1}]}',
     '{"format": 1, "cpu": "x", "kernels": "y", "objective": "z", '
     f'"records": [{{"task": "qconv2d 1x2x2x4x4 k1x1 s1x1 valid relu", "decisions": {{}}, "cost": {10**400}}}]}}'],
)  # fmt: skip
def test_damaged_records(text: str, tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match="records.json"):
        load_records(path)


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        compile_model(demo.TFLITE, BOARD, tuning_records=tmp_path / "nothing.json")


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_shipped_records_are_of_these_kernels(cpu: str) -> None:
    records = shipped(cpu)
    assert records is not None
    assert records.cpu == cpu
    assert not records.stale, "kernels have changed: run `make records`"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_model(demo.TFLITE, {"cortex-m4": "qemu-m4", "cortex-m33": "qemu-m33"}.get(cpu, BOARD))


def test_layers_with_more_sizes_are_no_neighbours() -> None:
    form = "k3x3 s1x1 tlbr relu"
    record = Record(Task("qdepthwise_conv2d", (1, 5, 5, 64), form), {KERNEL: "dsp_3x3"}, 1.0, 2.0)
    records = _records(record)
    assert records.lookup(replace(record.task, sizes=(1, 5, 5, 96))) == (record, False)
    # Two outputs for each channel.
    assert records.lookup(replace(record.task, sizes=(1, 5, 5, 64, 128))) is None
