"""Sessions: limits, what counts, and what is left of one that was ended in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.processes import full_disk
from tests.tune.fake_device import BOARD, FakeDevice, cost, demo_tasks
from tvm_tiny import demo
from tvm_tiny.errors import OptionError, OutputError
from tvm_tiny.schedules.records import Records, fingerprint, load_records
from tvm_tiny.targets import resolve
from tvm_tiny.tune import TuneResult, tune
from tvm_tiny.tune.image import Candidate, Measurement
from tvm_tiny.tune.log import Entry, MeasurementLog
from tvm_tiny.tune.session import Limits, Session, TaskState


def _tune(folder: Path, device: FakeDevice, **options: object) -> TuneResult:
    chosen = {"objective": "instructions", **options}
    return tune(demo.TFLITE, BOARD, output=folder, device=device, **chosen)  # type: ignore[arg-type]


def _frozen(records: Records) -> list[tuple[str, str, float, float]]:
    return [(r.task.key, json.dumps(dict(r.decisions), sort_keys=True), r.cost, r.untuned) for r in records.entries]


@pytest.mark.parametrize("tuner", ["gridsearch", "random", "evolutionary"])
def test_the_best_of_every_space(tuner: str, tmp_path: Path) -> None:
    device = FakeDevice()
    result = _tune(tmp_path, device, tuner=tuner)
    asked = Counter(json.dumps(d, sort_keys=True) for d in device.asked)
    for state in result.states:
        costs = [cost(d) for d in (dict(state.task.default), *state.task.candidates())]
        assert (state.untuned, state.best) == (costs[0], min(costs))
        assert state.measured == state.task.size == len(costs)
    # Tasks share decisions, but no candidate of a task is run twice.
    assert sum(asked.values()) == sum(s.task.size for s in result.states) == result.measured
    assert set(_frozen(load_records(tmp_path / "records.json"))) == set(_frozen(result.records))


def test_a_second_session_measures_nothing_again(tmp_path: Path) -> None:
    first = _tune(tmp_path, FakeDevice())
    device = FakeDevice()
    second = _tune(tmp_path, device)
    assert device.asked == []
    assert second.records == first.records
    assert second.measured == 0


def test_candidates_with_wrong_outputs_do_not_count(tmp_path: Path) -> None:
    clean = _tune(tmp_path / "clean", FakeDevice(), tuner="gridsearch")
    faulty = _tune(tmp_path / "faulty", FakeDevice(faults=True), tuner="gridsearch")
    wrong = sum(s.invalid for s in faulty.states)
    assert wrong == faulty.measured // 20 > 0
    for a, b in zip(clean.states, faulty.states, strict=True):
        assert b.best is not None
        assert a.best is not None
        assert b.best >= a.best


def test_little_of_the_gain_for_much_code() -> None:
    state = TaskState(demo_tasks()[0])
    assert state.choose(0.0) is None
    state.untuned, state.best, state.best_decisions = 100.0, 80.0, {"a": 1}
    state.valid = [(100.0, 50, {}), (80.0, 900, {"a": 1}), (81.0, 300, {"a": 2}), (83.0, 100, {"a": 3})]
    assert state.choose(0.0) == (80.0, {"a": 1})
    assert state.choose(0.02) == (81.0, {"a": 2})
    assert state.choose(0.05) == (83.0, {"a": 3})
    assert state.choose(0.3) == (100.0, {})


def test_limits(tmp_path: Path) -> None:
    device = FakeDevice()
    _tune(tmp_path / "a", device, trials=9)
    assert len(device.asked) == 9
    device = FakeDevice()
    _tune(tmp_path / "b", device, seconds=1e-6)
    assert len(device.asked) == len(demo_tasks())  # the defaults, which everything is held against


def test_only_some_tasks(tmp_path: Path) -> None:
    assert {s.task.task.operator for s in _tune(tmp_path, FakeDevice(), tasks=["qdense*"]).states} == {"qdense"}
    with pytest.raises(OptionError, match="no task to tune matches x") as caught:
        _tune(tmp_path, FakeDevice(), tasks=["x*"])
    assert any("qdense" in hint for hint in caught.value.hints)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"tuner": "x"}, "--tuner 'x'"), ({"objective": "x"}, "--objective 'x'"), ({"trials": 0}, "--trials 0")],
)
def test_options(options: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=says):
        _tune(tmp_path, FakeDevice(), **options)


def test_an_emulator_has_no_time(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--objective time"):
        tune(demo.TFLITE, BOARD, output=tmp_path, objective="time")


def test_interrupted_sessions_keep_what_was_measured(tmp_path: Path) -> None:
    class Interrupted(FakeDevice):
        def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
            if len(self.asked) > 20:
                raise KeyboardInterrupt
            return super().measure(candidates)

    device = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        _tune(tmp_path, device, tuner="gridsearch")
    known = load_records(tmp_path / "records.json")
    assert len(known.entries) == len(demo_tasks())
    again = FakeDevice()
    _tune(tmp_path, again, tuner="gridsearch")
    whole = FakeDevice()
    _tune(tmp_path / "whole", whole, tuner="gridsearch")
    assert len(device.asked) + len(again.asked) == len(whole.asked)


_CHILD = """
import sys, time
from pathlib import Path
from tests.processes import full_disk
from tests.tune.fake_device import BOARD, FakeDevice
from tvm_tiny import demo
from tvm_tiny.tune import tune

class Slow(FakeDevice):
    def measure(self, candidates):
        time.sleep(0.3)
        return super().measure(candidates)

tune(demo.TFLITE, BOARD, output=sys.argv[1], tuner="gridsearch", device=Slow(note=Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_killed_sessions_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    folder, note = tmp_path / "records", tmp_path / "note.txt"
    command = [sys.executable, "-c", _CHILD, str(folder), str(note)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    kills = 0
    while True:
        before = len(note.read_text().splitlines()) if note.exists() else 0
        child = subprocess.Popen(command, env=environment, cwd=tmp_path)
        try:
            deadline = time.monotonic() + 120
            while child.poll() is None and time.monotonic() < deadline:
                now = len(note.read_text().splitlines()) if note.exists() else 0
                if kills < 2 and now >= before + 30:
                    child.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.02)
            child.wait(60)
        finally:
            child.kill()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
    assert kills == 2
    ran = Counter(note.read_text().splitlines())
    log = (folder / "measurements.jsonl").read_text().splitlines()
    total = sum(t.size for t in demo_tasks())
    assert len(log) == total
    # An image whose end the log did not see may have run once more: at most one for each kill.
    assert total <= sum(ran.values()) <= total + 2 * 24


def test_a_line_that_was_being_written(tmp_path: Path) -> None:
    entry = Entry("qdense 1 x", "cortex-m7", "fake", {"a": 1}, Measurement("ok", 5.0))
    with MeasurementLog(tmp_path, "k") as log:
        log.add([entry])
    with log.path.open("ab") as file:
        file.write(b'{"task": "qde')
    with MeasurementLog(tmp_path, "k") as log:
        assert log.get(entry.key) == entry.measurement
        log.add([Entry("qdense 2 x", "cortex-m7", "fake", {}, Measurement("failed"))])
    with MeasurementLog(tmp_path, "k") as log:
        assert len(log.of_task("qdense 2 x", "cortex-m7", "fake")) == 1
    # Of other kernels: kept, and not counted.
    with MeasurementLog(tmp_path, "other") as log:
        assert log.get(entry.key) is None
        assert log.stale == 2


def test_one_session_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvm_tiny.tune.log._WAIT_S", 0.1)
    with MeasurementLog(tmp_path, "k"), pytest.raises(OutputError, match="another tuning session is at work in it"):
        MeasurementLog(tmp_path, "k")
    with MeasurementLog(tmp_path, "k"):
        pass


def test_a_full_disk_ends_a_session_and_loses_nothing(tmp_path: Path) -> None:
    entries = [Entry(f"qdense {i} x", "cortex-m7", "fake", {}, Measurement("ok", float(i))) for i in range(40)]
    with MeasurementLog(tmp_path, "k") as log:
        log.add(entries[:10])
    written = log.path.stat().st_size
    with (
        full_disk(written + 1000),
        pytest.raises(OutputError, match=r"measurements.jsonl' cannot be written: File too large"),
        MeasurementLog(tmp_path, "k") as log,
    ):
        log.add(entries[10:])
    assert log.path.stat().st_size == written + 1000  # which ends in the middle of a line
    with MeasurementLog(tmp_path, "k") as log:
        assert log.get(entries[9].key) == entries[9].measurement
        log.add(entries)
    with MeasurementLog(tmp_path, "k") as log:
        assert [log.get(e.key) for e in entries] == [e.measurement for e in entries]


def test_progress_is_reported(tmp_path: Path) -> None:
    seen = []
    session = Session(
        demo_tasks(),
        resolve(BOARD),
        FakeDevice(),
        tmp_path,
        tuner="gridsearch",
        limits=Limits(seconds=1000),
        on_progress=lambda states, left: seen.append((sum(s.measured for s in states), left)),
    )
    session.run()
    counts = [n for n, _ in seen]
    assert counts == sorted(counts)
    assert all(left is not None and 0 < left <= 1000 for _, left in seen)
    assert session.records().kernels == fingerprint()
