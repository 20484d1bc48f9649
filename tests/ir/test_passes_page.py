"""docs/passes.md says what the passes do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.passes_page import passes_markdown
from tvm_tiny import passes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "passes.md"


@pytest.fixture(scope="module")
def markdown() -> str:
    return passes_markdown()


def test_the_page_is_up_to_date(markdown: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown, "run: python -m tests.passes_page > docs/passes.md"


def test_every_pass_is_on_it_and_changes_what_it_is_shown(markdown: str) -> None:
    sections = re.findall(r"^### (\w+)\n.*?# before\n(.*?)```.*?# after\n(.*?)```", markdown, re.MULTILINE | re.DOTALL)
    tools = {"ChannelTiles", "DataflowWriter", "array_of", "bindings_of", "evaluate_function", "find_tiles", "is_const"}
    tools |= {"map_functions", "parse_tiles", "relax_pass", "rewrite_bindings"}
    assert {name for name, *_ in sections} == set(passes.__all__) - tools
    assert all(before != after for _, before, after in sections)
