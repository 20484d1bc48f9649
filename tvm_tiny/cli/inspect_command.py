"""``tvmc inspect``: what a compiled model consists of, layer by layer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_tiny.cli.console import describe_gap, format_bytes, format_parts, stdout_console
from tvm_tiny.cli.output import check_output, write_output


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "inspect",
        parents=[common],
        allow_abbrev=False,
        help="show a compiled model's layers and memory",
        description="Show a compiled model's inputs, outputs, layers, multiply-accumulates and memory.",
    )
    parser.add_argument("archive", metavar="MODEL.tar", type=Path, help="made by tvmc compile")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the arena over time")
    parser.add_argument(
        "--dump-graph",
        type=Path,
        metavar="FILE.onnx",
        help="write the optimized network for viewers such as Netron: stages, patches and offsets are attributes",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    # The first two import TVM: the archive's reader is part of the compiler.
    from tvm_tiny.aot import follow_metadata, module_info, read_mlf

    for option, path in (("--svg", args.svg), ("--dump-graph", args.dump_graph)):
        if path is not None:
            check_output(path, option)
    module_name, info = module_info(read_mlf(args.archive))
    with follow_metadata(args.archive):
        _show(args, module_name, info)
    return 0


def _show(args: argparse.Namespace, module_name: str, info: dict[str, Any]) -> None:
    from tvm_tiny.aot import read_ir
    from tvm_tiny.measure.floor import floor_instructions
    from tvm_tiny.targets import CPUS

    cpu = CPUS[info["cpu"]]
    info["layers"] = [{**layer, "floor_instructions": floor_instructions(layer, cpu)} for layer in info["layers"]]
    if args.svg is not None:
        from tvm_tiny.report.arena import draw_arena

        write_output(args.svg, draw_arena(info).to_text().encode(), "--svg")
    if args.dump_graph is not None:
        from tvm_tiny.report.graph_onnx import graph_onnx

        model = graph_onnx(module_name, info, read_ir(args.archive, module_name))
        write_output(args.dump_graph, model.SerializeToString(), "--dump-graph")
    if args.json:
        print(json.dumps({"module_name": module_name, **info}, indent=2))
    else:
        _print_tables(module_name, info)


def _print_tables(module_name: str, info: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = stdout_console()
    stream = info.get("stream")
    entry = f"tvmgen_{module_name}_{'push_row' if stream else 'run'}"
    console.print(f"{info['model']} for {info['target']} ({info['cpu']}), C name {entry}", markup=False)

    edges = Table("", "name", "C name", "type", "shape", "scale", "zero point", title="Inputs and outputs")
    for role in ("inputs", "outputs"):
        for t in info[role]:
            quantization = ("", "") if t["scale"] is None else (f"{t['scale']:.9g}", str(t["zero_point"]))
            edges.add_row(role.removesuffix("s"), t["name"], t["c_name"], t["dtype"], _shape(t["shape"]), *quantization)
    console.print(edges)

    layers = Table("#", "operator", "output", title="Layers")
    for heading in ("shape", "MACs", "floor", "output B", "scratch B", "weights B"):
        layers.add_column(heading, justify="right")
    for i, layer in enumerate(info["layers"]):
        layers.add_row(
            str(i),
            layer["op"],
            layer["name"],
            _shape(layer["output_shape"]),
            f"{layer['executed_macs']:,}",
            f"{layer['floor_instructions']:,}",
            f"{layer['output_bytes']:,}",
            f"{layer['scratch_bytes']:,}",
            f"{layer['constants_bytes']:,}",
        )
    console.print(layers)
    stages = [s for s in info["plan"]["stages"] if len(s["operators"]) > 1]
    if stages:
        _print_stages(console, stages)
    if info["order"]:
        console.print(_order(info["order"]))
    for memory in info["plan"]["memories"]:
        _print_arena(console, info["plan"], memory)
    if stream:
        console.print(f"input in {stream['rows']:,} rows of {stream['row_bytes']:,} B, {stream['kept_rows']:,} kept")
    io_bytes = sum(t["size_bytes"] for t in (*([] if stream else info["inputs"]), *info["outputs"]))
    io_bytes += stream["row_bytes"] if stream else 0
    floor = sum(layer["floor_instructions"] for layer in info["layers"])
    console.print(
        f"MACs {info['executed_macs']:,} executed of the model's {info['macs']:,}; floor {floor:,} instructions; "
        f"arena {format_bytes(info['arena_bytes'])}"
        f"{format_parts(info['memories'], 'arena_bytes')} ({describe_gap(info['plan'])}), "
        f"inputs and outputs {format_bytes(io_bytes)}, weights {format_bytes(info['constants_bytes'])}",
        markup=False,
    )


def _order(order: Mapping[str, Any]) -> str:
    """Of the operators, and how good it is."""
    whose = "changed" if order["changed"] else "the model's"
    proof = "proved the least of all orders" if order["proved"] else "the least found"
    return f"order of operators: {whose}; layer by layer {order['peak_bytes']:,} B at the peak, {proof}"


def _print_stages(console: Any, stages: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table

    table = Table("from", "to", title="Stages: layers that run interleaved")
    for heading in ("layers", "steps", "rolling buffers B"):
        table.add_column(heading, justify="right")
    for stage in stages:
        names = stage["operators"]
        rings = sum(t["rows"] * t["row_bytes"] for t in stage["tensors"] if t["ring"])
        table.add_row(names[0], names[-1], str(len(names)), f"{stage['ticks']:,}", f"{rings:,}")
    console.print(table)


def _print_arena(console: Any, plan: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
    from rich.table import Table

    from tvm_tiny.planner import short_name
    from tvm_tiny.report.arena import chart

    lines, legend = chart(plan, memory)
    console.print(f"\nArena {memory['name']} over time: bytes upwards, stage after stage to the right", markup=False)
    total = memory["arena_bytes"]
    for k, line in enumerate(lines):
        console.print(f"{total * (len(lines) - k) // len(lines):>10,} |{line}|", markup=False, soft_wrap=True)
    table = Table("", "buffer", "kind")
    for heading in ("offset", "B"):
        table.add_column(heading, justify="right")
    for letter, block in legend:
        table.add_row(
            letter, short_name(block["name"]), block["role"], f"{block['offset']:,}", f"{block['size_bytes']:,}"
        )
    console.print(table)


def _shape(shape: list[int]) -> str:
    return "x".join(str(d) for d in shape)
