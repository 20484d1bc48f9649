"""docs/supported_ops.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from tvm_tiny.frontend.supported_ops import supported_ops_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "supported_ops.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == supported_ops_markdown(), "run: make docs"


def test_limits_are_filled_in() -> None:
    page = supported_ops_markdown()
    assert "below 2^30" in page
    assert "{" not in page
