"""``tvmc compare``: two builds side by side; the exit code says whether growth stays within limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli.console import progress, stdout_console
from tvm_tiny.cli.exit_codes import EXIT_DIFFERS, EXIT_OK

if TYPE_CHECKING:
    from tvm_tiny.measure import RunResult


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "compare",
        parents=[common],
        allow_abbrev=False,
        help="compare two compiled models or reports",
        description="Show what grew and what shrank from one build to another. Exits 3 when a limit is exceeded.",
    )
    for name, text in (("before", "compiled model, or report.json"), ("after", "the same")):
        parser.add_argument(name, metavar=name.upper(), type=Path, help=text)
    parser.add_argument("--run", action="store_true", dest="measure", help="run compiled models on an emulated board")
    parser.add_argument(
        "--max-growth",
        action="append",
        default=[],
        metavar="NAME=LIMIT,...",
        help="ram, arena, stack, flash, code, weights, instructions, cycles, modelled_cycles, macs: ram=2%%,code=512",
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from tvm_tiny.report.compare import compare_reports, parse_limits
    from tvm_tiny.report.load import load_report

    limits = parse_limits(args.max_growth)
    measure = _measure if args.measure else None
    found = compare_reports(load_report(args.before, measure), load_report(args.after, measure), limits)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        _print_tables(found)
    return EXIT_DIFFERS if found["exceeded"] else EXIT_OK


def _measure(path: Path, info: Mapping[str, Any]) -> RunResult:
    from tvm_tiny.cli import tensor_files
    from tvm_tiny.measure import run_model

    with progress(f"running {path}") as advance:
        inputs = tensor_files.make_inputs("random", info["inputs"])
        return run_model(path, device="qemu", inputs=inputs, on_progress=advance)


def _print_tables(found: Mapping[str, Any]) -> None:
    from rich.table import Table

    from tvm_tiny.planner import short_name

    console = stdout_console()
    before, after = found["before"], found["after"]
    for key in ("model", "target"):
        if before[key] != after[key]:
            console.print(f"{key}: {before[key]} before, {after[key]} after", markup=False)
    limits = {limit["name"]: limit for limit in found["limits"]}
    table = Table("", title=after["model"])
    for heading in ("before", "after", "difference", "%", "limit"):
        table.add_column(heading, justify="right")
    for total in found["totals"]:
        if total["before"] is None and total["after"] is None:
            continue
        limit = limits.get(total["name"])
        style = "red" if limit and limit["exceeded"] else None
        growth = "" if total["growth"] is None else f"{100 * total['growth']:+.2f}"
        allowed = "" if limit is None else f"{limit['limit']}{' exceeded' if limit['exceeded'] else ''}"
        numbers = (_number(total["before"]), _number(total["after"]), _number(total["difference"], "+"))
        table.add_row(total["name"], *numbers, growth, allowed, style=style)
    console.print(table)
    if not found["layers"]:
        console.print("no layer differs")
        return
    layers = Table("layer", "", title="Layers that differ")
    names = list(dict.fromkeys(key for layer in found["layers"] for key in layer["values"]))
    for name in names:
        layers.add_column(name.replace("_", " "), justify="right")
    for layer in found["layers"]:
        cells = [_change(layer["values"].get(name)) for name in names]
        layers.add_row(short_name(layer["name"], 40), layer["change"], *cells)
    console.print(layers)


def _change(pair: Mapping[str, Any] | None) -> str:
    """Before and after; where one of them is missing, the other."""
    if pair is None:
        return ""
    known = [value for value in (pair["before"], pair["after"]) if value is not None]
    if len(known) < 2:
        return _number(known[0]) if known else ""
    return f"{_number(known[1])} ({_number(known[1] - known[0], '+')})"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign},.0f}"
