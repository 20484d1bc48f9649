"""What schedule rules leave open, and how decisions reach them."""

from __future__ import annotations

import pytest

from tests.tune.fake_device import demo_tasks
from tvm_tiny.schedules import KERNEL, Choice, ChoiceError, Chooser, combinations, select
from tvm_tiny.schedules.task import Task, parse_task, task_of
from tvm_tiny.targets import CPUS


def test_defaults_unless_decided() -> None:
    choose = Chooser()
    assert choose.pick("unroll", (1, 2, 4), 4) == 4
    assert choose.asked == [Choice("unroll", (1, 2, 4), 4)]
    assert choose.taken == {"unroll": 4}
    assert Chooser(decisions={"unroll": 2}).pick("unroll", (1, 2, 4), 4) == 2


def test_a_decision_that_is_not_offered() -> None:
    with pytest.raises(ChoiceError, match="unroll=3"):
        Chooser(decisions={"unroll": 3}).pick("unroll", (1, 2, 4), 4)


def test_the_first_maker_that_gives_anything() -> None:
    def refused() -> str | None:
        choose.pick("lost", (1,), 1)
        return None

    choose = Chooser()
    assert choose.first({"a": refused, "b": lambda: "b", "c": lambda: "c"}) == "b"
    assert choose.asked == [Choice(KERNEL, ("a", "b", "c"), "b")]
    assert Chooser(decisions={KERNEL: "c"}).first({"b": lambda: "b", "c": lambda: "c"}) == "c"
    forced = Chooser(decisions={KERNEL: "a"})
    with pytest.raises(ChoiceError, match="kernel=a"):
        forced.first({"a": lambda: None, "b": lambda: "b"})


def test_combinations_begin_with_the_defaults() -> None:
    found = list(combinations([Choice("a", (1, 2, 3), 2), Choice("b", ("x", "y"), "y")]))
    assert found[0] == {"a": 2, "b": "y"}
    assert len(found) == len({tuple(d.items()) for d in found}) == 6


def test_every_candidate_of_the_demo_model_makes_a_kernel_or_says_why_not() -> None:
    cpu = CPUS["cortex-m7"]
    made = 0
    for task in demo_tasks():
        assert task_of(task.call) == task.task
        assert parse_task(task.key) == task.task
        untuned = Chooser()
        select(task.call, cpu, untuned)
        assert untuned.taken == task.default
        for decisions in task.candidates():
            try:
                chooser = Chooser(decisions=decisions)
                select(task.call, cpu, chooser)
            except ChoiceError:
                continue
            assert {**chooser.taken, **decisions} == chooser.taken
            made += 1
    assert made > 20


def test_how_far_shapes_are_apart() -> None:
    task = Task("qdense", (1, 64, 12), "linear")
    assert task.distance(task) == 0
    assert task.distance(Task("qdense", (1, 128, 6), "linear")) == 2
    assert task.distance(Task("qdense", (1, 64, 12), "relu")) == float("inf")
    with pytest.raises(ValueError, match="no tuning task"):
        parse_task("nonsense")
