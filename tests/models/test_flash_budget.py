"""Weights that cannot be in flash are refused before kernels are made; what is stored once or never is not counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tflite_writer import TfliteWriter
from tvm_tiny import planner, schedules
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import MemoryBudgetError

WIDTH = 64
LAYER = WIDTH * WIDTH
BOARD = """
description = "tiny"
cpu = "{cpu}"
clock_hz = 1_000_000
machine = "{machine}"
memory = [
    {{ name = "flash", kind = "flash", address = {start}, size_bytes = {flash}, relative_speed = 1.0 }},
    {{ name = "sram", kind = "sram", address = {ram}, size_bytes = 65_536, relative_speed = 1.0 }},
]
"""


def _board(folder: Path, flash: int, cpu: str = "cortex-m4") -> str:
    path = folder / f"tiny{flash}.toml"
    machine, start = ("mps3-an547", 0x1000_0000) if cpu == "cortex-m55" else ("mps2-an386", 0)
    path.write_text(BOARD.format(flash=flash, cpu=cpu, machine=machine, start=start, ram=start + 0x2000_0000))
    return str(path)


def _weights(count: int) -> list[NDArray[np.int8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(-127, 128, (WIDTH, WIDTH), dtype=np.int8) for _ in range(count)]


def _chain(weights: Sequence[NDArray[np.int8]], *, shared: bool = False) -> bytes:
    """Dense layers; ``shared``: the file has the first weights again and again."""
    writer = TfliteWriter()
    x = writer.input("x", (1, WIDTH), 0.1, 0)
    for i, values in enumerate(weights):
        values = weights[0] if shared else values
        x = writer.fully_connected(x, writer.const(f"w{i}", values, 0.001), out_scale=0.1)
    writer.output(x)
    return writer.finish()


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Calls for which kernels have been made; planning is none of what is to happen."""
    calls: list[object] = []
    select = schedules.select

    def watched(call: object, *rest: object) -> object:
        calls.append(call)
        return select(call, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(schedules, "select", watched)
    monkeypatch.setattr(planner, "choose", lambda *_args, **_options: pytest.fail("it is planned"))
    return calls


@pytest.mark.parametrize("weights", ["flash", "ram"])
def test_a_layer_alone_is_too_large(weights: str, tmp_path: Path, selected: list[object]) -> None:
    expected = f"'default' has about {2 * LAYER:,} bytes of weights; board 'tiny4000' has 4,000 bytes of flash"
    with pytest.raises(MemoryBudgetError, match=re.escape(expected)) as error:
        compile_model(_chain(_weights(2)), _board(tmp_path, 4000), weights=weights)
    assert error.value.hints == ("a board with more flash: tvmc targets",)
    assert selected == []


def test_all_layers_together_are_too_large(tmp_path: Path, selected: list[object]) -> None:
    expected = f"about {20 * LAYER:,} bytes of weights; board 'tiny16384' has 16,384 bytes"
    with pytest.raises(MemoryBudgetError, match=expected):
        compile_model(_chain(_weights(20)), _board(tmp_path, 4 * LAYER))
    assert len(selected) == 4


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_the_last_byte(cpu: str, tmp_path: Path) -> None:
    """What is counted early is never more than what is in flash."""
    model = _chain(_weights(2))
    needed = compile_model(model, _board(tmp_path, 1 << 20, cpu)).report()["constants_bytes"]
    assert compile_model(model, _board(tmp_path, needed, cpu)).report()["constants_bytes"] == needed
    with pytest.raises(MemoryBudgetError, match=f"board 'tiny{needed - 1}' has {needed - 1:,} bytes of flash"):
        compile_model(model, _board(tmp_path, needed - 1, cpu))


def test_equal_weights_are_counted_once(tmp_path: Path) -> None:
    compiled = compile_model(_chain(_weights(20), shared=True), _board(tmp_path, 2 * LAYER))
    assert len(compiled.report()["layers"]) == 20
    assert LAYER <= compiled.report()["constants_bytes"] <= 2 * LAYER


def test_dead_channels_are_not_counted(tmp_path: Path) -> None:
    """Filters of zero: of the layer itself nothing is left but a few, of its reader their columns."""
    first, second, third = _weights(3)
    first[4:] = 0
    second[4:] = 0
    compiled = compile_model(_chain([first, second, third]), _board(tmp_path, LAYER // 2))
    assert 8 * WIDTH <= compiled.report()["constants_bytes"] <= LAYER // 2


def test_layers_of_one_value_may_share(tmp_path: Path) -> None:
    """Their weights differ in the file; what kernels keep of them does not, and so does not count twice."""
    rng = np.random.default_rng(1)
    writer = TfliteWriter()
    x = writer.input("x", (1, WIDTH), 0.1, 0)
    for i in range(3):
        values = rng.integers(1, 3, (WIDTH, WIDTH), dtype=np.int8)
        bias = writer.const(f"b{i}", np.full(WIDTH, 1 << 24, np.int32), 0.001)
        writer.output(writer.fully_connected(x, writer.const(f"w{i}", values, 0.01), bias, out_scale=0.1))
    model = writer.finish()
    needed = compile_model(model, _board(tmp_path, 1 << 20)).report()["constants_bytes"]
    assert needed < 3 * LAYER
    compile_model(model, _board(tmp_path, needed))
