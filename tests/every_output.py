"""Makes everything that tvm-tiny writes, in the current folder: ``python -m tests.every_output``."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

from tests.tune.fake_device import BOARD, FakeDevice
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.planner import exact
from tvm_tiny.tune import tune

PLATFORMS = ("native", "qemu", "board", "cmake", "zephyr", "arduino")
_OPTIONS = {
    "board": ["--project-option", "board=stm32f746g_disco"],
    "zephyr": ["--project-option", "board=nucleo_l4r5zi"],
}


def make(solved: list[object]) -> None:
    """Archives of a TFLite and an ONNX model, what is drawn and told of them, projects, firmware, tuning records.

    Parameters
    ----------
    solved : gets an entry for every use of the exact solver
    """
    solve = exact._solve
    exact._solve = lambda *arguments: (solved.append(1), solve(*arguments))[1]
    _tvmc("compile", demo.TFLITE, "--target", "tinyml/qemu-m7", "-o", "a.tar", "--dump-ir", "ir")
    _tvmc("compile", demo.ONNX, "--target", "tinyml/nrf52840dk", "-o", "b.tar", "--effort", "max", "--patch", "auto")
    for kind in ("html", "md", "json"):
        _tvmc("report", "b.tar", "-o", f"report.{kind}")
    _tvmc("inspect", "a.tar", "--json", "--svg", "arena.svg", "--dump-graph", "graph.onnx")
    _tvmc("plan", demo.TFLITE, "--json", "--svg", "plan.svg")
    for platform in PLATFORMS:
        _tvmc("micro", "create-project", platform, "b.tar", platform, *_OPTIONS.get(platform, []))
    _tvmc("micro", "build", "qemu")
    Path("qemu/build/firmware.hex").rename("firmware.hex")
    shutil.rmtree("qemu/build")  # the rest of it names the folder, for debuggers
    tune(demo.TFLITE, BOARD, output=Path("tuned"), device=FakeDevice(), trials=40)


def _tvmc(*arguments: object) -> None:
    with Path("printed.txt").open("a") as file, contextlib.redirect_stdout(file):
        if main([str(a) for a in arguments]) != 0:
            sys.exit(f"failed: tvmc {arguments}")


if __name__ == "__main__":
    solved: list[object] = []
    make(solved)
    Path("solved.txt").write_text(f"{len(solved)}\n")
