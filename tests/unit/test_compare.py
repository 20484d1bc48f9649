"""Two reports side by side, on made-up ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvm_tiny.cli.main import main
from tvm_tiny.errors import OptionError
from tvm_tiny.report.compare import compare_reports, parse_limits


def layer(name: str, instructions: int | None, **values: Any) -> dict[str, Any]:
    zeros = dict.fromkeys(("modelled_cycles", "executed_macs", "output_bytes", "scratch_bytes", "constants_bytes"), 0)
    return {"name": name, "op": "qconv2d", **zeros, "instructions": instructions, **values}


def report(ram: int | None = 1000, instructions: int | None = 5000, code: int = 300, **more: Any) -> dict[str, Any]:
    layers = [layer("a", instructions and instructions - 1000), layer("b", instructions and 1000)]
    return {
        "kind": "tvm-tiny report", "format": 1, "version": "0", "model": "m", "target": "t", "board": "b",
        "ram": {"total_bytes": ram, "arena_bytes": 900, "stack_bytes": ram and ram - 900},
        "flash": {"total_bytes": code + 700, "code_bytes": code, "weights_bytes": 700},
        "instructions": instructions, "cycles": None, "modelled_cycles": None, "executed_macs": 100,
        "layers": layers, **more,
    }  # fmt: skip


def test_nothing_changed() -> None:
    found = compare_reports(report(), report(), parse_limits(["ram=0%,instructions=0"]))
    assert found["layers"] == []
    assert not found["exceeded"]
    assert {total["difference"] for total in found["totals"]} == {0, None}


def test_what_grew_and_what_shrank() -> None:
    found = compare_reports(report(), report(ram=1030, instructions=4900))
    totals = {t["name"]: (t["difference"], t["growth"]) for t in found["totals"]}
    assert totals["ram"] == (30, 0.03)
    assert totals["stack"] == (30, 0.3)
    assert totals["instructions"] == (-100, -0.02)
    assert totals["cycles"] == (None, None)
    (changed,) = found["layers"]
    assert (changed["name"], changed["values"]) == ("a", {"instructions": {"before": 4000, "after": 3900}})


@pytest.mark.parametrize(
    ("limit", "exceeded"),
    [("ram=2%", True), ("ram=3%", False), ("ram=29", True), ("ram=30", False), ("code=0", False), ("stack=30%", False)],
)
def test_limits(limit: str, exceeded: bool) -> None:
    assert compare_reports(report(), report(ram=1030), parse_limits([limit]))["exceeded"] == exceeded


def test_growth_from_nothing_exceeds_every_percentage() -> None:
    before, after = report(instructions=0), report(instructions=1)
    assert compare_reports(before, after, parse_limits(["instructions=1000%"]))["exceeded"]


def test_layers_come_and_go() -> None:
    after = report(layers=[layer("a", 4000), layer("c", 900, op="qadd")])
    found = compare_reports(report(), after)["layers"]
    assert [(x["name"], x["change"], x["op"]) for x in found] == [
        ("c", "added", {"before": None, "after": "qadd"}),
        ("b", "removed", {"before": "qconv2d", "after": None}),
    ]


@pytest.mark.parametrize("text", ["ram", "ram=", "ram=x%", "speed=1%", "ram=-1%", ""])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match=f"--max-growth {text}: expected"):
        parse_limits([text])


def test_a_limit_on_what_is_not_known() -> None:
    with pytest.raises(OptionError, match="--max-growth instructions=1%: the first report does not know it"):
        compare_reports(report(instructions=None), report(), parse_limits(["instructions=1%"]))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("a", report()), ("b", report(ram=1030, target="other")), ("c", {"kind": "none"})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    a, b, c = (str(tmp_path / f"{name}.json") for name in "abc")
    assert main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert "target: t before, other after" in out
    assert "+30" in out
    assert main(["compare", a, b, "--max-growth", "ram=1%"]) == 3
    assert "1% exceeded" in capsys.readouterr().out
    assert main(["compare", b, a, "--max-growth", "ram=1%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"] == [{"name": "ram", "limit": "1%", "exceeded": False}]
    assert main(["compare", a, c]) == 1
    assert "c.json' is no report of this version" in capsys.readouterr().err
    assert main(["compare", a, str(tmp_path / "none.json")]) == 1
    assert "cannot be read as JSON" in capsys.readouterr().err
