"""The commands and the Python of README and docs/ run as they stand, page by page, on the files of the quick start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.documentation import PAGES, ROOT, Block, blocks, run_page
from tvm_tiny import demo

# What the quick start makes, and other pages begin with.
FILES = ("model.tflite", "x.npz", "model.tar")
RUN = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.fixture(scope="session")
def quick_start_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    model, inputs, archive = FILES
    shutil.copy(demo.TFLITE, folder / model)
    np.savez(folder / inputs, inputs=np.load(demo.TEST_SET)["inputs"][:4])
    command = [Path(sys.executable).parent / "tvmc", "compile", model, "-o", archive]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda p: p.stem)
def test_the_page_runs(page: Path, tmp_path: Path, tool: Callable[[str], str], quick_start_files: Path) -> None:
    for program in ("qemu-system-arm", "arm-none-eabi-gcc", "cmake", "make"):
        tool(program)
    _check_out(tmp_path)
    if page.stem != "quick_start":
        for name in FILES:
            shutil.copy(quick_start_files / name, tmp_path)
    run_page(blocks(page), tmp_path)
    for name in FILES:
        assert (tmp_path / name).is_file(), f"{page.name} does not leave {name}"


def _check_out(folder: Path) -> None:
    """What a fresh clone has after its first `make`: links to the repository; `.venv` is this environment."""
    environment = folder / ".venv"
    environment.mkdir()
    for name in (".ci", "Makefile", "pyproject.toml", "docs", "passes", "schedules", "targets", "tests", "tvm_tiny"):
        (folder / name).symlink_to(ROOT / name)
    for path in Path(sys.prefix).iterdir():
        (environment / path.name).symlink_to(path)
    for stamp in (".run", ".dev"):
        (environment / stamp).unlink(missing_ok=True)
        (environment / stamp).touch()


@pytest.mark.parametrize(
    ("language", "text", "output", "complaint"),
    [
        (
            "sh",
            "tvmc inspect none.tar\ntrue",
            None,
            "(?s)x.md:1: exit code 1.*'none.tar'.*failed: tvmc inspect none.tar",
        ),
        ("sh", "tvmc targets --json | grep no-such-board | cat", None, "(?s)x.md:1: exit code 1.*failed: "),
        ("sh", "echo one", "two\n", "x.md:1: does not print, or not here: two"),
        ("python", "raise SystemExit(3)", None, "x.md:1: exit code 3"),
    ],
)
def test_a_block_that_fails_is_named(
    language: str, text: str, output: str | None, complaint: str, tmp_path: Path
) -> None:
    page = Path("x.md")
    with pytest.raises(AssertionError, match=complaint):
        run_page([Block(page, 1, language, text, None, output), Block(page, 9, "sh", "true", None)], tmp_path)


def test_the_planner_needs_no_tvm(tmp_path: Path) -> None:
    (block,) = (b for b in blocks(ROOT / "docs" / "planner.md") if b.language == "python")
    code = f"{block.text}\nimport sys\nassert 'tvm' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Estimate(ram_bytes=" in done.stdout
