"""``tvmc report``: all that is known of a compiled model, as a page, as JSON, as Markdown, or drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli.console import progress, stdout_console
from tvm_tiny.cli.output import check_output, write_output
from tvm_tiny.errors import OptionError

if TYPE_CHECKING:
    from tvm_tiny.measure import RunResult

FORMATS = (".html", ".json", ".md", ".svg")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "report",
        parents=[common],
        allow_abbrev=False,
        help="write a report of a compiled model",
        description="Write a report of a compiled model: layers, stages, memory over time, RAM against work, and with "
        "--run instructions, stack and flash by symbol.",
    )
    parser.add_argument("archive", metavar="MODEL.tar", type=Path, help="made by tvmc compile")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="by its ending: .html, one page that needs no network; .json; .md, for a pull request; .svg, the layers "
        "and their stages alone (%(default)s)",
    )
    parser.add_argument("--run", action="store_true", dest="measure", help="run the model on an emulated board, too")
    parser.add_argument("--board", metavar="BOARD", help="board to emulate; by default the one compiled for")
    parser.add_argument(
        "-i", "--inputs", type=Path, metavar="X.npz", help="inputs of the run; by default random ones, always the same"
    )
    parser.add_argument(
        "--front",
        choices=("off", "fast", "default", "max"),
        default="fast",
        help="effort of the search for the plans to choose from, which takes seconds (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.output.suffix not in FORMATS:
        raise OptionError(
            f"--output {args.output}: a report ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
            hints=["-o report.html"],
        )
    if not args.measure and (args.board or args.inputs):
        raise OptionError("--board and --inputs are for a run", hints=["--run"])
    check_output(args.output, "--output")

    from tvm_tiny.aot import follow_metadata, module_info, read_mlf

    module_name, info = module_info(read_mlf(args.archive))
    result = _measure(args, info) if args.measure else None
    with follow_metadata(args.archive):
        text = _text(args, module_name, info, result)
    write_output(args.output, text.encode(), "--output")
    stdout_console().print(f"{args.output}: {info['model']}, {len(text.encode()):,} B", markup=False, soft_wrap=True)
    return 0


def _text(args: argparse.Namespace, module_name: str, info: dict[str, Any], result: RunResult | None) -> str:
    from tvm_tiny.report.content import report_content
    from tvm_tiny.report.graph_svg import draw_graph
    from tvm_tiny.report.render import render_html, render_markdown

    front = None if args.front == "off" or args.output.suffix == ".svg" else args.front
    with progress(f"looking for plans of {info['model']}"):
        content = report_content(module_name, info, result, front=front)
    if args.output.suffix == ".json":
        return json.dumps(content, indent=2) + "\n"
    if args.output.suffix == ".svg":
        return draw_graph(content).to_text()
    return render_markdown(content) if args.output.suffix == ".md" else render_html(content, info)


def _measure(args: argparse.Namespace, info: dict[str, Any]) -> RunResult:
    from tvm_tiny.cli import tensor_files
    from tvm_tiny.measure import run_model

    inputs = (
        tensor_files.make_inputs("random", info["inputs"])
        if args.inputs is None
        else tensor_files.read_inputs(args.inputs, info["inputs"])
    )
    with progress(f"running {info['model']}") as advance:
        return run_model(args.archive, device="qemu", board=args.board, inputs=inputs, on_progress=advance)
