"""The commands and the Python of README and docs/ run as they stand, page by page, on the files of the quick start."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documentation import (
    ARCHIVE,
    INPUTS,
    MODEL,
    PAGES,
    PICTURES,
    PICTURES_PAGE,
    ROOT,
    Block,
    blocks,
    check_out,
    make_files,
    run_page,
)

SVG = "{http://www.w3.org/2000/svg}"
RUN = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    make_files(folder)
    return folder


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda p: p.stem)
def test_the_page_runs(page: Path, tmp_path: Path, tool: Callable[[str], str], files: Path) -> None:
    for program in ("qemu-system-arm", "arm-none-eabi-gcc", "cmake", "make"):
        tool(program)
    check_out(tmp_path)
    if page.stem != "quick_start":
        shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    run_page(blocks(page), tmp_path)
    made = tmp_path
    if page.stem == "quick_start":
        made = tmp_path / "build" / "start"
        assert {path.name for path in made.iterdir()} >= {MODEL, INPUTS, ARCHIVE}
    _check_c([block for block in blocks(page) if block.language == "c"], made, tool("gcc"))
    if page == PICTURES_PAGE:
        drawn = {path.name: path for path in tmp_path.glob("*.svg")}
        assert sorted(drawn) == sorted(path.name for path in PICTURES.iterdir())
        for name, path in drawn.items():
            assert _words(path) == _words(PICTURES / name), f"{name} is out of date: make pictures"


def _check_c(parts: list[Block], folder: Path, gcc: str) -> None:
    """C that uses a model compiles with the header of the page's last one; other functions are the reader's."""
    (folder / "c").mkdir()
    with tarfile.open(folder / ARCHIVE) as archive:
        for name in (n for n in archive.getnames() if n.endswith(".h")):
            content = archive.extractfile(name)
            assert content
            (folder / "c" / Path(name).name).write_bytes(content.read())
    for block in parts:
        command = [gcc, "-std=c99", "-Wall", "-Werror", "-Wno-implicit-function-declaration", "-fsyntax-only", "-Ic"]
        done = subprocess.run(
            [*command, "-x", "c", "-"],
            cwd=folder,
            input=block.text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"


def _words(picture: Path) -> list[str]:
    """What is written in a picture, without figures: another solver may place buffers elsewhere."""
    texts = {re.sub(r"[\d,.]+", "#", "".join(t.itertext())) for t in ET.parse(picture).iter(f"{SVG}text")}
    return sorted(texts)


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
