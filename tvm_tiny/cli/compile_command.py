"""``tvmc compile``: model file -> Model Library Format archive."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_tiny.cli import microtvm_options, workspace_pools
from tvm_tiny.cli.console import describe_gap, format_bytes, format_parts, plain_warnings, progress, stdout_console
from tvm_tiny.cli.output import check_output
from tvm_tiny.errors import OptionError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "compile",
        parents=[common],
        allow_abbrev=False,
        help="compile a model to C",
        description="Compile a quantized .tflite or .onnx model to C sources in a Model Library Format archive.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help=".tflite or .onnx file; told apart by their content")
    parser.add_argument(
        "--target",
        default="tinyml",
        metavar="TARGET",
        help="tinyml/BOARD, or a board's .toml file; tinyml alone is an emulated Cortex-M7 (list: tvmc targets)",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("model.tar"), metavar="FILE", help="%(default)s")
    parser.add_argument(
        "-f", "--output-format", default="mlf", metavar="mlf", help="Model Library Format, the only one"
    )
    parser.add_argument(
        "--rounding",
        choices=("tflm", "single"),
        default="tflm",
        help="how products are scaled: rounded twice as TensorFlow Lite Micro does (the default), or once",
    )
    parser.add_argument(
        "--quantized-io",
        action="store_true",
        help="int8 inputs and outputs for a model with float32 edges; `tvmc run` then converts on the host",
    )
    parser.add_argument(
        "--fusion",
        choices=("auto", "rows", "off"),
        default="auto",
        help="auto (the default): layers run interleaved where that saves RAM, by rows or parts of rows; "
        "rows: by whole rows only; off: one after the other",
    )
    parser.add_argument(
        "--optimize",
        choices=("speed", "balanced", "size"),
        default="speed",
        help="what to prefer where fewer instructions take more code (%(default)s)",
    )
    parser.add_argument(
        "--tuning-records",
        default="shipped",
        metavar="RECORDS",
        help="folder or file that tvmc tune wrote; shipped: those of tvm-tiny; none: kernels untuned (%(default)s)",
    )
    parser.add_argument(
        "--caller-io",
        action="store_true",
        help="inputs and outputs are buffers of the caller, inputs stay as they are; by default they lie in the arena",
    )
    parser.add_argument(
        "--stream-input",
        action="store_true",
        help="the input comes row by row through tvmgen_NAME_push_row, so that the image never has to fit",
    )
    parser.add_argument(
        "--allow",
        action="append",
        choices=("external",),
        default=[],
        help="external: memory outside the chip too, for what does not fit the board's own RAM and flash",
    )
    parser.add_argument(
        "--weights",
        choices=("flash", "ram"),
        default="flash",
        help="ram: the weights that are read most often are copied to RAM at start, as many as fit (%(default)s)",
    )
    add_goal_options(parser)
    parser.add_argument("--module-name", default="default", metavar="NAME", help="tvmgen_NAME_run (%(default)s)")
    parser.add_argument(
        "--pass-config", action="append", default=[], metavar="NAME=VALUE", help="option of TVM's PassContext"
    )
    parser.add_argument("--dump-ir", type=Path, metavar="DIR", help="write the IR after every phase into DIR")
    parser.add_argument(
        "--model-format", choices=("tflite", "onnx"), help="accepted; the format is seen from the file's content"
    )
    workspace_pools.add_options(parser)
    microtvm_options.add_options(parser)
    parser.set_defaults(run=run, refused=microtvm_options.COMPILE_REFUSED)


def add_goal_options(parser: argparse.ArgumentParser) -> None:
    """Bounds and aim of the memory plan."""
    group = parser.add_argument_group("the memory plan")
    group.add_argument(
        "--ram", metavar="BYTES", help="bound on arena, inputs and outputs, like 64K: the fastest plan within it"
    )
    group.add_argument(
        "--max-overhead",
        metavar="PERCENT",
        help="bound on MACs computed twice and on instructions around partial rows, over the network's own; without "
        "it nothing is computed twice unless --ram or --objective asks for it",
    )
    group.add_argument(
        "--objective",
        choices=("ram", "time", "balanced"),
        help="ram: the smallest RAM; time: the least overhead that fits; balanced: the smallest RAM with at most 5%% "
        "of overhead. The default is time with --ram, else balanced",
    )
    group.add_argument(
        "--patch",
        action="append",
        metavar="auto|off|RxC@LAYER",
        help="auto: parts of rows where that saves memory; off: whole rows only; 2x4@conv_3: the layers up to conv_3 "
        "run in a grid of 2 rows of 4 patches over its output (again for later layers)",
    )
    group.add_argument(
        "--channel-tiles",
        action="append",
        metavar="auto|off|N@LAYER",
        help="4@project_3: the block of 1x1, depthwise and 1x1 convolution that ends with layer project_3 runs in 4 "
        "slices of the channels between (again for other blocks); auto: blocks at the peak, with --objective ram or "
        "where nothing else fits; off: none",
    )
    group.add_argument(
        "--effort", choices=("fast", "default", "max"), default="default", help="of the search; max: up to a minute"
    )


def run(args: argparse.Namespace) -> int:
    microtvm_options.check(args)
    if args.output_format != "mlf":
        raise OptionError(
            f"--output-format {args.output_format}: a compiled model is C sources, not a library",
            hints=["--output-format mlf, or leave it out"],
        )
    pass_config = parse_pass_config(args.pass_config)
    check_output(args.output, "--output")

    with progress(f"compiling {args.model.name}"), plain_warnings():
        import tvm_tiny
        from tvm_tiny.targets import resolve

        pools = workspace_pools.parse_pools(args, resolve(args.target).clock_hz)
        compiled = tvm_tiny.compile(
            args.model,
            args.target,
            rounding=args.rounding,
            quantized_io=args.quantized_io,
            module_name=args.module_name,
            pass_config=pass_config,
            dump_ir=args.dump_ir,
            fusion=args.fusion,
            caller_io=args.caller_io,
            stream_input=args.stream_input,
            allow=args.allow,
            weights=args.weights,
            workspace_pools=pools,
            optimize=args.optimize,
            tuning_records=None if args.tuning_records == "none" else args.tuning_records,
            patch=args.patch or "auto",
            channel_tiles=args.channel_tiles or "auto",
            ram=args.ram,
            max_overhead=args.max_overhead,
            objective=args.objective,
            effort=args.effort,
        )
        compiled.export(args.output)
    info = compiled.report()
    console = stdout_console()
    console.print(
        f"{args.output}: {info['model']} for {info['target']} ({info['cpu']}), {len(info['layers'])} layers, "
        f"{info['executed_macs']:,} MACs, arena {format_bytes(info['arena_bytes'])}"
        f"{format_parts(info['memories'], 'arena_bytes')} ({describe_gap(info['plan'])}), "
        f"weights {format_bytes(info['constants_bytes'])}"
        f"{format_parts(info['weights'], 'bytes')}",
        markup=False,
        soft_wrap=True,
    )
    return 0


def parse_pass_config(assignments: Sequence[str]) -> dict[str, Any]:
    """``["a.b=1", "c=text"]`` -> ``{"a.b": 1, "c": "text"}``; values are JSON where they parse as such.

    Raises
    ------
    OptionError : an item without a name or "="
    """
    config: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise OptionError(
                f"--pass-config {assignment}: expected NAME=VALUE", hints=["--pass-config tirx.disable_vectorize=true"]
            )
        try:
            config[name] = json.loads(text)
        except json.JSONDecodeError:
            config[name] = text
    return config
