"""``tvmc run``: runs a compiled model natively, on an emulated board, or in a built project, and measures it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli import microtvm_options
from tvm_tiny.cli.console import progress, stdout_console
from tvm_tiny.cli.exit_codes import EXIT_DIFFERS, EXIT_OK
from tvm_tiny.cli.micro import add_project_options, open_project, parse_project_options, print_options
from tvm_tiny.cli.output import check_output, write_output
from tvm_tiny.errors import OptionError

if TYPE_CHECKING:
    from tvm_tiny.measure import RunResult, Validation


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "run",
        parents=[common],
        allow_abbrev=False,
        help="run a compiled model and measure it",
        description="Run a compiled model and report instructions, RAM and flash.",
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="MODEL.tar; with --device micro a project's folder")
    parser.add_argument(
        "--device",
        choices=("native", "qemu", "board", "micro"),
        default="native",
        help="this machine (the default), an emulated board, one that is attached, or the project made by tvmc micro",
    )
    parser.add_argument(
        "--board", metavar="BOARD", help="board to emulate, or attached; by default the one compiled for"
    )
    parser.add_argument("--port", metavar="PORT", help="serial port of the board; by default the only one there is")
    parser.add_argument(
        "-i", "--inputs", type=Path, metavar="X.npz", help="one array per input, or `inputs`; may be batches"
    )
    parser.add_argument(
        "-o", "--outputs", type=Path, metavar="Y.npz", help="write the outputs, stacked as the inputs are"
    )
    parser.add_argument(
        "--fill-mode",
        choices=("zeros", "ones", "random"),
        help="make inputs up: random is the default without --inputs",
    )
    parser.add_argument("--print-time", action="store_true", help="print what one inference takes")
    parser.add_argument("--print-top", type=int, metavar="N", help="print the N largest values of each output")
    parser.add_argument("--profile", action="store_true", help="print a line per layer")
    parser.add_argument("--json", type=Path, metavar="REPORT.json", help="write the report as JSON")
    parser.add_argument(
        "--compare",
        choices=("reference",),
        help="hold every layer's bytes against the reference of its operator and name the first layer that differs; "
        "exits 3 if there is one",
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="longest time for one inference (%(default)g)"
    )
    add_project_options(parser)
    parser.set_defaults(run=run, refused=microtvm_options.RUN_REFUSED)


def run(args: argparse.Namespace) -> int:
    _check(args)
    if args.list_options:
        return _list_options(args)
    for option, path in (("--outputs", args.outputs), ("--json", args.json)):
        if path is not None:
            check_output(path, option)

    from tvm_tiny.aot import module_info, read_mlf
    from tvm_tiny.cli import tensor_files
    from tvm_tiny.measure import run_model, validate_model

    _, info = module_info(read_mlf(_archive(args)))
    if args.inputs is not None:
        inputs = tensor_files.read_inputs(args.inputs, info["inputs"])
    else:
        inputs = tensor_files.make_inputs(args.fill_mode or "random", info["inputs"])
    with progress(f"running {info['model']}") as advance:
        options: dict[str, Any] = {
            "device": args.device,
            "board": args.board,
            "inputs": inputs,
            "project_dir": args.path if args.device == "micro" else None,
            "project_options": _project_options(args),
            "run_timeout_s": args.timeout,
            "on_progress": advance,
        }
        archive = None if args.device == "micro" else args.path
        if args.compare is not None:
            return _compare(args, validate_model(archive, **options))
        result = run_model(archive, **options)
    if args.outputs is not None:
        write_output(args.outputs, tensor_files.npz_bytes(tensor_files.named_outputs(result.outputs)), "--outputs")
    if args.json is not None:
        write_output(args.json, json.dumps(result.report.to_dict(), indent=2).encode() + b"\n", "--json")
    _print(args, result, info)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.inputs is not None and args.fill_mode is not None:
        raise OptionError("--inputs and --fill-mode exclude each other", hints=["leave one of them out"])
    if args.board is not None and args.device not in ("qemu", "board"):
        raise OptionError(
            f"--board {args.board}: only an emulated or attached board can be chosen, the device is {args.device}",
            hints=["--device qemu", "--device board", "leave out --board"],
        )
    if args.port is not None and args.device not in ("board", "micro"):
        raise OptionError(
            f"--port {args.port}: only boards have ports, the device is {args.device}",
            hints=["--device board", "leave out --port"],
        )
    extra = {"--outputs": args.outputs, "--profile": args.profile, "--print-time": args.print_time}
    given = [name for name, value in {**extra, "--print-top": args.print_top}.items() if value]
    if args.compare is not None and given:
        raise OptionError(
            f"--compare {args.compare} and {given[0]} exclude each other: firmware that tells of its layers is not "
            "what a user runs",
            hints=[f"leave out {given[0]}"],
        )
    if args.print_top is not None and args.print_top < 1:
        raise OptionError(f"--print-top {args.print_top}: expected 1 or more")
    if not args.timeout > 0:
        raise OptionError(f"--timeout {args.timeout:g}: expected more than 0 seconds")


def _project_options(args: argparse.Namespace) -> dict[str, Any]:
    options = parse_project_options(args.project_option)
    return options if args.port is None else {"port": args.port, **options}


def _list_options(args: argparse.Namespace) -> int:
    if args.device == "micro":
        with open_project(args.path, args.project_option) as project:
            print_options(project.info(), "open_transport")
        return 0
    from tvm_tiny.project import TemplateProject, template_dir

    with TemplateProject.from_directory(template_dir(args.device)) as template:
        for method in ("generate_project", "open_transport"):
            print_options(template.info(), method)
    return 0


def _archive(args: argparse.Namespace) -> Path:
    """The compiled model: the file given, or the one inside the project given."""
    if args.device != "micro":
        return Path(args.path)
    with open_project(args.path, args.project_option) as project:
        return Path(project.info().model_library_format_path or args.path / "model.tar")


def _compare(args: argparse.Namespace, validation: Validation) -> int:
    """The table of layers, up to the first that differs, and in one line what it is."""
    from rich.table import Table

    from tvm_tiny.planner import short_name

    if args.json is not None:
        write_output(args.json, json.dumps(validation.to_dict(), indent=2).encode() + b"\n", "--json")
    console = stdout_console()
    table = Table("#", "operator", "layer", title=f"{validation.model} on {validation.board}, beside the reference")
    for heading in ("output", "values", "differ"):
        table.add_column(heading, justify="right")
    first = validation.first
    for layer in validation.layers:
        shape, style = "x".join(map(str, layer.shape)), "red" if layer is first else None
        differ = f"{layer.differing:,}" if layer.differing else "none"
        name = short_name(layer.name, 40)
        table.add_row(str(layer.index), layer.op, name, shape, f"{layer.elements:,}", differ, style=style)
    console.print(table)
    if first is None or first.first is None:
        console.print(f"all {len(validation.layers)} layers have the reference's bytes", markup=False)
        return EXIT_OK
    at = first.first
    got = "nothing" if at.got is None else f"{at.got:g}"
    console.print(
        f"the first layer that differs is {first.index}, {first.op} '{first.name}': {first.differing:,} of "
        f"{first.elements:,} values; at {list(at.index)} it wrote {got}, expected {at.expected:g}",
        markup=False,
        soft_wrap=True,
    )
    return EXIT_DIFFERS


def _print(args: argparse.Namespace, result: RunResult, info: Mapping[str, Any]) -> None:
    console = stdout_console()
    result.report.print(console, layers=args.profile)
    if args.print_time:
        for line in _times(result):
            console.print(line)
    if args.print_top is not None:
        for tensor in info["outputs"]:
            top = _top(result.outputs[tensor["name"]], math.prod(tensor["shape"]), args.print_top)
            console.print(f"{tensor['name']}: {top}", markup=False, soft_wrap=True)


def _times(result: RunResult) -> list[str]:
    """What is known of an inference's time: instructions are counted, seconds are the host's own."""
    report = result.report
    lines = []
    if report.instructions is not None:
        lines.append(
            f"instructions per inference: mean {report.instructions:,.0f}, "
            f"least {report.instructions_min:,}, most {report.instructions_max:,}"
        )
    seconds = [s.seconds for s in result.stats if s.seconds is not None]
    if report.cycles is not None:
        lines.append(f"cycles per inference, of counter {report.cycle_counter}: mean {report.cycles:,.0f}")
    if seconds:
        ms = [1e3 * s for s in seconds]
        mean = sum(ms) / len(ms)
        lines.append(f"ms per inference on the device: mean {mean:.3f}, least {min(ms):.3f}, most {max(ms):.3f}")
    return lines or ["this device reports neither instructions nor time"]


def _top(array: Any, size: int, n: int) -> str:
    """The ``n`` largest of the ``size`` values of the first inference, with their flat indices."""
    import numpy as np

    values = array.reshape(-1)[:size].astype(np.float64)
    order = np.argsort(-values, kind="stable")[:n]
    return ", ".join(f"[{i}] {values[i]:g}" for i in order)
