"""Makes a failing case smaller: fewer layers, fewer options, smaller numbers, as long as the same goes wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.case import Case, draw_case
from tests.fuzz.draws import HEAD, Spans

Problem = Callable[[Case], str]


def kind_of(problem: str) -> str:
    """What two problems of one cause have in common: who complains, and the error's last line without its numbers."""
    head, _, rest = problem.partition(":")
    lines = [line for line in rest.strip().splitlines() if line.strip()]
    is_error = "Traceback" in rest or "error:" in rest
    last = next((line for line in reversed(lines) if "rror" in line), "") if is_error else ""
    return f"{head.split(',')[0]}: {re.sub(r'[0-9x]+|_[a-z]+', '', last)[:80]}"


def shrink(case: Case, problem: str, problem_of: Problem, limit_s: float) -> tuple[Case, str]:
    """The smallest case found within ``limit_s`` that has a problem of the same kind, and that problem."""
    wanted, until = kind_of(problem), time.monotonic() + limit_s
    found = True
    while found:
        found = False
        for smaller in _smaller(case):
            if time.monotonic() > until:
                return case, problem
            now = problem_of(smaller)
            if now and kind_of(now) == wanted:
                case, problem, found = smaller, now, True
                break
    return case, problem


def _smaller(case: Case) -> Iterator[Case]:
    """Cases to try, the largest steps first."""
    spans = case.spans
    layers = len(spans) - HEAD
    size = layers
    while size:
        for start in range(HEAD, HEAD + layers, size):
            yield from _drawn(case, (*spans[:start], *spans[start + size :]))
        size //= 2
    for option in case.options:
        if option != "target":
            yield replace(case, options={k: v for k, v in case.options.items() if k != option})
    count = len(next(iter(case.inputs.values())))
    if count > 1:
        for i in range(count):
            yield replace(case, inputs={name: array[i : i + 1] for name, array in case.inputs.items()})
    for i in range(len(spans) - 1, 0, -1):
        for j, number in enumerate(spans[i]):
            for less in sorted({0, number // 2, number - 1} - {number}):
                if less >= 0 and number < 1 << 20:
                    span = (*spans[i][:j], less, *spans[i][j + 1 :])
                    yield from _drawn(case, (*spans[:i], span, *spans[i + 1 :]))


def _drawn(case: Case, spans: Spans) -> Iterator[Case]:
    """The case of other numbers, unless that is the same model or none."""
    try:
        smaller = draw_case(case.name, spans, case.options)
    except Exception:
        return
    if smaller.model != case.model and len(smaller.model) <= len(case.model):
        yield smaller
