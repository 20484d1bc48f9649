"""``tvmc targets``: the boards that code can be compiled for."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tvm_tiny.cli.console import stdout_console


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "targets",
        parents=[common],
        allow_abbrev=False,
        help="list the boards",
        description="List the boards that ship. A board of your own is a TOML file: --target my_board.toml",
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from tvm_tiny.targets import DEFAULT_BOARD, board_names, load_board

    boards = [load_board(name) for name in board_names()]
    if args.json:
        rows = [
            {
                "target": f"tinyml/{b.name}",
                "description": b.description,
                "cpu": b.cpu.name,
                "isa": b.cpu.isa,
                "clock_hz": b.clock_hz,
                "flash_bytes": b.flash_bytes,
                "ram_bytes": b.ram_bytes,
                "memories": [
                    {"name": m.name, "kind": m.kind, "size_bytes": m.size_bytes, "relative_speed": m.relative_speed}
                    for m in b.memories
                ],
                "machine": b.machine.name,
            }
            for b in boards
        ]
        print(json.dumps(rows, indent=2))
        return 0

    from rich.table import Table

    table = Table("target", "core", "ISA")
    for heading in ("MHz", "flash KB", "RAM KB"):
        table.add_column(heading, justify="right")
    table.add_column("emulated by")
    table.add_column("board")
    for b in boards:
        table.add_row(
            f"tinyml/{b.name}",
            b.cpu.name,
            b.cpu.isa,
            f"{b.clock_hz / 1e6:g}",
            f"{b.flash_bytes // 1024:,}",
            f"{b.ram_bytes // 1024:,}",
            b.machine.name,
            b.description,
        )
    console = stdout_console()
    console.print(table)
    console.print(
        f"tinyml alone is tinyml/{DEFAULT_BOARD}. RAM is the largest contiguous on-chip RAM. A board of your own is a "
        "TOML file like those in targets/boards: --target my_board.toml",
        soft_wrap=True,
    )
    return 0
