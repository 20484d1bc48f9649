"""The installed console script: there, quick to answer, and without heavy imports."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

TVMC = Path(sys.executable).parent / "tvmc"
LIMIT_S = 0.3


def test_help_answers_at_once() -> None:
    # Processor time, not the clock's: other tests run beside this one.
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([TVMC, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
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
