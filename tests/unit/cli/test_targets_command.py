"""``tvmc targets``."""

from __future__ import annotations

import json

import pytest

from tvm_tiny.cli.main import main
from tvm_tiny.targets import board_names


def test_the_table_lists_every_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[1]: line for line in out.splitlines() if "tinyml/" in line and line.startswith("│")}
    assert rows.keys() == {f"tinyml/{name}" for name in board_names()}
    assert "│ cortex-m4     │ dsp    │  64 │    1,024 │    256 │ mps2-an386" in rows["tinyml/nrf52840dk"]
    assert "tinyml alone is tinyml/qemu-m7." in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "--json"]) == 0
    boards = {row["target"]: row for row in json.loads(capsys.readouterr().out)}
    sram = [(m["name"], m["size_bytes"]) for m in boards["tinyml/rp2040"].pop("memories")]
    assert sram == [("flash", 2 << 20), ("sram", 256 << 10), ("sram4", 4096), ("sram5", 4096)]
    assert boards["tinyml/rp2040"] == {
        "target": "tinyml/rp2040",
        "description": "Raspberry Pi Pico, RP2040, Cortex-M0+",
        "cpu": "cortex-m0plus",
        "isa": "scalar",
        "clock_hz": 133_000_000,
        "flash_bytes": 2 * 1024 * 1024,
        "ram_bytes": 264 * 1024,
        "machine": "mps2-an385",
    }
