"""``make demo``: the bundled model, compiled and run on an emulated Cortex-M7, held against the reference's outputs.

    python -m tvm_tiny.demo.demo [BOARD]

Exits 1 when a single output byte differs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_tiny.cli.console import progress, stdout_console
from tvm_tiny.cli.main import format_error
from tvm_tiny.demo import TEST_SET, TFLITE
from tvm_tiny.errors import TvmTinyError

if TYPE_CHECKING:
    from rich.console import Console

    from tvm_tiny.measure import Report


@dataclass(frozen=True)
class Outcome:
    """What the demo found.

    Parameters
    ----------
    images : number of held-out images
    correct, reference_correct : how many our firmware and the reference classified right
    output_bytes, differing_bytes : of all outputs together
    """

    images: int
    correct: int
    reference_correct: int
    output_bytes: int
    differing_bytes: int
    compile_seconds: float
    run_seconds: float
    report: Report

    @property
    def is_exact(self) -> bool:
        """Whether every output is the reference's."""
        return self.differing_bytes == 0 and self.correct == self.reference_correct


def run_demo(board: str = "qemu-m7") -> Outcome:
    """Compile the bundled model for ``board`` and run all held-out images in one emulated firmware."""
    import numpy as np

    import tvm_tiny
    from tvm_tiny.measure import run_model

    with np.load(TEST_SET) as file:
        inputs, labels, expected = file["inputs"], file["labels"], file["outputs"]
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
        start = time.perf_counter()
        with progress("compiling the bundled model"):
            archive = tvm_tiny.compile(TFLITE, board).export(Path(folder) / "model.tar")
        compiled = time.perf_counter()
        with progress("running the held-out images") as advance:
            result = run_model(archive, device="qemu", inputs={"inputs": inputs}, on_progress=advance)
        done = time.perf_counter()
    (outputs,) = result.outputs.values()
    return Outcome(
        images=len(labels),
        correct=int(np.sum(outputs[:, 0].argmax(axis=1) == labels)),
        reference_correct=int(np.sum(expected[:, 0].argmax(axis=1) == labels)),
        output_bytes=expected.size,
        differing_bytes=int(np.sum(outputs != expected)),
        compile_seconds=compiled - start,
        run_seconds=done - compiled,
        report=result.report,
    )


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The report: accuracy against the reference, then instructions, RAM and flash."""
    from rich.table import Table

    console.print(f"Handwritten digits, 8x8 pixels: an int8 depthwise-separable CNN of {outcome.report.macs:,} MACs")
    console.print(f"compiled for {outcome.report.target} in {outcome.compile_seconds:.1f} s")
    console.print(f"{outcome.images} held-out images in one emulated firmware in {outcome.run_seconds:.1f} s\n")
    table = Table("", "this firmware", "TensorFlow Lite Micro", title="Held-out test set", title_justify="left")
    ours, reference = (
        f"{n / outcome.images:.2%} ({n} of {outcome.images})" for n in (outcome.correct, outcome.reference_correct)
    )
    table.add_row("accuracy", ours, reference)
    verdict = "identical" if outcome.is_exact else f"[red]{outcome.differing_bytes:,} differ[/red]"
    table.add_row("outputs", f"{outcome.output_bytes:,} bytes: {verdict}", f"{outcome.output_bytes:,} bytes")
    console.print(table)
    outcome.report.print(console, layers=True)


def main() -> int:
    """Run the demo and print its report; the exit code says whether it was exact."""
    try:
        outcome = run_demo(*sys.argv[1:2])
    except TvmTinyError as error:
        print(format_error(error.message, error.hints), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print_outcome(outcome, stdout_console())
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
