"""Every project's README shows how to call the model from C: the very text compiles, runs and gives the right bytes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fake_archive import archive_files, expected_outputs, write_archive
from tvm_tiny.project import PLATFORMS, generate_project_from_mlf

# Where a project has the model's sources.
EXAMPLES = {
    "native": "model/codegen/host",
    "qemu": "model/codegen/host",
    "board": "model/codegen/host",
    "cmake": ".",
    "zephyr": "module",
}


def test_no_platform_is_left_out() -> None:
    # Arduino's example is a sketch, which its own test compiles.
    assert {*EXAMPLES, "arduino"} == set(PLATFORMS)


def code_blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)


def printed_values(text: str) -> list[tuple[str, int, int]]:
    """Tensor, stored value and real value in thousandths, of every line."""
    found = re.findall(r"^(\w+)\[\d+\] = (-?\d+), is (-?\d+) / 1000$", text, re.MULTILINE)
    assert len(found) == len(text.splitlines())
    return [(name, int(value), int(real)) for name, value, real in found]


def check_fake_outputs(text: str) -> None:
    """What the fake model's example prints."""
    check_fake_values(printed_values(text))


def check_fake_values(values: list[tuple[str, int, int]]) -> None:
    """Outputs of the fake model's example; its input x has no scale, so that i / 16 becomes 0."""
    bias = (np.arange(4, dtype=np.float32) / np.float32(4) / np.float32(0.5) - 3).astype(np.int8)
    y, totals = expected_outputs(np.zeros((1, 16), np.int8), bias)
    expected = [("y", int(q), int(250 * (int(q) - 1))) for q in y.reshape(-1)]
    expected += [("totals", int(q), 1000 * int(q)) for q in totals]
    assert values == expected


@pytest.mark.parametrize(("platform", "place"), EXAMPLES.items())
def test_readme_example(platform: str, place: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    project = tmp_path / "project"
    generate_project_from_mlf(platform, project, archive, {}).close()
    readme = project / "README.md"
    assert "| input `bias` | `bias` | int8 | 1x4 | 4 | 0.5 * (q - (-3)) |" in readme.read_text()
    (text,) = code_blocks(readme, "c")
    (tmp_path / "main.c").write_text(text, encoding="utf-8")
    sources = [str(path) for path in sorted((project / place / "src").glob("*.c"))]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{project / place / 'include'}"]
    subprocess.run([tool("gcc"), *flags, "main.c", *sources, "-o", "example"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(["./example"], cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True)
    check_fake_outputs(done.stdout)
