"""The installed console script: there, quick to answer, and without heavy imports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

TVMC = Path(sys.executable).parent / "tvmc"
LIMIT_S = 0.3


def test_help_answers_at_once() -> None:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([TVMC, "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    # The best of a few: other tests run beside this one.
    assert min(times) < LIMIT_S, f"tvmc --help took {min(times):.2f} s at best"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["compile", "--help"], ["run", "--help"], ["micro", "create", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from tvm_tiny.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as e:\n"
        "    assert e.code == 0\n"
        "heavy = {'tvm', 'tvm_ffi', 'numpy', 'onnx', 'tflite', 'rich', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_version_is_the_distributions() -> None:
    done = subprocess.run([TVMC, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tvm-tiny ")
