"""`make docs` makes a site without broken links that loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.documentation import ROOT

CONFIG = "docs/site/mkdocs.yml"


def _build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What the Makefile does, with other folders: --quiet, for one, would make --strict worthless."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (arguments,) = re.findall(rf"-m (mkdocs build .*){CONFIG}$", makefile, re.MULTILINE)
    command = [sys.executable, "-m", *arguments.split(), str(docs.parent / CONFIG)]
    return subprocess.run([*command, "--site-dir", str(site)], capture_output=True, text=True, timeout=120, check=False)


def test_the_site(tmp_path: Path) -> None:
    done = _build(ROOT / "docs", tmp_path)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in (ROOT / "docs").glob("*.md")}
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=[\"']?([^\"' >]+)", page.read_text("utf-8"))
        assert loaded
        assert not [address for address in loaded if re.match("(https?:)?//", address)], page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text("utf-8")), style


def test_a_browser_finds_nothing_wrong(tmp_path: Path, chromium: str) -> None:
    assert _build(ROOT / "docs", tmp_path / "site").returncode == 0
    with Browser(chromium, tmp_path / "profile") as browser:
        for page in ("index.html", "quick_start.html", "how_it_works.html"):
            messages = browser.open(tmp_path / "site" / page).messages
            assert [m for m in messages if "search/worker.js" not in m] == []  # a page that is a file has no workers
        drawn = browser.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert drawn == [True] * 4


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("index.md", "[gone](gone.md)", "a link 'gone.md', but the target is not found"),
        (
            "index.md",
            "[gone](command_line.md#gone)",
            "'command_line.md#gone', but .* does not contain an anchor",
        ),
        ("index.md", "[out of the site](../README.md)", "a link '../README.md', but the target is not found"),
        ("forgotten.md", "# In no menu", 'not included in the "nav" configuration:\n  - forgotten.md'),
    ],
)
def test_what_ends_the_build(name: str, text: str, complaint: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    with (docs / name).open("a", encoding="utf-8") as page:
        page.write(f"\n{text}\n")
    done = _build(docs, tmp_path / "site")
    assert done.returncode == 1, done.stderr
    assert len(re.findall("^WARNING", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert re.search(complaint, done.stderr), done.stderr
