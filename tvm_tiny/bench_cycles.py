"""Holds the cycle model against published figures of real boards, and writes the result to docs/cycle_model.md.

    python -m tvm_tiny.bench_cycles [--models ../shared/models] [--output docs/cycle_model.md]

Nobody has published cycles of code that tvm-tiny made, so ratios are compared: cycles per instruction with those of a
stack whose instructions were counted in the same emulator, the gain from weights in RAM, and Cortex-M7 against M4.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_tiny.bench import SHARED_MODELS, random_inputs, write
from tvm_tiny.cli.console import progress
from tvm_tiny.cli.main import format_error
from tvm_tiny.errors import TvmTinyError

M4, F7, H7 = "nucleo_l4r5zi", "stm32f746g_disco", "stm32h743"
# MLPerf Tiny v0.5 to v1.2 submissions: STM32L4R5 at 120 MHz, microTVM with CMSIS-NN, cycles; and instructions of TFLite
# Micro with CMSIS-NN on the same models in QEMU.
CMSIS_NN = {
    "ad01_int8": (1.03e6, 582_942),
    "kws_int8": (12.0e6, 7_696_426),
    "resnet8_int8": (46.7e6, 29_863_173),
    "vww96_int8": (36.1e6, 24_101_936),
}
# The same submissions, X-CUBE-AI 9.0: cycles on STM32L4R5 (M4) and STM32H7A3 (M7).
X_CUBE_AI = {
    "ad01_int8": (0.63e6, 0.34e6),
    "kws_int8": (5.2e6, 3.2e6),
    "resnet8_int8": (19.8e6, 11.4e6),
    "vww96_int8": (10.7e6, 6.7e6),
}
# What moving the weights of ad01_int8 from flash to RAM saved, in percent, on STM32L4R5, STM32F746 and STM32H7A3.
WEIGHTS_IN_RAM = {M4: 19.0, F7: 17.0, H7: 20.0}
FULLY_CONNECTED = "ad01_int8"


@dataclass(frozen=True)
class Modelled:
    """One model on one board: counted instructions, modelled cycles, and what of these is waiting for weights."""

    instructions: float
    cycles: float
    waits: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_tiny.bench_cycles", description=(__doc__ or "").split(":", 1)[1]
    )
    parser.add_argument("--models", type=Path, default=SHARED_MODELS, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("docs", "cycle_model.md"))
    args = parser.parse_args(arguments)
    wanted = [*((name, board) for name in CMSIS_NN for board in (M4, H7)), (FULLY_CONNECTED, F7)]
    try:
        figures = {}
        with progress("cycle model") as advance:
            for name, board in wanted:
                figures[name, board] = measure(args.models / f"{name}.tflite", board)
                advance(len(figures), len(wanted))
        write(args.output, tables(figures))
    except TvmTinyError as error:
        print(format_error(error.message, error.hints), file=sys.stderr)
        return 1
    print(f"{args.output}: {len(figures)} runs")
    return 0


def measure(path: Path, board: str) -> Modelled:
    """Compile and run one model on one random input, the same every time."""
    import tvm_tiny
    from tvm_tiny.measure import run_model
    from tvm_tiny.targets import load_board

    compiled = tvm_tiny.compile(path, board)
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
        archive = compiled.export(Path(folder) / "model.tar")
        result = run_model(archive, device="qemu", inputs=random_inputs(compiled.report()["inputs"]))
    timing = load_board(board).flash_timing
    assert timing is not None
    assert result.counts is not None
    assert result.report.instructions is not None
    waits = sum(part.data_waits for part in result.counts[0].parts) * timing.wait_states
    return Modelled(result.report.instructions, result.report.modelled_cycles or 0.0, waits)


def tables(figures: dict[tuple[str, str], Modelled]) -> str:
    """The comparison as Markdown."""
    lines = [
        "Cycles per instruction on STM32L4R5: published for CMSIS-NN's kernels, modelled for ours.",
        "",
        "| model | published cycles / counted instructions | published | modelled | model is off by |",
        "|---|---|---:|---:|---:|",
    ]
    for name, (cycles, instructions) in CMSIS_NN.items():
        ours = figures[name, M4]
        published = cycles / instructions
        modelled = ours.cycles / ours.instructions
        what = f"{cycles / 1e6:.2f} M / {instructions / 1e6:.2f} M"
        lines.append(f"| {name} | {what} | {published:.2f} | {modelled:.2f} | {_off(modelled, published)} |")
    lines += [
        "",
        f"What weights in RAM save ({FULLY_CONNECTED}): measured with other kernels, modelled for ours.",
        "",
        "| board of the model (of the measurement) | measured | modelled |",
        "|---|---:|---:|",
    ]
    for board, measured in WEIGHTS_IN_RAM.items():
        ours = figures[FULLY_CONNECTED, board]
        note = f"{board} (STM32H7A3)" if board == H7 else board
        lines.append(f"| {note} | {measured:.0f} % | {100 * ours.waits / ours.cycles:.0f} % |")
    lines += [
        "",
        "Cycles on Cortex-M7 (published: STM32H7A3; modelled: stm32h743) over cycles on Cortex-M4 (STM32L4R5).",
        "",
        "| model | published (X-CUBE-AI) | modelled | model is off by |",
        "|---|---:|---:|---:|",
    ]
    for name, (on_m4, on_m7) in X_CUBE_AI.items():
        published = on_m7 / on_m4
        modelled = figures[name, H7].cycles / figures[name, M4].cycles
        lines.append(f"| {name} | {published:.2f} | {modelled:.2f} | {_off(modelled, published)} |")
    return "\n".join(lines) + "\n"


def _off(modelled: float, published: float) -> str:
    return f"{100 * (modelled / published - 1):+.0f} %"


if __name__ == "__main__":
    sys.exit(main())
