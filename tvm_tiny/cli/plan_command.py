"""``tvmc plan``: RAM against executed work, before anything is compiled."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli.console import describe_gap, progress, stdout_console
from tvm_tiny.cli.output import check_output, write_output

if TYPE_CHECKING:
    from tvm_tiny.pareto import ModelPlans


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "plan",
        parents=[common],
        allow_abbrev=False,
        help="show RAM against executed work",
        description="Show the memory plans between which --ram, --max-overhead and --objective of tvmc compile choose. "
        "Nothing is compiled: no C compiler and no emulator is needed.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help=".tflite or .onnx file")
    parser.add_argument("--target", default="tinyml", metavar="TARGET", help="as for tvmc compile")
    parser.add_argument("--quantized-io", action="store_true", help="as for tvmc compile")
    parser.add_argument("--caller-io", action="store_true", help="as for tvmc compile")
    parser.add_argument("--max-overhead", metavar="PERCENT", help="plans of more work are left out (100%%)")
    parser.add_argument(
        "--effort", choices=("fast", "default", "max"), default="default", help="of the search (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.svg is not None:
        check_output(args.svg, "--svg")
    with progress(f"planning {args.model.name}"):
        from tvm_tiny.pareto import plan_model

        plans = plan_model(
            args.model,
            args.target,
            quantized_io=args.quantized_io,
            caller_io=args.caller_io,
            max_overhead=args.max_overhead,
            effort=args.effort,
        )
    if args.svg is not None:
        from tvm_tiny.report.front_svg import draw_front

        write_output(args.svg, draw_front(plans.to_dict()).to_text().encode(), "--svg")
    if args.json:
        print(json.dumps(plans.to_dict(), indent=2))
    else:
        _print_tables(plans)
    return 0


def _print_tables(plans: ModelPlans) -> None:
    from rich.table import Table

    console = stdout_console()
    for name, front in plans.fronts.items():
        table = Table(title=f"{plans.model}, input {name}")
        for heading in ("RAM B", "executed MACs", "of the network's", "overhead", "stages"):
            table.add_column(heading, justify="right")
        table.add_column("how")
        table.add_column("placement")
        for x in front:
            table.add_row(
                f"{x.plan.ram_bytes:,}",
                f"{x.plan.executed_macs:,}",
                f"{x.mac_factor:.3f}",
                f"{x.overhead:.1%}",
                str(len(x.plan.stages)),
                x.how,
                describe_gap(x.to_dict()),
            )
        console.print(table)
    console.print(
        "RAM is arena, inputs and outputs; stack and static data come on top. Overhead is what is computed twice, and "
        "an estimate of the instructions around partial rows. "
        f"{plans.board.name} has {plans.board.ram_bytes:,} B of RAM.",
        markup=False,
        soft_wrap=True,
    )
