"""The floor against sums made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tvm_tiny.measure.floor import floor_instructions
from tvm_tiny.targets import CPUS

POINTWISE: dict[str, Any] = {
    "op": "qconv2d", "output_shape": [1, 4, 4, 8], "macs": 4 * 4 * 8 * 16,
    "executed_macs": 4 * 4 * 8 * 16, "input_bytes": 256, "constants_bytes": 160, "output_bytes": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("cortex-m0plus", 2048 + 6 * 128 + 104 + 32),
        ("cortex-m3", 2048 + 2 * 128 + 104 + 32),
        ("cortex-m4", 1024 + 40 + 2 * 128 + 104 + 32),
        ("cortex-m55", 128 + 96 + 26 + 8),
    ],
)
def test_convolution(cpu: str, expected: int) -> None:
    assert floor_instructions(POINTWISE, CPUS[cpu]) == expected


def test_without_macs_there_is_only_memory_to_move() -> None:
    addition = {
        **POINTWISE,
        "op": "qadd",
        "macs": 0,
        "executed_macs": 0,
        "input_bytes": 255,
        "constants_bytes": 0,
        "output_bytes": 127,
    }
    assert floor_instructions(addition, CPUS["cortex-m4"]) == 64 + 32
    assert floor_instructions(addition, CPUS["cortex-m55"]) == 16 + 8


def test_dead_and_repeated_macs_do_not_have_to_be_done() -> None:
    least = floor_instructions(POINTWISE, CPUS["cortex-m3"])
    assert floor_instructions({**POINTWISE, "executed_macs": 3000}, CPUS["cortex-m3"]) == least
    assert floor_instructions({**POINTWISE, "macs": 3000}, CPUS["cortex-m3"]) == least
