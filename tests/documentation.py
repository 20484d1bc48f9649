"""The fenced blocks of the documentation: found, run page by page, or at least parsed.

A block of commands (``sh``) or of Python runs in the tests, unless the line above it says why not::

    <!-- not run: needs a board on /dev/ttyACM0 -->

Then its commands still have to parse. A block without a language right below one is what that one prints.

``python -m tests.documentation`` puts what docs/how_it_works.md draws into docs/pictures.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_tiny import demo

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# What the quick start makes, and other pages begin with.
MODEL, INPUTS, ARCHIVE = "model.tflite", "x.npz", "model.tar"
PICTURES_PAGE, PICTURES = ROOT / "docs" / "how_it_works.md", ROOT / "docs" / "pictures"
RUNNABLE = ("sh", "python")
# Nothing that could be run hides behind another name.
LANGUAGES = (*RUNNABLE, "", "c", "cmake", "cpp", "ini", "json", "toml", "yaml")
_REASON = re.compile(r"<!-- not run: (.+) -->")
_TOLERANCE = 0.02  # of figures in what a page shows: another gcc counts a little differently
_TIMEOUT_S = 600  # of neighbouring blocks, on a machine with much else to do


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Parameters
    ----------
    line : of the opening fence, from 1
    reason : why it is not run; None if it is to be run
    output : lines that it prints, as the page shows them; None if it shows none
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    output: str | None = None

    @property
    def runs(self) -> bool:
        """Whether the tests run it."""
        return self.language in RUNNABLE and self.reason is None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of ``page`` in order; what a block prints is part of it."""
    return parse_blocks(page, page.read_text(encoding="utf-8"))


def parse_blocks(page: Path, text: str) -> list[Block]:
    """``blocks`` of a page whose content is ``text``."""
    found: list[Block] = []
    lines = text.splitlines()
    position, previous_end = 0, -1
    while position < len(lines):
        fence = re.fullmatch(r"( *)```([a-z]*)", lines[position])
        if fence is None:
            assert "```" not in lines[position], f"{page.name}:{position + 1}: a fence of another form"
            position += 1
            continue
        indent, language = len(fence[1]), fence[2]
        end = lines.index(f"{fence[1]}```", position + 1)
        content = "".join(f"{line[indent:]}\n" for line in lines[position + 1 : end])
        between = "".join(lines[previous_end + 1 : position]).strip()
        if not language and not between and found and found[-1].language in RUNNABLE:
            last = found.pop()
            found.append(Block(page, last.line, last.language, last.text, last.reason, content))
        else:
            reason = _REASON.fullmatch(lines[position - 1].strip()) if position else None
            found.append(Block(page, position + 1, language, content, reason[1] if reason else None))
        position, previous_end = end + 1, end
    return found


def make_files(folder: Path) -> None:
    """Put the files of the quick start into ``folder``."""
    shutil.copy(demo.TFLITE, folder / MODEL)
    with np.load(demo.TEST_SET) as file:
        np.savez(folder / INPUTS, inputs=file["inputs"][:4])
    command = [Path(sys.executable).parent / "tvmc", "compile", MODEL, "-o", ARCHIVE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_TIMEOUT_S)


def check_out(folder: Path) -> None:
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


def run_page(parts: Sequence[Block], folder: Path) -> None:
    """Run the blocks in order in ``folder``; neighbours of one language share a process. Compare what they print."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    for language, group in itertools.groupby((b for b in parts if b.runs), key=lambda b: b.language):
        members = list(group)
        command = ["bash", "-c"] if language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, _program(language, members)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        printed = dict(_printed(done.stdout))
        at = next((b for b in members if b.line == max(printed, default=0)), members[0])
        assert done.returncode == 0, f"{at}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        for block in members:
            if block.output is not None:
                check_output(block, printed[block.line])


def _program(language: str, members: Sequence[Block]) -> str:
    """All blocks as one script, which says on stdout where each begins."""
    if language == "python":
        return "\n".join(f"print('\\n@@{block.line}', flush=True)\n{block.text}" for block in members)
    head = "set -eo pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n"
    return head + "\n".join(f"echo; echo @@{block.line}\n{block.text}" for block in members)


def _printed(stdout: str) -> Iterator[tuple[int, str]]:
    for part in re.split(r"^@@", stdout, flags=re.MULTILINE)[1:]:
        line, _, text = part.partition("\n")
        yield int(line), text


def check_output(block: Block, printed: str) -> None:
    """Every line that the page shows is printed, in this order; times are left out, other figures are about the same.

    ``...`` stands for anything.
    """
    lines = iter([_words(line) for line in printed.splitlines()])
    for shown in (block.output or "").splitlines():
        expected = _words(shown)
        if expected not in ([], ["..."]):
            assert any(_is_like(expected, line) for line in lines), (
                f"{block}: does not print, or not here: {shown}\n{printed}"
            )


def _words(line: str) -> list[str]:
    """What a line says, without frames of tables."""
    return re.sub(r"[\u2500-\u257f]+", " ", line).split()


def _is_like(expected: Sequence[str], actual: Sequence[str]) -> bool:
    if not expected or not actual:
        return not actual and all(word == "..." for word in expected)
    if expected[0] == "...":
        return any(_is_like(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    is_time = expected[1:2] == ["s"] and actual[1:2] == ["s"]
    return (is_time or _is_about(expected[0], actual[0])) and _is_like(expected[1:], actual[1:])


def _is_about(expected: str, actual: str) -> bool:
    """Equal texts, or texts with numbers that differ by little."""
    number = r"\d[\d,]*(?:\.\d+)?"
    pairs = zip(re.findall(number, expected), re.findall(number, actual), strict=False)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    same_text = re.sub(number, "#", expected) == re.sub(number, "#", actual)
    return same_text and all(abs(a - b) <= _TOLERANCE * a for a, b in values)


def _draw() -> None:
    """Run the page with the pictures and keep them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        run_page(blocks(PICTURES_PAGE), folder)
        for picture in folder.glob("*.svg"):
            shutil.copy(picture, PICTURES)
            print(PICTURES / picture.name)


if __name__ == "__main__":
    _draw()
