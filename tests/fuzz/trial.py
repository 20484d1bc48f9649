"""Compiles cases, runs them on the host, and holds them against the references."""

from __future__ import annotations

import ctypes
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tests.evaluate import evaluate
from tests.fuzz.case import Case
from tests.fuzz.isolated import run_jobs
from tests.native import NativeLibrary, host_compiler
from tests.op_cases import oracle
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import ModelError, TvmTinyError
from tvm_tiny.frontend import load_model
from tvm_tiny.measure.tensors import join_outputs, split_inputs
from tvm_tiny.ops import get_io
from tvm_tiny.passes import LowerQdq

Array = NDArray[Any]
Tensors = dict[str, Array]
RUN_S, BUILD_S = 120.0, 600.0
"""Generous: a busy machine is no finding."""
FLAGS = (
    *(("-O0",),) * 6,
    ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=undefined"),
    ("-O2",),
)
"""Of the host's compiler, taking turns from batch to batch."""
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror")
_DROPPABLE = ("patch", "stream_input", "allow", "ram", "max_overhead", "channel_tiles")


@dataclass
class Trial:
    """What became of a case.

    problem : what is wrong, "" if nothing
    refused : options that had to be left out, by what the compiler said of them
    expected : outputs of every set of inputs, by name
    interpreter : why TFLite Micro did not give them, "" if it did
    on_board : whether it ran on an emulated board, too
    seconds : by step
    """

    case: Case
    problem: str = ""
    refused: list[str] = field(default_factory=list)
    model: CompiledModel | None = None
    expected: list[Tensors] = field(default_factory=list)
    interpreter: str = "none"
    on_board: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


_TOO_FAR_APART = ("fixed-point scaling reaches", "the output's is too small")
"""Of messages about scales for which TFLite Micro has no answer either."""


def prepare(case: Case, module_name: str) -> Trial:
    """Compile a case, and compute what it has to give."""
    trial = Trial(case)
    try:
        with _Timer(trial, "import"):
            module = load_model(case.model, name=case.name)
        with _Timer(trial, "reference"):
            integers = LowerQdq(rounding=case.options.get("rounding", "tflm"))(module)
            integers = relax.transform.DeadCodeElimination()(integers)
            io = get_io(integers["main"])
            trial.expected = [
                dict(
                    zip((t.name for t in io.outputs), evaluate(integers, *(s[t.name] for t in io.inputs)), strict=True)
                )
                for s in case.sets
            ]
        with _Timer(trial, "compile"):
            trial.model = _compile(trial, module, module_name)
    except TimeoutError:
        raise
    except Exception as error:
        if isinstance(error, ModelError) and any(reason in str(error) for reason in _TOO_FAR_APART):
            trial.refused.append(f"model: {error}")
            return trial
        trial.problem = f"the compiler: {traceback.format_exc()}"
    return trial


def _compile(trial: Trial, module: Any, module_name: str) -> CompiledModel:
    """Compile; an option that the compiler refuses for this model is left out."""
    options = dict(trial.case.options)
    while True:
        try:
            return compile_model(module, module_name=module_name, name=trial.case.name, **options)
        except TvmTinyError as error:
            culprit = next((o for o in _DROPPABLE if o in options and f"--{o.replace('_', '-')}" in str(error)), None)
            if culprit is None and type(error).__name__ == "MemoryBudgetError" and "ram" in options:
                culprit = "ram"
            if culprit is None:
                raise
            trial.refused.append(f"{culprit}: {error}")
            del options[culprit]


def try_natively(trials: Sequence[Trial], folder: Path, flags: Sequence[str]) -> None:
    """Build all models into one library of the host, run them in a child process, compare."""
    waiting = [t for t in trials if not t.problem and t.model is not None]
    jobs = [partial(_interpret, t.case) for t in waiting]
    for t, outputs in zip(waiting, run_jobs(jobs, RUN_S), strict=True):
        answered = isinstance(outputs, list)
        t.interpreter = "" if answered else "none" if outputs is None else str(outputs)
        if answered:
            t.problem = difference("the NumPy reference", t.expected, outputs)
    start = time.monotonic()
    message = build([t.model for t in waiting if t.model], folder, flags)
    if message and len(waiting) > 1:
        for i, t in enumerate(waiting):
            (folder / f"alone{i}").mkdir()
            try_natively([t], folder / f"alone{i}", flags)
        return
    if message:
        waiting[0].problem = f"gcc {' '.join(flags)}:\n{message}"
        return
    for t in waiting:
        t.seconds["gcc"] = (time.monotonic() - start) / len(waiting)
    start = time.monotonic()
    results = run_jobs([partial(_run, t, folder / "models.so") for t in waiting], RUN_S)
    for t, outputs in zip(waiting, results, strict=True):
        t.seconds["run"] = (time.monotonic() - start) / len(waiting)
        if isinstance(outputs, list):
            t.problem = t.problem or difference("the compiled model", outputs, t.expected)
        else:
            t.problem = f"the compiled model, gcc {' '.join(flags)}: {outputs}"


def build(models: Sequence[CompiledModel], folder: Path, flags: Sequence[str]) -> str:
    """Compile all sources as one file, which is twice as fast; what the compiler complains of."""
    units = []
    for model in models:
        for path, content in model.files.items():
            if path.endswith((".c", ".h")):
                (folder / Path(path).name).write_bytes(content)
                units += [f'#include "{Path(path).name}"\n'] if path.endswith(".c") else []
    (folder / "unit.c").write_text("".join(units))
    command = [host_compiler(), *_WARNINGS, *flags, "-fPIC", "-shared", "unit.c", "-o", "models.so", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_S, check=False)
    return "" if done.returncode == 0 else done.stderr[-4000:] or "failed"


def _interpret(case: Case) -> Any:
    """TFLite Micro's outputs, or None where it has no say."""
    if case.kind != "tflite" or case.options.get("rounding") == "single":
        return None
    try:
        return [oracle(case.model, s) for s in case.sets]
    except RuntimeError as error:
        return str(error)


def _run(trial: Trial, library: Path) -> Any:
    """Outputs of the compiled model for all sets and the first one again, or what went wrong."""
    model = trial.model
    assert model is not None
    try:
        native = NativeLibrary(ctypes.CDLL(str(library)), {model.module_name: model})
        sets = [*trial.case.sets, trial.case.sets[0]]
        outputs = [on_device(model, s, partial(native.run, model.module_name)) for s in sets]
    except Exception:
        return traceback.format_exc()
    problem = difference("running again", outputs[-1:], outputs[:1])
    return problem or outputs[:-1]


def on_device(model: CompiledModel, inputs: Tensors, run: Callable[[list[Array]], list[Array]]) -> Tensors:
    """Run a model as a user would: values in and out are the model file's, whatever edges were left out."""
    info = model.report()
    (batch,), _ = split_inputs(info["inputs"], inputs)
    arrays = [np.frombuffer(x, t["dtype"]).reshape(t["shape"]) for x, t in zip(batch, info["inputs"], strict=True)]
    return join_outputs(info["outputs"], [[y.tobytes() for y in run(arrays)]], batched=False)


def difference(what: str, got: Sequence[Tensors], expected: Sequence[Tensors]) -> str:
    """Where outputs differ, or ""."""
    for i, (have, want) in enumerate(zip(got, expected, strict=True)):
        if have.keys() != want.keys():
            return f"{what}: outputs {sorted(have)} instead of {sorted(want)}"
        for name, array in want.items():
            if have[name].dtype != array.dtype or have[name].shape != array.shape:
                return (
                    f"{what}: '{name}' is {have[name].dtype} {have[name].shape} instead of {array.dtype} {array.shape}"
                )
            wrong = np.argwhere(have[name] != array)
            if len(wrong):
                at = tuple(int(v) for v in wrong[0])
                return (
                    f"{what}: {len(wrong)} of {array.size} values of '{name}' differ for input set {i}, first at {at}: "
                    f"{have[name][at]} instead of {array[at]}"
                )
    return ""


class _Timer:
    """Adds the time within to a trial's."""

    def __init__(self, trial: Trial, step: str) -> None:
        self._trial, self._step = trial, step

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._trial.seconds[self._step] = time.monotonic() - self._start
