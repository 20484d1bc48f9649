"""Cases in batches: which ones they are, and what became of them."""

from __future__ import annotations

import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.fuzz.case import Case, draw_case
from tests.fuzz.firmware import run_on_board
from tests.fuzz.isolated import Died, run_jobs
from tests.fuzz.onnx_check import compare
from tests.fuzz.options import BOARDS
from tests.fuzz.trial import FLAGS, RUN_S, Trial, difference, prepare, try_natively
from tvm_tiny.errors import TvmTinyError

SIZE = 16
COMPILE_S = 60
"""Longest time for one model, of this process and not of the clock."""
CASE_S = 600.0


@dataclass(frozen=True)
class Outcome:
    """What is left of a trial: ``problem`` is "" if all went well."""

    name: str
    problem: str
    flags: tuple[str, ...]
    refused: tuple[str, ...] = ()
    interpreter: str = "none"
    target: str = "none"
    plan: str = "none"
    seconds: dict[str, float] = field(default_factory=dict)


def names_of(batch: int) -> list[str]:
    """The cases of a batch: every third ones are ONNX models, those of every fifth run on an emulated board, too."""
    kind = "onnx" if batch % 3 == 2 else "tflite"
    board = f"@{BOARDS[batch // 5 % len(BOARDS)]}" if batch % 5 == 4 else ""
    return [f"{kind}-{seed}{board}" for seed in range(batch * SIZE, (batch + 1) * SIZE)]


def flags_of(batch: int) -> tuple[str, ...]:
    return FLAGS[batch % len(FLAGS)]


def run_batch(batch: int) -> list[Outcome]:
    """Draw, compile, run and compare the cases of a batch."""
    return run_cases(names_of(batch), flags_of(batch))


def run_cases(names: Sequence[str], flags: tuple[str, ...]) -> list[Outcome]:
    """The same for any cases."""
    trials: list[Trial] = []
    outcomes = []
    for i, name in enumerate(names):
        try:
            case = draw_case(name)
        except Exception:
            outcomes.append(Outcome(name, f"the generator: {traceback.format_exc()}", flags))
            continue
        trials.append(_prepare(case, f"m{i}"))
    _run(trials, flags)
    return [*outcomes, *(_outcome(t, flags) for t in trials)]


def warm_up() -> None:
    """Import what is imported late, so that child processes have it."""
    for name in ("tflite-0", "onnx-0"):
        prepare(draw_case(name), "m")


def problem_of(case: Case, flags: tuple[str, ...]) -> str:
    """What is wrong with one case, in a process of its own; "" if nothing."""
    (result,) = run_jobs([lambda: _alone(case, flags)], CASE_S)
    return f"the compiler: {result}" if isinstance(result, Died) else str(result)


def _alone(case: Case, flags: tuple[str, ...]) -> str:
    trials = [_prepare(case, "m")]
    _run(trials, flags)
    return trials[0].problem


def _prepare(case: Case, module_name: str) -> Trial:
    try:
        with _time_limit(COMPILE_S):
            return prepare(case, module_name)
    except TimeoutError:
        return Trial(case, problem=f"the compiler: not done within {COMPILE_S} s")


def _run(trials: Sequence[Trial], flags: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-fuzz-") as folder:
        (Path(folder) / "host").mkdir()
        try_natively(trials, Path(folder) / "host", flags)
        _ask_onnxruntime(trials)
        _run_on_board([t for t in trials if "@" in t.case.name and t.model is not None and not t.problem], Path(folder))


def _ask_onnxruntime(trials: Sequence[Trial]) -> None:
    waiting = [t for t in trials if t.case.kind == "onnx" and t.expected]
    results = run_jobs([partial(compare, t.case, t.expected[0]) for t in waiting], RUN_S)
    for t, result in zip(waiting, results, strict=True):
        t.interpreter = "none" if result is None else ""
        t.problem = t.problem or (f"onnxruntime: {result}" if isinstance(result, Died) else result or "")


def _run_on_board(trials: Sequence[Trial], folder: Path) -> None:
    """On the emulated board, all at once; one by one where that fails."""
    if not trials:
        return
    models = [t.model for t in trials if t.model is not None]
    start = time.monotonic()
    try:
        results = run_on_board(models, [t.case.sets for t in trials], folder)
    except (TvmTinyError, AssertionError) as error:
        if len(trials) == 1:
            trials[0].problem = f"the board: {error}"
        else:
            half = len(trials) // 2
            _run_on_board(trials[:half], folder)
            _run_on_board(trials[half:], folder)
        return
    for t, outputs in zip(trials, results, strict=True):
        t.on_board = True
        t.seconds["board"] = (time.monotonic() - start) / len(trials)
        t.problem = difference("the board", outputs, t.expected)


def _outcome(t: Trial, flags: tuple[str, ...]) -> Outcome:
    target = f"{t.case.options['target']}{' on QEMU' if t.on_board else ''}"
    return Outcome(t.case.name, t.problem, flags, tuple(t.refused), t.interpreter, target, _plan(t), t.seconds)


def _plan(t: Trial) -> str:
    """How the operators of a plan run."""
    if t.model is None:
        return "none"
    stages = t.model.report()["plan"]["stages"]
    parts, rows = any(s["groups"] for s in stages), any(len(s["operators"]) > 1 for s in stages)
    return "parts of rows" if parts else "interleaved rows" if rows else "layer by layer"


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError when what is within computes for longer; for the main thread."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
