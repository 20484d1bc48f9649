"""The README's links lead somewhere, its commands exist, and its table of boards is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tvm_tiny.cli.main import build_parser
from tvm_tiny.targets import board_names

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_tvmc_commands_parse() -> None:
    block = next(b for b in README.split("```") if b.startswith("sh\n. .venv"))
    commands = [line.split("#")[0].split()[1:] for line in block.splitlines() if line.startswith("tvmc ")]
    assert len(commands) >= 6
    for command in commands:
        build_parser().parse_args(command)


def test_every_board_is_in_the_table() -> None:
    short = README.replace("`-m", "`tinyml/qemu-m")
    named = {target.removeprefix("tinyml/") for target in re.findall(r"`(tinyml/[a-z0-9_-]+)`", short)}
    assert named >= set(board_names())


def test_ci_runs_the_readme_s_test_command() -> None:
    assert "make test" in README
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
