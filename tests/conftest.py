"""What tests of every folder share: external tools and the models and vectors beside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# The same examples in every run, so that a failure is the change's own; TVM_TINY_EXPLORE=1 looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
if not os.environ.get("TVM_TINY_EXPLORE"):
    hypothesis.settings.load_profile("repeatable")


def _missing(what: str) -> None:
    """Skip, naming what is missing; in CI, where everything has to be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("qemu-system-arm")`` is the program's path."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            _missing(name)
        return str(path)

    return find


@pytest.fixture(scope="session")
def optional_tool() -> Callable[[str], str]:
    """Like ``tool``, for programs that nothing but a few tests use: their absence skips in CI, too."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser for the pages that are made."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        _missing("chromium")
    return str(path)


@pytest.fixture(scope="session")
def arm_gcc(tool: Callable[[str], str]) -> list[str]:
    """The compiler for Cortex-M with what it needs to find its C library: newlib, or picolibc by its specs."""
    gcc = tool("arm-none-eabi-gcc")
    for specs in ([], ["--specs=picolibc.specs"]):
        command = [gcc, *specs, "-fsyntax-only", "-x", "c", "-"]
        done = subprocess.run(command, input="#include <string.h>\n", capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [gcc, *specs]
    _missing("a C library for arm-none-eabi-gcc")
    return []


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """``shared_file("models/kws_int8.tflite")`` is the path of a file in ../shared."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.is_file():
            _missing(f"../shared/{name}")
        return path

    return find
