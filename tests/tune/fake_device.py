"""A device that knows what candidates cost without running them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from tvm_tiny import demo
from tvm_tiny.schedules import Decisions
from tvm_tiny.tune import TuningTask, model_tasks
from tvm_tiny.tune.image import Candidate, Measurement

BOARD = "qemu-m7"


def demo_tasks() -> list[TuningTask]:
    """The tasks of the bundled model."""
    return model_tasks(demo.TFLITE, BOARD)


def cost(decisions: Decisions) -> float:
    """Any number, the same for the same decisions."""
    return 1000.0 + zlib.crc32(repr(sorted(decisions.items())).encode()) % 1000


class FakeDevice:
    """Counts what it is asked; every 20th candidate is wrong where ``faults`` is set."""

    name, has_clock = "fake", False

    def __init__(self, *, faults: bool = False, note: Path | None = None) -> None:
        self.asked: list[Decisions] = []
        self._faults, self._note = faults, note

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        results = []
        for candidate in candidates:
            self.asked.append(candidate.decisions)
            if self._faults and len(self.asked) % 20 == 0:
                results.append(Measurement("wrong", detail="checksum"))
            else:
                results.append(Measurement("ok", cost(candidate.decisions), 2.0 * cost(candidate.decisions), 100))
        if self._note is not None:
            with self._note.open("a") as file:
                file.writelines(f"{sorted(c.decisions.items())}\n" for c in candidates)
        return results
