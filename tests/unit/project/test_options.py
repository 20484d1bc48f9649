"""Project options arrive as text and leave as values."""

from __future__ import annotations

from typing import Any

import pytest

from tvm_tiny.project.platforms.common.options import check_options, definitions, optimization
from tvm_tiny.project.server import OptionValueError, ProjectOption

DECLARED = [
    ProjectOption("on", type="bool", optional=["build"], default=False),
    ProjectOption("size", type="int", optional=["build"], default=4),
    ProjectOption("kind", type="str", optional=["build"], choices=("a", "b")),
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"on": False, "size": 4, "kind": None}),
        ({"on": "true", "size": "0x10", "kind": "b"}, {"on": True, "size": 16, "kind": "b"}),
        ({"on": "No", "size": " 7 "}, {"on": False, "size": 7, "kind": None}),
        ({"on": True, "size": 8, "kind": None}, {"on": True, "size": 8, "kind": None}),
    ],
)
def test_values(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert check_options(DECLARED, given) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on": "maybe"}, "'on' is 'maybe', expected true or false"),
        ({"size": "big"}, "'size' is 'big', expected a whole number"),
        ({"kind": "c"}, "'kind' is 'c', expected a or b"),
        ({"sise": "1"}, "unknown project option 'sise'"),
    ],
)
def test_unfit_values(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionValueError, match=words):
        check_options(DECLARED, given)


def test_compiler_arguments() -> None:
    assert definitions("-DA=1 '-DB=x y'") == ["-DA=1", "-DB=x y"]
    assert definitions(None) == []
    assert [optimization(t) for t in ("-O2", "O3", "s", "fast")] == ["-O2", "-O3", "-Os", "-Ofast"]
    assert [optimization("auto", {"optimize": o}) for o in ("speed", "balanced", "size")] == ["-O2", "-O2", "-Os"]
    assert optimization("auto") == "-O2", "archives of before"
    with pytest.raises(OptionValueError, match="does not start with -D"):
        definitions("-o /etc/passwd")
    with pytest.raises(OptionValueError, match="'optimization' is '-O9'"):
        optimization("-O9")
