"""Untuned, with shipped records, and tuned for the model itself: what each takes, as a Markdown table.

    python -m tvm_tiny.bench_tuning [--board BOARD ...] [--sessions DIR] [MODEL ...]

Without models: the bundled one, and those of ../shared/models where that folder exists. A session runs every candidate
of every layer that can be tuned, so large models take a while; with ``--sessions`` what was measured is kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tvm_tiny import demo
from tvm_tiny.bench import SHARED_MODELS, measure
from tvm_tiny.cli.main import format_error
from tvm_tiny.errors import TvmTinyError

BOARDS = ("qemu-m4", "qemu-m7", "qemu-m33", "qemu-m55")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m tvm_tiny.bench_tuning", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--board", action="append", metavar="BOARD", help=f"default: {', '.join(BOARDS)}")
    parser.add_argument("--sessions", type=Path, metavar="DIR", help="keep what was measured here, and go on from it")
    args = parser.parse_args(arguments)
    kinds = ("untuned", "shipped", "tuned")
    heading = (
        "model",
        "board",
        "candidates",
        *(f"{what}, {k}" for what in ("instructions", "modelled cycles") for k in kinds),
    )
    print(f"| {' | '.join(heading)} |")
    print(f"|{'---|' * 2}{'---:|' * 7}")
    try:
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as temporary:
            for board in args.board or BOARDS:
                for model in args.models or [demo.TFLITE, *sorted(SHARED_MODELS.glob("*.tflite"))]:
                    print(line(model, board, (args.sessions or Path(temporary)) / board), flush=True)
    except TvmTinyError as error:
        print(format_error(error.message, error.hints), file=sys.stderr)
        return 1
    return 0


def line(model: Path, board: str, session: Path) -> str:
    """Tune ``model`` for ``board``, measuring into the folder ``session``, and run it with each set of records."""
    from tvm_tiny.tune import tune

    tuned = tune(model, board, output=session)
    reports = [measure(model, board, records).report for records in (None, "shipped", tuned.records)]
    candidates = sum(state.measured for state in tuned.states)
    figures = (candidates, *(r.instructions for r in reports), *(r.modelled_cycles for r in reports))
    numbers = " | ".join(f"{n:,.0f}" for n in figures)
    return f"| {model.stem} | {board} | {numbers} |"


if __name__ == "__main__":
    sys.exit(main())
