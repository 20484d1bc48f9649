"""Strategies: what they propose, and whether they learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune.fake_device import demo_tasks
from tvm_tiny.schedules import KERNEL, Choice, Value
from tvm_tiny.tune.search import EvolutionarySearch, GridSearch, RandomSearch, Strategy, open_database
from tvm_tiny.tune.tasks import Family, TuningTask


@pytest.fixture(scope="module")
def task() -> TuningTask:
    """A space of 1 + 8 * 8 * 8 * 4 candidates; costs are a bowl."""
    numbers = tuple(range(8))
    choices = tuple(Choice(name, numbers, 0) for name in "abc")
    large = Family("dsp", (*choices, Choice("form", ("w", "x", "y", "z"), "w")))
    some = demo_tasks()[0]
    default: dict[str, Value] = {KERNEL: "dsp", "a": 0, "b": 0, "c": 0, "form": "w"}
    return TuningTask(some.task, some.call, 1, default, (large, Family("general", ())))


def _cost(decisions: dict[str, Value]) -> float | None:
    if decisions[KERNEL] == "general":
        return 900.0
    if decisions["form"] == "z":
        return None  # no valid kernel
    away = sum((int(decisions[n]) - best) ** 2 for n, best in (("a", 5), ("b", 2), ("c", 6)))
    return 100.0 + 3 * away + {"w": 30, "x": 0, "y": 60}[str(decisions["form"])]


def _search(strategy: Strategy, trials: int) -> tuple[float, int]:
    """(least cost, candidates proposed); none is proposed twice."""
    seen: list[dict[str, Value]] = []
    costs: list[float] = []
    while len(seen) < trials:
        proposed = strategy.propose(min(16, trials - len(seen)))
        if not proposed:
            break
        assert len(proposed) <= min(16, trials - len(seen))
        seen += proposed
        found = [_cost(d) for d in proposed]
        strategy.learn(proposed, found)
        costs += [c for c in found if c is not None]
    assert len({tuple(sorted(d.items())) for d in seen}) == len(seen)
    return min(costs), len(seen)


def test_grid_and_random_go_through_everything(task: TuningTask) -> None:
    for strategy in (GridSearch(task), RandomSearch(task, 1)):
        assert _search(strategy, 10_000) == (100.0, task.size - 1)


def test_evolution_finds_what_random_draws_do_not(task: TuningTask, tmp_path: Path) -> None:
    trials = 128
    found, proposed = _search(EvolutionarySearch(task, 3, open_database(tmp_path), trials), trials)
    assert proposed == trials
    drawn = sorted(_search(RandomSearch(task, seed), trials)[0] for seed in range(9))
    assert found <= drawn[4], "not better than the median of random draws"
    assert found <= 106
    assert (tmp_path / "database_tuning_record.json").stat().st_size > 0


def test_evolution_ends_with_a_small_space(tmp_path: Path) -> None:
    some = demo_tasks()[0]
    default: dict[str, Value] = {KERNEL: "dsp", "a": 0}
    families = (Family("dsp", (Choice("a", (0, 1, 2), 0),)), Family("general", ()))
    task = TuningTask(some.task, some.call, 1, default, families)
    strategy = EvolutionarySearch(task, 0, open_database(tmp_path), 100)
    seen = []
    while proposed := strategy.propose(8):
        seen += proposed
        strategy.learn(proposed, [1.0] * len(proposed))
        assert len(seen) <= 3
    assert len(seen) == 3


def test_a_database_that_was_being_written(task: TuningTask, tmp_path: Path) -> None:
    """What a killed session wrote to the half, MetaSchedule would not read."""
    _search(EvolutionarySearch(task, 3, open_database(tmp_path), 16), 16)
    whole = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    assert len(whole) == 2
    open_database(tmp_path)  # which is read
    assert sorted(tmp_path.iterdir()) == list(whole)
    for damaged in whole:
        for path, content in whole.items():
            path.write_bytes(content[:-5] if path == damaged else content)
        open_database(tmp_path)
        assert damaged.with_suffix(".damaged").read_bytes() == whole[damaged][:-5]
        for path in tmp_path.iterdir():
            path.unlink()
