"""A sample of the random models that ``make fuzz`` tries; and the fuzzer itself: it finds, replays, shrinks."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz import batch, trial
from tests.fuzz.case import Case, draw_case, load_case
from tests.fuzz.isolated import Died, run_jobs
from tests.fuzz.shrink import kind_of, shrink
from tests.tflite_writer import TfliteWriter
from tvm_tiny.compiler import CompiledModel, compile_model

FLAGS = ("-O0",)
SAMPLE = 16


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_sample(kind: str) -> None:
    outcomes = batch.run_cases([f"{kind}-{seed}" for seed in range(SAMPLE)], FLAGS)
    problems = [f"python -m tests.fuzz --case {o.name}\n{o.problem}" for o in outcomes if o.problem]
    assert not problems, "\n\n".join(problems)
    # TFLite Micro knows no rounding "single", and onnxruntime is asked about single layers only.
    assert sum(o.interpreter == "" for o in outcomes) >= (SAMPLE // 2 if kind == "tflite" else 1)


@pytest.mark.slow
@pytest.mark.qemu
def test_sample_on_a_board() -> None:
    outcomes = batch.run_cases([f"tflite-{seed}@qemu-m55" for seed in range(4)], FLAGS)
    problems = [f"python -m tests.fuzz --case {o.name}\n{o.problem}" for o in outcomes if o.problem]
    assert not problems, "\n\n".join(problems)
    assert all(o.target.endswith("on QEMU") for o in outcomes)


def test_a_name_is_always_the_same_case(tmp_path: Path) -> None:
    for name in ("tflite-5", "onnx-6", "tflite-7@rp2040"):
        case, again = draw_case(name), draw_case(name)
        assert (case.model, case.options, case.spans) == (again.model, again.options, again.spans)
        replayed = draw_case(name, case.spans)
        assert (replayed.model, replayed.spans) == (case.model, case.spans)
        case.save(tmp_path / name, "something")
        assert f"--replay {tmp_path / name}" in (tmp_path / name / "problem.txt").read_text()
        loaded = load_case(tmp_path / name)
        assert (loaded.model, loaded.options, loaded.spans) == (case.model, case.options, case.spans)
        np.testing.assert_equal(loaded.inputs, case.inputs)


def test_crashes_and_hangs_of_a_child_are_results() -> None:
    jobs: list[Any] = [lambda: 1, lambda: os.kill(os.getpid(), signal.SIGSEGV), partial(time.sleep, 60), lambda: "last"]
    first, crashed, late, last = run_jobs(jobs, 1.0)
    assert (first, last) == (1, "last")
    assert isinstance(crashed, Died)
    assert "SIGSEGV" in str(crashed)
    assert isinstance(late, Died)
    assert "not done within 1 s" in str(late)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("out[0] = (int8_t)(out[0] + 1);", "the compiled model: "),
        ("((int8_t*)0)[0] = 1;", "SIGSEGV"),
        ("for (;;) y = 0;", "not done within 2 s"),
        ("nonsense", "gcc -O0:"),
    ],
)
def test_wrong_code_is_found(added: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a kernel's loop is changed in the C that is built."""
    writer = TfliteWriter()
    x = writer.input("x", (1, 4, 5, 3), 0.05, 3)
    writer.output(writer.max_pool2d(x, (2, 2)))
    inputs = {"x": np.zeros((1, 1, 4, 5, 3), np.int8)}
    case = Case("tflite-0", "tflite", writer.finish(), inputs, {"target": "tinyml/qemu-m3"}, ())
    assert not batch.problem_of(case, FLAGS)

    def compile_wrongly(*arguments: Any, **options: Any) -> CompiledModel:
        model = compile_model(*arguments, **options)
        (path,) = (p for p in model.files if p.endswith("lib0.c"))
        text = model.files[path].decode()
        end = text.index("\n}\n", text.index("qmax_pool2d"))
        changed = f"{text[:end]}\n  {added}{text[end:]}"
        return replace(model, files={**model.files, path: changed.encode()})

    monkeypatch.setattr(trial, "compile_model", compile_wrongly)
    monkeypatch.setattr(trial, "RUN_S", 2.0)
    assert expected in batch.problem_of(case, FLAGS)


def test_shrinking_keeps_what_matters() -> None:
    """Here a model with a depthwise convolution and the option "optimize" is wrong."""

    def problem_of(case: Case) -> str:
        bad = b"depthwise_conv2d" in case.model and "optimize" in case.options
        return "the compiled model: 5 of 7 values differ" if bad else ""

    name = next(f"tflite-{i}" for i in range(1000) if problem_of(draw_case(f"tflite-{i}")))
    small, problem = shrink(draw_case(name), "the compiled model: 1 of 2 values differ", problem_of, 30)
    assert problem
    assert set(small.options) == {"target", "optimize"}
    assert len(small.spans) <= 3


def test_problems_of_one_cause_are_of_one_kind() -> None:
    first = "the compiler: Traceback\n  x\nOverflowError: Python integer 2147483648 out of bounds for int32\n"
    second = "the compiler: Traceback\n  y\nOverflowError: Python integer 4294967296 out of bounds for int32\n"
    assert kind_of(first) == kind_of(second) != kind_of("the compiled model: 5 of 7 values of 'y' differ")
