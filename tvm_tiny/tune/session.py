"""A tuning session: tasks, a strategy for each, a device that measures, and a log that survives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tvm_tiny import schedules
from tvm_tiny.errors import OutputError
from tvm_tiny.files import write_file
from tvm_tiny.schedules.records import RECORDS_FILE, Record, Records, fingerprint
from tvm_tiny.targets import Board
from tvm_tiny.tune.devices import Device
from tvm_tiny.tune.image import Candidate, Measurement
from tvm_tiny.tune.log import Entry, MeasurementLog
from tvm_tiny.tune.tasks import TuningTask

BATCH = 24
"""Candidates in an image, at most."""

WORTH = 0.002
"""Part of the cost that has to be saved: less is the kernel's place in the image."""

SAME = 0.0005
"""Part of a cost that two runs of one candidate may differ by."""

SMALL = 48
"""Candidates of a space that is measured as a whole: searching it would save nothing."""

Tuner = Literal["evolutionary", "random", "gridsearch"]
TUNERS: tuple[Tuner, ...] = ("evolutionary", "random", "gridsearch")
Objective = Literal["modelled_cycles", "instructions", "size", "time"]
OBJECTIVES: tuple[Objective, ...] = ("modelled_cycles", "instructions", "size", "time")

Decided = dict[str, schedules.Value]


@dataclass
class TaskState:
    """How far a task is.

    untuned, best : cost by the objective; of the defaults, and the least so far
    measured : candidates, those of earlier sessions that were asked for again included
    valid : cost, bytes of code and decisions of each candidate that counts
    """

    task: TuningTask
    untuned: float | None = None
    best: float | None = None
    best_decisions: Decided = field(default_factory=dict)
    measured: int = 0
    invalid: int = 0
    finished: bool = False
    valid: list[tuple[float, int, Decided]] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """Part of the untuned cost that is saved."""
        return 0.0 if not self.untuned or self.best is None else 1.0 - self.best / self.untuned

    def choose(self, slack: float) -> tuple[float, Decided] | None:
        """Cost and decisions to record; no decisions where the defaults will do.

        Parameters
        ----------
        slack : of candidates that cost at most so much more than the best one, the one with the least code is taken,
            the defaults before all others
        """
        if self.untuned is None or self.best is None:
            return None
        enough = self.best * (1.0 + max(slack, WORTH))
        if self.untuned <= enough:
            return self.untuned, {}
        if slack == 0.0:
            return self.best, self.best_decisions
        cost, _, decisions = min((v for v in self.valid if v[0] <= enough), key=lambda v: (v[1], v[0]))
        return cost, decisions

    @property
    def worth_it(self) -> bool:
        """Whether it is more than the kernel's place in the image."""
        chosen = self.choose(0.0)
        return chosen is not None and bool(chosen[1])


@dataclass(frozen=True)
class Limits:
    """When a session ends: candidates in all, seconds; None: when all tasks are finished."""

    trials: int | None = None
    seconds: float | None = None


class Session:
    """Measures candidates of ``tasks`` until limits or spaces end.

    Parameters
    ----------
    folder : log, records and MetaSchedule's database
    slack : as for ``TaskState.choose``
    on_progress : called after every image with all states and the seconds that are left, None without a limit
    """

    def __init__(
        self,
        tasks: Sequence[TuningTask],
        board: Board,
        device: Device,
        folder: Path,
        *,
        tuner: Tuner = "evolutionary",
        objective: Objective = "modelled_cycles",
        slack: float = 0.0,
        limits: Limits = Limits(),  # immutable
        seed: int = 0,
        on_progress: Callable[[Sequence[TaskState], float | None], None] | None = None,
    ) -> None:
        self.states = [TaskState(task) for task in tasks]
        self._board, self._device, self._folder = board, device, folder
        self._tuner, self._objective, self._limits, self._seed = tuner, objective, limits, seed
        self._on_progress = on_progress
        self._slack = slack
        self.measured_now = 0
        self._asked = 0

    def run(self) -> Records:
        """Run to the end, or to Ctrl-C; records of all that is known are written in either case."""
        started = time.monotonic()
        with MeasurementLog(self._folder, fingerprint()) as log, self._interrupt_saves():
            strategies = {state.task.key: self._strategy(state.task) for state in self.states}
            self._measure_defaults(log)
            self._report(started)
            while not self._over(started):
                state = self._next()
                if state is None:
                    break
                room = BATCH if self._limits.trials is None else min(BATCH, self._limits.trials - self._asked)
                decisions = strategies[state.task.key].propose(room)
                if not decisions:
                    state.finished = True
                    continue
                found = self._measure([(state.task, d) for d in decisions], log)
                strategies[state.task.key].learn(decisions, self._learn(state, decisions, found))
                self._save()
                self._report(started)
        return self.records()

    def records(self) -> Records:
        """The best of each task that was measured; decisions are empty where nothing beat the defaults."""
        entries = []
        for state in self.states:
            chosen = state.choose(self._slack)
            if chosen is not None and state.untuned is not None:
                entries.append(Record(state.task.task, chosen[1], chosen[0], state.untuned))
        name = str(self._folder / RECORDS_FILE)
        return Records(name, self._board.cpu.name, fingerprint(), self._objective, tuple(entries))

    def _strategy(self, task: TuningTask) -> Any:
        from tvm_tiny.tune.search import EvolutionarySearch, GridSearch, RandomSearch, open_database

        if self._tuner == "random":
            return RandomSearch(task, self._seed)
        if self._tuner == "gridsearch" or task.size <= SMALL:
            return GridSearch(task)
        return EvolutionarySearch(task, self._seed, open_database(self._folder), self._limits.trials or task.size)

    def _next(self) -> TaskState | None:
        """The task to go on with: the one with the most work in it per trial so far."""
        left = [s for s in self.states if not s.finished]
        if not left:
            return None
        return max(left, key=lambda s: s.task.weight * (s.best or 0.0) / s.measured)

    def _over(self, started: float) -> bool:
        trials, seconds = self._limits.trials, self._limits.seconds
        return (trials is not None and self._asked >= trials) or (
            seconds is not None and time.monotonic() - started >= seconds
        )

    def _measure_defaults(self, log: MeasurementLog) -> None:
        """What is taken untuned, of all tasks together."""
        for first in range(0, len(self.states), BATCH):
            states = self.states[first : first + BATCH]
            found = self._measure([(s.task, dict(s.task.default)) for s in states], log)
            for state, m in zip(states, found, strict=True):
                self._learn(state, [dict(state.task.default)], [m])

    def _measure(self, asked: Sequence[tuple[TuningTask, Decided]], log: MeasurementLog) -> list[Measurement]:
        """Measurements, of this session or of an earlier one."""
        cpu, device = self._board.cpu.name, self._device.name
        entries = [Entry(task.key, cpu, device, d, Measurement("failed")) for task, d in asked]
        new = [(task, e) for (task, _), e in zip(asked, entries, strict=True) if log.get(e.key) is None]
        if new:
            found = self._device.measure([Candidate(task.call, e.decisions) for task, e in new])
            log.add(replace(e, measurement=m) for (_, e), m in zip(new, found, strict=True))
            self.measured_now += len(new)
        self._asked += len(entries)
        results = [log.get(e.key) for e in entries]
        return [r for r in results if r is not None]

    def _learn(
        self, state: TaskState, decisions: Sequence[Decided], found: Sequence[Measurement]
    ) -> list[float | None]:
        costs = [cost_of(m, self._objective) for m in found]
        for d, m, cost in zip(decisions, found, costs, strict=True):
            state.measured += 1
            if cost is None:
                state.invalid += 1
                continue
            state.valid.append((cost, m.code_bytes or 0, dict(d)))
            if d == state.task.default:
                state.untuned = cost
            # A cycle more or less is where an image lies, not what is in it.
            if state.best is None or cost < state.best * (1.0 - SAME):
                state.best, state.best_decisions = cost, dict(d)
        return costs

    def _report(self, started: float) -> None:
        if self._on_progress is not None:
            seconds = self._limits.seconds
            left = None if seconds is None else max(0.0, seconds - (time.monotonic() - started))
            self._on_progress(self.states, left)

    def _save(self) -> None:
        path = self._folder / RECORDS_FILE
        try:
            write_file(path, self.records().to_json().encode())
        except OSError as e:
            raise OutputError(f"'{path}' cannot be written: {e.strerror}", hints=["choose another -o"]) from e

    @contextmanager
    def _interrupt_saves(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._save()


def cost_of(m: Measurement, objective: Objective) -> float | None:
    """What counts of a measurement; None for invalid candidates."""
    if m.status != "ok":
        return None
    values = {
        "instructions": m.instructions,
        "modelled_cycles": m.cycles,
        "size": m.code_bytes,
        "time": m.seconds,
    }
    return values[objective]


def describe(state: TaskState) -> dict[str, Any]:
    """A state as JSON."""
    return {
        "task": state.task.key,
        "weight": state.task.weight,
        "candidates": state.task.size,
        "measured": state.measured,
        "invalid": state.invalid,
        "untuned": state.untuned,
        "best": state.best,
        "decisions": dict(state.best_decisions),
    }
