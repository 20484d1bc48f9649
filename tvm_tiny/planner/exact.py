"""Offsets by constraint programming: the same forbidden distances, solved to proven optimality where time allows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tvm_tiny.planner.offsets import ALIGNMENT, Problem, peak

MAX_PAIRS = 5000  # of blocks that can collide; with more, the solver spends its time on taking in the problem


@dataclass(frozen=True)
class Exact:
    """Offsets in bytes, and what no placement of these blocks can undercut."""

    offsets: tuple[int, ...]
    bound_bytes: int


def solve(problem: Problem, hint: Sequence[int], bound: int, effort: float = 1.0) -> Exact:
    """Improve on ``hint``.

    Parameters
    ----------
    hint : valid offsets; the answer is never worse
    bound : a known lower bound in bytes
    effort : how long to try, in the solver's own deterministic time, about seconds
    """
    limit = peak(problem, hint) // ALIGNMENT
    low = -(-bound // ALIGNMENT)
    if low >= limit or sum(len(f) for f in problem.forbidden) > 2 * MAX_PAIRS:
        return Exact(tuple(hint), min(low, limit) * ALIGNMENT)
    # Here, because the import takes most of a second, which only those who get so far should pay.
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    sizes = [s // ALIGNMENT for s in problem.sizes]
    at = [model.new_int_var(0, limit - s, f"o{i}") for i, s in enumerate(sizes)]
    top = model.new_int_var(low, limit, "top")
    for i, x in enumerate(at):
        model.add(x + sizes[i] <= top)
        model.add_hint(x, hint[i] // ALIGNMENT)
        for j, intervals in problem.forbidden[i].items():
            if j > i:
                allowed, start = [], -limit
                for lo, hi in intervals:
                    allowed.append([start, lo // ALIGNMENT])
                    start = -(-hi // ALIGNMENT)
                allowed.append([start, limit])
                domain = cp_model.Domain.from_intervals([x for x in allowed if x[0] <= x[1]])
                model.add_linear_expression_in_domain(at[j] - x, domain)
    model.minimize(top)
    solver = cp_model.CpSolver()
    # One worker and no clock: the same offsets on every machine.
    solver.parameters.max_deterministic_time = effort
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    # Left to the solver, Ctrl-C would end its search alone, with what it has found until then.
    solver.parameters.catch_sigint_signal = False
    status = _solve(solver, model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Exact(tuple(hint), bound)
    return Exact(tuple(int(solver.value(x)) * ALIGNMENT for x in at), round(solver.best_objective_bound) * ALIGNMENT)


def _solve(solver: Any, model: Any) -> Any:
    """The status; in a thread of its own, as no signal would be looked at before the search ends in the main one."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(solver.solve, model)
        try:
            return done.result()
        except BaseException:
            solver.stop_search()
            raise
