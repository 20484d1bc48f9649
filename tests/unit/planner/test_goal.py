"""Bounds and aims as users write them."""

from __future__ import annotations

from typing import Any

import pytest

from tvm_tiny.errors import OptionError
from tvm_tiny.planner import Goal, parse_bytes, parse_fraction


@pytest.mark.parametrize(
    ("text", "expected"),
    [("64K", 65536), ("64k", 65536), ("64KB", 65536), ("1.5M", 1572864), ("40000", 40000), (" 12 B ", 12)],
)
def test_bytes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("10%", 0.1), ("0.1", 0.1), ("0%", 0.0), (".5", 0.5), ("150 %", 1.5)])
def test_fractions(text: str, expected: float) -> None:
    assert parse_fraction(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "K", "-1K", "64G", "64 bytes", "6 4"])
def test_no_bytes(text: str) -> None:
    with pytest.raises(OptionError, match=f"--ram {text}: expected a number of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "%", "-5%", "ten", "10%%"])
def test_no_fraction(text: str) -> None:
    with pytest.raises(OptionError, match=f"--max-overhead {text}: expected a percentage"):
        parse_fraction(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "size"}, "--objective 'size' is unknown"),
        ({"effort": "huge"}, "--effort 'huge' is unknown"),
        ({"ram_bytes": 0}, "--ram 0: expected more than 0"),
        ({"max_overhead": -0.1}, "--max-overhead -10%: expected 0% to 1000%"),
        ({"max_overhead": 11.0}, "--max-overhead 1100%: expected 0% to 1000%"),
    ],
)
def test_values_out_of_range(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Goal(**given)


@pytest.mark.parametrize(
    ("goal", "aim", "mac_factor", "limit"),
    [
        (Goal(), "balanced", 1.0, 0.05),
        (Goal(ram_bytes=100), "time", 2.0, 1.0),
        (Goal("balanced", ram_bytes=100), "balanced", 1.0, 0.05),
        (Goal("ram"), "ram", 2.0, 1.0),
        (Goal("ram", max_overhead=0.1), "ram", 1.1, 0.1),
        (Goal(max_overhead=0.0), "balanced", 1.0, 0.0),
    ],
)
def test_what_a_goal_allows(goal: Goal, aim: str, mac_factor: float, limit: float) -> None:
    assert (goal.aim, goal.mac_factor, goal.overhead_limit) == (aim, mac_factor, limit)
