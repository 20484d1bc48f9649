"""Two reports side by side: what grew, what shrank, and whether that stays within limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_tiny.errors import OptionError

KIND = "tvm-tiny comparison"
FORMAT = 1
Report = Mapping[str, Any]

# What is compared -> where it stands in a report.
TOTALS: Mapping[str, tuple[str, ...]] = {
    "ram": ("ram", "total_bytes"),
    "arena": ("ram", "arena_bytes"),
    "stack": ("ram", "stack_bytes"),
    "flash": ("flash", "total_bytes"),
    "code": ("flash", "code_bytes"),
    "weights": ("flash", "weights_bytes"),
    "instructions": ("instructions",),
    "cycles": ("cycles",),
    "modelled_cycles": ("modelled_cycles",),
    "macs": ("executed_macs",),
}
COMPARED = ("model", "target", "board", "version")
"""What is said of both reports."""
LAYER_VALUES = ("instructions", "modelled_cycles", "executed_macs", "output_bytes", "scratch_bytes", "constants_bytes")


@dataclass(frozen=True)
class Limit:
    """Growth that is allowed of one total: a fraction of what was, or ``amount`` in its own unit."""

    name: str
    fraction: float | None = None
    amount: float | None = None

    def is_exceeded(self, before: float, after: float) -> bool:
        """Whether ``after`` is too much."""
        allowed = self.amount if self.fraction is None else before * self.fraction
        return after - before > (allowed or 0) + 1e-9

    def __str__(self) -> str:
        return f"{100 * self.fraction:g}%" if self.fraction is not None else f"{self.amount:g}"


def parse_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """``["ram=2%,instructions=1%", "code=512"]``; without a percent sign the number counts bytes, or instructions.

    Raises
    ------
    OptionError : an unknown name, or no number
    """
    limits = []
    for item in (item for text in texts for item in text.split(",")):
        name, _, value = item.strip().partition("=")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", value.strip())
        if name not in TOTALS or match is None:
            raise OptionError(
                f"--max-growth {item}: expected NAME=PERCENT% or NAME=NUMBER",
                hints=[f"names: {', '.join(TOTALS)}", "for instance --max-growth ram=2%,instructions=1%,code=512"],
            )
        number = float(match[1])
        limits.append(Limit(name, number / 100) if match[2] else Limit(name, amount=number))
    return tuple(limits)


def compare_reports(before: Report, after: Report, limits: Sequence[Limit] = ()) -> dict[str, Any]:
    """What changed from one report to the other, as JSON values.

    Raises
    ------
    OptionError : a limit on what one of the reports does not know
    """
    totals = [_total(name, total_of(before, path), total_of(after, path)) for name, path in TOTALS.items()]
    known = {total["name"]: total for total in totals}
    checked = [_check(limit, known[limit.name]) for limit in limits]
    return {
        "kind": KIND,
        "format": FORMAT,
        "before": {key: before[key] for key in COMPARED},
        "after": {key: after[key] for key in COMPARED},
        "totals": totals,
        "layers": list(_layers(before["layers"], after["layers"])),
        "limits": checked,
        "exceeded": any(limit["exceeded"] for limit in checked),
    }


def total_of(report: Report, path: Sequence[str]) -> float | None:
    """The value at a path of ``TOTALS``; None where nothing was measured."""
    value: Any = report
    for key in path:
        value = value[key]
    return value  # type: ignore[no-any-return]


def _total(name: str, before: float | None, after: float | None) -> dict[str, Any]:
    difference = None if before is None or after is None else after - before
    growth = None if difference is None or not before else round(difference / before, 6)
    return {"name": name, "before": before, "after": after, "difference": difference, "growth": growth}


def _check(limit: Limit, total: Mapping[str, Any]) -> dict[str, Any]:
    before, after = total["before"], total["after"]
    if before is None or after is None:
        side = "first" if before is None else "second"
        raise OptionError(
            f"--max-growth {limit.name}={limit}: the {side} report does not know it, as nothing was run",
            hints=["tvmc compare --run", "make the reports with: tvmc report --run -o report.json"],
        )
    return {"name": limit.name, "limit": str(limit), "exceeded": limit.is_exceeded(before, after)}


def _layers(before: Sequence[Report], after: Sequence[Report]) -> Iterator[dict[str, Any]]:
    """Layers that differ, found by name: those of the second report in its order, then those that are gone."""
    old, new = ({layer["name"]: layer for layer in layers} for layers in (before, after))
    for name in dict.fromkeys((*new, *old)):
        a, b = old.get(name), new.get(name)
        values = {key: _pair(key, a, b) for key in LAYER_VALUES}
        changed = {key: pair for key, pair in values.items() if pair["before"] != pair["after"]}
        ops = {"before": a and a["op"], "after": b and b["op"]}
        if a is None or b is None or changed or ops["before"] != ops["after"]:
            change = "added" if a is None else "removed" if b is None else "changed"
            yield {"name": name, "change": change, "op": ops, "values": changed}


def _pair(key: str, before: Report | None, after: Report | None) -> dict[str, Any]:
    return {"before": before and before[key], "after": after and after[key]}
