"""The cycle model against sums made by hand."""

from __future__ import annotations

import pytest

from tvm_tiny.measure import counter
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, LayerCounts
from tvm_tiny.measure.cycles import CORES, cycle_model
from tvm_tiny.targets import CPUS, FlashTiming


def counts(taken: int = 0, words: int = 0, more: dict[str, int] | None = None, **classes: int) -> LayerCounts:
    numbers = tuple(classes.get(name, 0) for name in INSTRUCTION_CLASSES)
    return LayerCounts(sum(numbers), taken, words, numbers, **(more or {}))


# A loop of ten rounds: two loads behind each other, MLA, subs, bne; then a multiple load of four, and a long multiply.
LOOP = counts(
    9, 4, {"pipelined_loads": 10, "load_uses": 10, "issue_pairs": 20},
    load=20, multiply_accumulate=10, alu=10, branch=10, load_multiple=1, long_multiply=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("cortex-m0plus", 40 + 10 + 10 + (10 + 9) + (1 + 4) + 1),
        ("cortex-m3", (40 - 10) + 20 + 10 + (10 + 18) + (1 + 4) + 4),
        ("cortex-m4", (40 - 10) + 10 + 10 + (10 + 18) + (1 + 4) + 1),
        ("cortex-m33", (40 - 10) + 10 + 10 + (10 + 18) + (1 + 4) + 1),
        ("cortex-m7", 20 + 10 + 10 + 10 - 20 + (10 + 9) + 2 + 1),
        ("cortex-m55", 20 + 10 + 10 + 10 + (10 + 18) + 2 + 1),
    ],
)
def test_scalar_loop(cpu: str, expected: float) -> None:
    model = cycle_model(CPUS[cpu])
    assert model is not None
    assert model.cycles(LOOP) == expected


def test_vector_instructions_take_two_beats_unless_they_overlap() -> None:
    model = cycle_model("cortex-m55")
    assert model is not None
    mix = counts(vector_memory=20, vector_multiply=10, loop=10, more={"vector_overlaps": 15})
    assert model.cycles(mix) == 2 * 30 - 15


def test_flash_adds_its_wait_states() -> None:
    model = cycle_model("cortex-m4", FlashTiming(5, 16, 1024, 256))
    assert model is not None
    assert model.cycles(counts(alu=10, more={"code_waits": 2, "data_waits": 3})) == 10 + 5 * 5
    assert model.describe() == "cortex-m4, flash with 5 wait states"


def test_cores_are_known_and_classes_spelt_right() -> None:
    assert set(CORES) <= set(CPUS)
    assert {name for core in CORES.values() for name in core.classes} <= set(INSTRUCTION_CLASSES)
    assert cycle_model("cortex-m85") is None


def test_calls_that_are_one_inference_add_up() -> None:
    once = counts(3, 4, {"pipelined_loads": 5, "load_uses": 6, "issue_pairs": 7, "data_waits": 8}, alu=9, load=10)
    twice = counts(6, 8, {"pipelined_loads": 10, "load_uses": 12, "issue_pairs": 14, "data_waits": 16}, alu=18, load=20)
    assert counter._sum([once, once]) == twice
