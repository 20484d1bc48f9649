"""README and docs/: links and named files exist, commands that are not run parse, all boards are in the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands import check_python, check_shell, check_span
from tests.documentation import LANGUAGES, PAGES, ROOT, Block, blocks, check_output, parse_blocks
from tvm_tiny.targets import board_names

README = (ROOT / "README.md").read_text(encoding="utf-8")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", _text(page)):
        if "://" in target:
            continue
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name} links to {target}#{anchor}"


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for name in _spans(page):
        if re.fullmatch(r"(tvm_tiny|passes|schedules|targets|tests|docs)/[a-z0-9_./]*", name):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


@every_page
def test_blocks_are_what_they_are(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: write sh or python, or one of {LANGUAGES}"
        if block.runs:
            slow = re.search(r"^(make (?!demo)|python -m (pytest|tests)).*", block.text, re.MULTILINE)
            assert slow is None, f"{block}: say why it is not run: {slow[0]}"
        if not block.language:
            assert not re.search(r"^(\$ )?(tvmc|make|python) ", block.text, re.MULTILINE), f"{block}: commands are sh"


@every_page
def test_commands_that_are_not_run_parse(page: Path) -> None:
    for block in blocks(page):
        if block.reason is not None:
            {"sh": check_shell, "python": check_python}[block.language](block.text)


@every_page
def test_commands_in_sentences_exist(page: Path) -> None:
    for span in _spans(page):
        check_span(span)


@pytest.mark.parametrize(
    "line",
    [
        "tvmc compile model.tflite --no-such-option",
        "tvmc run model.tar --device nowhere",
        "tvmc report model.tar -o a.html && tvmc no-such-command",
        'eval "$(tvmc completion tcsh)"',
        "tvmc micro create-project kws model.tar zephyr --project-option board=x no_such=y",
        "tvmc micro create kws model.tar zephyr\ntvmc micro build kws --project-option no_such=y",
        "make no-such-target",
        "make fuzz HOURS=3",
        "python -m tests.no_such_module",
        "python -m tests.fuzz --hours 3",
        "python no_such_file.py",
        'python -c "from tvm_tiny.planner import no_such_name"',
        "no-such-program",
    ],
)
def test_a_command_that_does_not_parse_is_found(line: str) -> None:
    with pytest.raises((AssertionError, ImportError)):
        check_shell(f"tvmc targets | cat   # the boards\nX=1 make fuzz \\\n  MINUTES=30 > log.txt\n{line}\n")


@pytest.mark.parametrize("span", ["tvmc micro fly", "tvmc run ... --no-such-option", "make no-such-target"])
def test_a_piece_of_a_command_that_does_not_exist_is_found(span: str) -> None:
    with pytest.raises(AssertionError):
        check_span(span)


def test_blocks_of_a_page() -> None:
    reason = "<!-- not run: takes a day -->\n```sh\nmake test\n```\n"
    shown = "\n- item\n\n  ```sh\n  tvmc targets\n  ```\n\n```\nshown\n```\n"
    first, second = parse_blocks(Path("x.md"), f"{reason}{shown}text\n```\ndrawing\n```\n")[:2]
    assert (first.reason, first.line, first.runs) == ("takes a day", 2, False)
    assert (second.text, second.output, second.runs) == ("tvmc targets\n", "shown\n", True)


@pytest.mark.parametrize(
    "shown", ["RAM 1,000 bytes in 9.9 s", "RAM ... s", "RAM 1,010 bytes in ... s", "one\n...\ntwo"]
)
def test_output_that_is_printed(shown: str) -> None:
    check_output(_block(shown), "one\nRAM │ 1,000 bytes in 2.4 s\ntwo\n")


@pytest.mark.parametrize("shown", ["RAM 1,030 bytes in 2.4 s", "ROM ...", "two\none", "RAM 1,000 bytes in 2.4 s more"])
def test_output_that_is_not_printed(shown: str) -> None:
    with pytest.raises(AssertionError, match="does not print"):
        check_output(_block(shown), "one\nRAM │ 1,000 bytes in 2.4 s\ntwo\n")


def test_every_board_is_in_the_table() -> None:
    short = README.replace("`-m", "`tinyml/qemu-m")
    named = {target.removeprefix("tinyml/") for target in re.findall(r"`(tinyml/[a-z0-9_-]+)`", short)}
    assert named >= set(board_names())


def test_ci_runs_the_readme_s_test_command() -> None:
    assert "make test" in README
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def _block(output: str) -> Block:
    return Block(Path("x.md"), 1, "sh", "", None, output)


def _text(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _spans(page: Path) -> list[str]:
    """What stands in backquotes; of tables of microTVM's commands, what they have become."""
    lines, is_microtvm = [], False
    for line in _text(page).splitlines():
        is_microtvm = line.startswith("| microTVM") or (is_microtvm and line.startswith("|"))
        lines.append(line.split("|", 2)[-1] if is_microtvm else line)
    return [span for span in re.findall(r"`([^`]+)`", " ".join(lines)) if span.strip()]


def _anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
