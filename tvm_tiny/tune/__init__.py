"""Finds the fastest kernels of a model by running candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tvm_tiny import frontend, pipeline
from tvm_tiny.errors import OptionError
from tvm_tiny.schedules.records import Records
from tvm_tiny.targets import resolve
from tvm_tiny.tune.devices import BoardDevice, Device, QemuDevice
from tvm_tiny.tune.session import (
    OBJECTIVES,
    TUNERS,
    Limits,
    Objective,
    Session,
    TaskState,
    Tuner,
)
from tvm_tiny.tune.tasks import TuningTask, extract_tasks

__all__ = ["OBJECTIVES", "TUNERS", "BoardDevice", "Device", "Limits", "QemuDevice", "Records"]
__all__ += ["TaskState", "TuneResult", "TuningTask", "model_tasks", "tune"]


@dataclass(frozen=True)
class TuneResult:
    """What a session found.

    states : per task
    records : for ``compile_model(..., tuning_records=...)``; they lie in the session's folder too
    measured : candidates run in this session; others were known already
    """

    states: tuple[TaskState, ...]
    records: Records
    measured: int

    @property
    def gain(self) -> float:
        """Part of the untuned cost of all tasks that is saved, each weighted by how often the model runs it."""
        known = [s for s in self.states if s.untuned and s.best is not None]
        before = sum(s.task.weight * (s.untuned or 0.0) for s in known)
        after = sum(s.task.weight * min(s.best or 0.0, s.untuned or 0.0) for s in known)
        return 1.0 - after / before if before else 0.0


def model_tasks(model: Any, target: Any = "tinyml", *, quantized_io: bool = False) -> list[TuningTask]:
    """The layers of a model that leave something to choose, each distinct one once.

    Parameters
    ----------
    model, target : as for ``compile_model``
    """
    import tvm

    board = resolve(target)
    source = model if isinstance(model, tvm.IRModule) else frontend.load_model(model)
    with tvm.transform.PassContext(opt_level=3):
        module, program = pipeline.lower(source, board, pipeline.Options(quantized_io=quantized_io))
    return extract_tasks(module, program, board.cpu)


def tune(
    model: Any,
    target: Any = "tinyml",
    *,
    output: Path | str,
    trials: int | None = None,
    seconds: float | None = None,
    tuner: Tuner = "evolutionary",
    objective: Objective | None = None,
    tasks: Sequence[str] = (),
    device: Device | None = None,
    quantized_io: bool = False,
    seed: int = 0,
    on_progress: Callable[[Sequence[TaskState], float | None], None] | None = None,
) -> TuneResult:
    """Measure candidates for a model's kernels and keep the best.

    Every candidate's output is compared with the reference before its cost counts. What is measured is on disk at once:
    the same call goes on where a session ended, however it ended.

    Parameters
    ----------
    model, target, quantized_io : as for ``compile_model``
    output : folder for what is measured and the records
    trials, seconds : when to end; by default when every space is through
    tuner : "evolutionary" is MetaSchedule's search with a model of cost (spaces of a few dozen are measured whole),
        "random", or "gridsearch" for all candidates in order
    objective : what to make small; by default "time" where the device has a clock, else "modelled_cycles": kernels with
        the fewest instructions may move more words in each, which takes longer
    tasks : patterns like "qconv2d*k1x1*"; by default all
    device : what measures; by default the emulated board
    on_progress : called after every image

    Raises
    ------
    TvmTinyError : with what went wrong and what to try
    """
    device = device or QemuDevice(resolve(target))
    objective = objective or ("time" if device.has_clock else "modelled_cycles")
    for name, value, known in (("tuner", tuner, TUNERS), ("objective", objective, OBJECTIVES)):
        if value not in known:
            raise OptionError(f"--{name} {value!r} is unknown", hints=[f"choose one of {', '.join(known)}"])
    if trials is not None and trials < 1:
        raise OptionError(f"--trials {trials}: expected at least 1")
    if objective == "time" and not device.has_clock:
        raise OptionError(
            f"--objective time: device '{device.name}' has no clock",
            hints=["--objective instructions (counted) or modelled_cycles", "--device board"],
        )
    found = model_tasks(model, target, quantized_io=quantized_io)
    chosen = [t for t in found if not tasks or any(fnmatchcase(t.key, pattern) for pattern in tasks)]
    if not chosen:
        hints = [f"known: {t.key}" for t in found] or ["its kernels leave nothing to choose"]
        raise OptionError(f"no task to tune{' matches ' + ', '.join(tasks) if tasks else ''}", hints=hints)
    session = Session(
        chosen,
        resolve(target),
        device,
        Path(output),
        tuner=tuner,
        objective=objective,
        limits=Limits(trials, seconds),
        seed=seed,
        on_progress=on_progress,
    )
    records = session.run()
    return TuneResult(tuple(session.states), records, session.measured_now)
