"""The exact solver: never worse than its hint, the same on every machine, and ended by what ends the process."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from tvm_tiny.planner import exact
from tvm_tiny.planner.exact import solve
from tvm_tiny.planner.offsets import Problem, peak


def _problem(blocks: int) -> tuple[Problem, list[int]]:
    """Blocks of which half of the pairs collide, one behind the other."""
    rng = random.Random(3)
    sizes = [8 * rng.randint(3, 400) for _ in range(blocks)]
    forbidden: list[dict[int, list[tuple[int, int]]]] = [{} for _ in sizes]
    for i in range(blocks):
        for j in range(i):
            if rng.random() < 0.5:
                forbidden[i][j] = [(-sizes[j], sizes[i])]
                forbidden[j][i] = [(-sizes[i], sizes[j])]
    return Problem(tuple(sizes), tuple(forbidden)), [sum(sizes[:i]) for i in range(blocks)]


def test_its_limit_is_no_clock() -> None:
    """Stopped long before it has finished, alone and beside another one, it has the same answer."""
    problem, hint = _problem(40)
    bound = max(problem.sizes)
    first = solve(problem, hint, bound, effort=0.02)
    assert max(first.bound_bytes, bound) < peak(problem, first.offsets) < peak(problem, hint)
    answers = []
    others = [threading.Thread(target=lambda: answers.append(solve(problem, hint, bound, effort=0.02))) for _ in "ab"]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(300)
    assert answers == [first, first]


def test_ctrl_c_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself it would end its search only, and the plan would depend on when that was."""
    problem, hint = _problem(90)
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    search = exact._solve

    def interrupted(*arguments: object) -> object:
        interrupt.start()
        return search(*arguments)

    monkeypatch.setattr(exact, "_solve", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            solve(problem, hint, max(problem.sizes), effort=1000.0)
    finally:
        interrupt.cancel()
        signal.signal(signal.SIGINT, before)
