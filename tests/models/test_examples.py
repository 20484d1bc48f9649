"""The examples run as they stand: each in a folder of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def run_example(name: str, folder: Path) -> str:
    """What it prints; that it ends well is part of the test, and what it asserts itself."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_has_a_test() -> None:
    tested = set(re.findall(r'run_example\("(\w+)"', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.qemu
def test_compile_and_run(tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    output = run_example("compile_and_run", tmp_path)
    assert output.count(" 0 of 80 bytes differ") == 2
    assert re.search(r"^[\d,]+ instructions per inference, [\d,]+ bytes of RAM$", output, re.MULTILINE)


def test_one_pass(tmp_path: Path) -> None:
    before, after = run_example("one_pass", tmp_path).split("# after\n")
    assert "R.nn.pad(" in before
    assert "padding=[0, 0, 0, 0]" in before
    assert "R.nn.pad(" not in after
    assert "padding=[0, 0, 1, 1]" in after


def test_plan_for_nas(tmp_path: Path) -> None:
    output = run_example("plan_for_nas", tmp_path)
    sizes = [int(row[1].replace(",", "")) for row in re.findall(r"^ *([\d.]+) M +([\d,]+) ", output, re.MULTILINE)]
    assert len(sizes) == 12
    assert output.count("too large") == sum(size > 24 * 1024 for size in sizes) > 0
    assert "resolution, width, blocks = [48, 16, 6]" in output


@pytest.mark.qemu
def test_tune(tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    output = run_example("tune", tmp_path)
    found = re.search(r"([\d,]+) modelled cycles untuned, ([\d,]+) with", output)
    assert found is not None
    untuned, tuned = (int(n.replace(",", "")) for n in found.groups())
    assert tuned < 0.8 * untuned
    assert (tmp_path / "records" / "records.json").is_file()


def test_add_operator(tmp_path: Path) -> None:
    output = run_example("add_operator", tmp_path)
    assert "layers: ['lookup', 'maximum']" in output
    assert "bytes that differ from NumPy: 0 of 1200" in output
