"""``tvmc tune``: finds faster kernels for a model by running candidates."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli import microtvm_options
from tvm_tiny.cli.console import stdout_console
from tvm_tiny.cli.micro import parse_project_options
from tvm_tiny.cli.output import write_output
from tvm_tiny.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from tvm_tiny.tune import Device, TaskState, TuneResult

PLOT = "progress.svg"
_UNITS = {"s": 1, "m": 60, "h": 3600}

Show = Callable[["Sequence[TaskState]", "float | None"], None]


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "tune",
        parents=[common],
        allow_abbrev=False,
        help="find faster kernels by running candidates",
        description="Run candidates for a model's kernels and keep the best. Every candidate's output is compared with "
        "the reference before it counts. Ctrl-C keeps what was measured; the same command goes on from there. "
        "Use the result with: tvmc compile --tuning-records RECORDS",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help=".tflite or .onnx file")
    parser.add_argument("--target", default="tinyml", metavar="TARGET", help="as for tvmc compile")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RECORDS", help="folder, made if missing")
    parser.add_argument("--trials", type=int, metavar="N", help="candidates at most (all of them)")
    parser.add_argument("--time", metavar="TIME", help="end after so long: 90s, 20m, 2h (when all are through)")
    parser.add_argument(
        "--tuner",
        choices=("evolutionary", "random", "gridsearch"),
        default="evolutionary",
        help="which candidates come first (%(default)s: MetaSchedule's search with a model of cost)",
    )
    parser.add_argument(
        "--objective",
        choices=("modelled_cycles", "instructions", "size", "time"),
        help="what to make small: modelled cycles on an emulator, time on a board with a clock, unless said otherwise",
    )
    parser.add_argument(
        "--tasks", action="append", default=[], metavar="PATTERN", help='only these layers, like "qconv2d*k1x1*"'
    )
    parser.add_argument("--list-tasks", action="store_true", help="print the layers that can be tuned, and stop")
    parser.add_argument(
        "--device",
        choices=("qemu", "board"),
        default="qemu",
        help="what runs candidates, also in a farm (%(default)s)",
    )
    parser.add_argument("--port", metavar="PORT", help="serial port of the board; by default the only one there is")
    parser.add_argument(
        "--rpc-tracker", metavar="HOST:PORT", help="run candidates on all devices that this tracker of TVM's RPC knows"
    )
    parser.add_argument("--rpc-key", metavar="KEY", help="which of the tracker's devices (the target's name)")
    parser.add_argument(
        "--project-option",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="option of platform board, see tvmc micro create-project --list-options",
    )
    parser.add_argument("--quantized-io", action="store_true", help="as for tvmc compile")
    parser.add_argument("--seed", type=int, default=0, help="of the search (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, refused=microtvm_options.TUNE_REFUSED)


def run(args: argparse.Namespace) -> int:
    seconds = None if args.time is None else parse_time(args.time)
    if args.output.exists() and not args.output.is_dir():
        raise OptionError(f"-o '{args.output}' is a file; expected a folder", hints=["choose another folder"])
    from tvm_tiny.tune import model_tasks, tune

    if args.list_tasks:
        for task in model_tasks(args.model, args.target, quantized_io=args.quantized_io):
            print(f"{task.weight} x {task.key}: {task.size} candidates")
        return 0
    history: list[float] = []
    with _device(args) as device, _display() as show:

        def on_progress(states: Sequence[TaskState], left: float | None) -> None:
            history.append(_total(states, tuned=True))
            show(states, left)

        result = tune(
            args.model,
            args.target,
            output=args.output,
            trials=args.trials,
            seconds=seconds,
            tuner=args.tuner,
            objective=args.objective,
            tasks=args.tasks,
            device=device,
            quantized_io=args.quantized_io,
            seed=args.seed,
            on_progress=on_progress,
        )
    from tvm_tiny.cli.tune_svg import draw_progress

    title = f"{args.model.name} for {args.target}: {result.records.objective.replace('_', ' ')} of the tuned layers"
    write_output(args.output / PLOT, draw_progress(title, history, _total(result.states, tuned=False)).encode(), "-o")
    _print(args, result)
    return 0


@contextlib.contextmanager
def _device(args: argparse.Namespace) -> Iterator[Device]:
    from tvm_tiny.targets import resolve
    from tvm_tiny.tune import BoardDevice, QemuDevice

    board, options = resolve(args.target), parse_project_options(args.project_option)
    if args.rpc_tracker is not None:
        from tvm_tiny.tune.farm import FarmDevice, parse_tracker

        tracker, key = parse_tracker(args.rpc_tracker), args.rpc_key or board.name
        yield FarmDevice(board, tracker, key, has_clock=args.device == "board")
        return
    if args.rpc_key is not None:
        raise OptionError(f"--rpc-key {args.rpc_key}: of which tracker?", hints=["--rpc-tracker HOST:PORT"])
    if args.device == "qemu":
        if args.port is not None:
            raise OptionError(f"--port {args.port}: only boards have ports", hints=["--device board"])
        yield QemuDevice(board)
        return
    if args.port is not None:
        options["port"] = args.port
    with BoardDevice(board, options) as device:
        yield device


def parse_time(text: str) -> float:
    """``20m`` -> 1200.0 seconds.

    Raises
    ------
    OptionError : it is none
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or float(match[1]) == 0:
        raise OptionError(f"--time {text!r}: expected a time like 90s, 20m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _print(args: argparse.Namespace, result: TuneResult) -> None:
    if args.json:
        from tvm_tiny.tune.session import describe

        shown = {"gain": result.gain, "measured": result.measured, "tasks": [describe(s) for s in result.states]}
        print(json.dumps(shown, indent=2))
        return
    console = stdout_console()
    console.print(_table(result.states, None))
    console.print(
        f"{args.output}: {result.measured} candidates measured now; the tuned layers take {result.gain:.1%} less. "
        f"tvmc compile {args.model} --target {args.target} --tuning-records {args.output}",
        markup=False,
        soft_wrap=True,
    )


def _total(states: Sequence[TaskState], *, tuned: bool) -> float:
    return sum(s.task.weight * ((s.best if tuned else s.untuned) or 0.0) for s in states)


def _table(states: Sequence[TaskState], left: float | None) -> Table:
    from rich.table import Table

    table = Table(
        title=None if left is None else f"{left // 60:.0f} min {left % 60:02.0f} s left", title_justify="left"
    )
    table.add_column("layer")
    for heading in ("times", "candidates", "measured", "invalid", "untuned", "best", "less"):
        table.add_column(heading, justify="right")
    table.add_column("decisions")
    for s in states:
        decisions = " ".join(f"{k}={v}" for k, v in s.best_decisions.items()) if s.worth_it else "as untuned"
        costs = ["" if c is None else f"{c:,.0f}" for c in (s.untuned, s.best)]
        numbers = (s.task.weight, s.task.size, s.measured, s.invalid)
        table.add_row(s.task.key, *map(str, numbers), *costs, f"{s.gain:.1%}" if s.untuned else "", decisions)
    return table


@contextlib.contextmanager
def _display() -> Iterator[Show]:
    """A table that changes on a terminal, else a line per image; both on stderr."""
    if not sys.stderr.isatty():
        yield lambda states, left: print(
            f"{sum(s.measured for s in states)} of {sum(s.task.size for s in states)} candidates: "
            f"{_total(states, tuned=False):,.0f} untuned, {_total(states, tuned=True):,.0f} now",
            file=sys.stderr,
        )
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda states, left: live.update(_table(states, left), refresh=True)
