"""``make bench``: compiles and runs models on emulated cores and writes the figures to docs/benchmarks.md.

    python -m tvm_tiny.bench [--board BOARD ...] [--output docs/benchmarks.md] [MODEL ...]

Without models: the bundled one, and those of ../shared/models where that folder exists. Instruction counts and bytes
are exact and repeatable; seconds are those of the machine it ran on.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny import demo
from tvm_tiny.cli.console import progress
from tvm_tiny.cli.main import format_error
from tvm_tiny.errors import TvmTinyError
from tvm_tiny.files import write_file

if TYPE_CHECKING:
    from tvm_tiny.measure import Report
    from tvm_tiny.schedules.records import Records

BOARDS = ("qemu-m4", "qemu-m7", "qemu-m55", "qemu-m3")
# Instructions of others per inference, same model files, same emulator and compiler (gcc 12.2): TFLite Micro 90b983c2
# with CMSIS-NN at its own release flags; TinyEngine 47bb283 at -Ofast; microTVM's last release, best options per model.
CMSIS_NN = {
    "ad01_int8": {"qemu-m4": 582_942, "qemu-m7": 583_244, "qemu-m55": 149_995},
    "kws_int8": {"qemu-m4": 7_696_426, "qemu-m7": 7_642_173, "qemu-m55": 1_812_128},
    "resnet8_int8": {"qemu-m4": 29_863_173, "qemu-m7": 30_025_867, "qemu-m55": 4_911_694},
    "vww96_int8": {"qemu-m4": 24_101_936, "qemu-m7": 24_025_562, "qemu-m55": 6_558_312},
    "mcunet_vww": {"qemu-m4": 48_626_787, "qemu-m7": 47_796_231, "qemu-m55": 11_958_939},
    "mobilenet_v2_224_int8": {"qemu-m4": 798_471_674, "qemu-m7": 789_749_343, "qemu-m55": 176_635_931},
}
MICROTVM = {
    "ad01_int8": 1.36e6,
    "kws_int8": 4.23e6,
    "resnet8_int8": 23.9e6,
    "vww96_int8": 8.77e6,
    "mcunet_vww": 80.4e6,
}
TINYENGINE = {"mcunet_vww": 42.7e6}
_M4_CODE = ("qemu-m4", "qemu-m7")
SHARED_MODELS = Path("..", "shared", "models")
_MARK = "<!-- figures -->"
_SEED = 1


@dataclass(frozen=True)
class Figures:
    """One model on one board."""

    board: str
    compile_seconds: float
    report: Report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tvm_tiny.bench", description=(__doc__ or "").split(":", 1)[1])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--board", action="append", metavar="BOARD", help=f"default: {', '.join(BOARDS)}")
    parser.add_argument("--output", type=Path, default=Path("docs", "benchmarks.md"))
    args = parser.parse_args(arguments)
    models = args.models or [demo.TFLITE, *sorted(SHARED_MODELS.glob("*.tflite"))]
    boards = args.board or list(BOARDS)
    try:
        figures = []
        with progress("benchmark") as advance:
            for model in models:
                for board in boards:
                    figures.append(measure(model, board))
                    advance(len(figures), len(models) * len(boards))
        write(args.output, f"{table(figures)}\n{comparison(figures)}")
    except TvmTinyError as error:
        print(format_error(error.message, error.hints), file=sys.stderr)
        return 1
    print(f"{args.output}: {len(figures)} rows")
    return 0


def measure(model: Path, board: str, records: Records | str | None = "shipped") -> Figures:
    """Compile ``model`` for ``board`` and run it on one random input, the same every time.

    Parameters
    ----------
    records : as ``tuning_records`` of ``tvm_tiny.compile``
    """
    import tvm_tiny
    from tvm_tiny.measure import run_model

    start = time.perf_counter()
    compiled = tvm_tiny.compile(model, board, tuning_records=records)
    seconds = time.perf_counter() - start
    inputs = random_inputs(compiled.report()["inputs"])
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
        archive = compiled.export(Path(folder) / f"{model.stem}.tar")
        return Figures(board, seconds, run_model(archive, device="qemu", inputs=inputs).report)


def random_inputs(tensors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Random arrays by name for the ``inputs`` of an archive, the same every time."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    return {t["name"]: _random(rng, t) for t in tensors}


def _random(rng: Any, tensor: dict[str, Any]) -> Any:
    import numpy as np

    if tensor["dtype"] == "float32":
        return rng.uniform(-1, 1, tensor["shape"]).astype(np.float32)
    limits = np.iinfo(tensor["dtype"])
    return rng.integers(limits.min, limits.max + 1, tensor["shape"]).astype(tensor["dtype"])


def table(figures: Sequence[Figures]) -> str:
    """The figures as a Markdown table."""
    counted = ("model", "board", "MACs", "executed", "instructions", "per MAC")
    heading = (*counted, "arena", "io", "stack", "RAM", "code", "weights")
    lines = [f"| {' | '.join((*heading, 'compile s'))} |", f"|{'---|' * 2}{'---:|' * (len(heading) - 1)}"]
    for f in figures:
        r = f.report.to_dict()
        ram, flash = r["ram"], r["flash"]
        numbers = (
            f"{r['macs']:,}",
            f"{r['executed_macs']:,}",
            f"{r['instructions']:,.0f}",
            f"{r['instructions'] / r['executed_macs']:.2f}",
            *(f"{ram[k]:,}" for k in ("arena_bytes", "io_bytes", "stack_bytes", "total_bytes")),
            *(f"{flash[k]:,}" for k in ("code_bytes", "weights_bytes")),
            f"{f.compile_seconds:.1f}",
        )
        lines.append(f"| {r['model']} | {f.board} | {' | '.join(numbers)} |")
    lines += ["", f"Python {platform.python_version()}, {platform.machine()}."]
    return "\n".join(lines) + "\n"


def comparison(figures: Sequence[Figures]) -> str:
    """Our instructions beside those of others, as a Markdown table."""
    lines = ["Instructions beside those of others; x: how many times as many they take.", ""]
    lines += [
        "| model | board | tvm-tiny | TFLite Micro + CMSIS-NN | microTVM | TinyEngine |",
        f"|---|---|{'---:|' * 4}",
    ]
    for f in figures:
        model, ours = f.report.model, f.report.instructions
        theirs = CMSIS_NN.get(model, {}).get(f.board)
        if theirs is None or ours is None:
            continue
        same_code = f.board in _M4_CODE
        others = (theirs, *(known.get(model) if same_code else None for known in (MICROTVM, TINYENGINE)))
        cells = ("" if n is None else f"{n:,.0f} ({n / ours:.1f}x)" for n in others)
        lines.append(f"| {model} | {f.board} | {ours:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Put ``text`` behind the mark in ``path``, whose part above it is written by hand."""
    above = path.read_text(encoding="utf-8").split(_MARK)[0] if path.exists() else "# Benchmarks\n\n"
    write_file(path, f"{above}{_MARK}\n\n{text}".encode())


if __name__ == "__main__":
    sys.exit(main())
