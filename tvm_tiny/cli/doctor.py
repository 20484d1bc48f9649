"""``tvmc doctor``: what is installed, what is missing, how to get it."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any, Literal

from tvm_tiny.cli.console import stdout_console

_APT = "sudo apt-get install"
_PIP = f"{sys.executable} -m pip install"
Need = Literal["required", "optional"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Parameters
    ----------
    need : whether compiling, running and testing need it
    found : version or place; None when it is missing
    remedy : how to get it
    """

    name: str
    need: Need
    found: str | None
    remedy: str


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        allow_abbrev=False,
        help="check what is installed",
        description="Check compilers, emulator and Python packages; exits 1 if something that is needed is missing.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.table import Table

    findings = [*_programs(), *_packages(), _plugin()]
    table = Table("", "what", "found", "how to get it")
    for f in findings:
        mark = "[green]ok[/green]" if f.found else ("[red]missing[/red]" if f.need == "required" else "[dim]no[/dim]")
        table.add_row(mark, f.name, f.found or "", "" if f.found else f.remedy)
    console = stdout_console()
    console.print(table)
    missing = [f for f in findings if f.found is None and f.need == "required"]
    if not missing:
        console.print("Everything that is needed is there.")
        return 0
    console.print("Missing: " + ", ".join(f.name for f in missing) + ". Things to try:")
    for remedy in dict.fromkeys(f.remedy for f in missing):
        console.print(f"  - {remedy}", markup=False, soft_wrap=True)
    return 1


def _programs() -> list[Finding]:
    arm = "gcc-arm-none-eabi"
    library = f"{_APT} libnewlib-arm-none-eabi (or picolibc-arm-none-eabi)"
    return [
        Finding("host C compiler", "required", _host_compiler(), f"{_APT} gcc"),
        Finding("arm-none-eabi-gcc", "required", _version_of("arm-none-eabi-gcc"), f"{_APT} {arm}"),
        Finding("C library for Cortex-M", "required", _c_library(), library),
        Finding("qemu-system-arm", "required", _version_of("qemu-system-arm"), f"{_APT} qemu-system-arm"),
        Finding("pyocd (flashing boards)", "optional", _version_of("pyocd"), f"{_PIP} pyocd"),
        Finding("cmake (platform cmake)", "optional", _version_of("cmake"), f"{_APT} cmake"),
        Finding("west (Zephyr)", "optional", _version_of("west"), f"{_PIP} west"),
    ]


def _host_compiler() -> str | None:
    return _version_of("gcc") or _version_of("cc") or _version_of("clang")


def _version_of(program: str) -> str | None:
    """The first line of ``program --version`` with its path; None if it is absent or does not run."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    first_line = next(iter((done.stdout or done.stderr).splitlines()), "")
    version = re.search(r"\d+(\.\d+)+", first_line)
    return f"{version.group() if version else first_line} ({path})"


def _c_library() -> str | None:
    """Which C libraries link a program for a core with FPU and one without."""
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        return None
    found = [
        name
        for name, specs in (("picolibc", ["--specs=picolibc.specs"]), ("newlib", ["--specs=nosys.specs"]))
        if _links(gcc, specs)
    ]
    return ", ".join(found) or None


def _links(gcc: str, specs: list[str]) -> bool:
    source = "#include <string.h>\nint main(int n, char **v) { return memcmp(v[0], v[1], (size_t)n); }\n"
    with tempfile.TemporaryDirectory() as folder:
        for cpu in ("-mcpu=cortex-m0plus -mthumb", "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"):
            command = [gcc, *cpu.split(), *specs, "-x", "c", "-", "-o", f"{folder}/probe.elf"]
            try:
                subprocess.run(command, input=source, capture_output=True, text=True, timeout=60, check=True)
            except (OSError, subprocess.SubprocessError):
                return False
    return True


def _packages() -> list[Finding]:
    """Every distribution ``tvm-tiny`` depends on, with the installed version against what is asked for."""
    from importlib import metadata

    try:
        requirements = metadata.requires("tvm-tiny") or []
    except metadata.PackageNotFoundError:
        return [Finding("tvm-tiny", "required", None, f"{_PIP} -e . in the repository")]
    from packaging.requirements import Requirement

    findings = []
    for text in requirements:
        requirement = Requirement(text)
        extra = "extra" in str(requirement.marker or "")
        if requirement.marker and not requirement.marker.evaluate({"extra": "test" if extra else ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        need: Need = "optional" if extra else "required"
        name = f"{requirement.name} (tests)" if extra else requirement.name
        remedy = f"{_PIP} '{wanted}'" + (f" (installed: {version})" if version and not fits else "")
        findings.append(Finding(name, need, version if fits else None, remedy))
    return findings


def _plugin() -> Finding:
    """Whether a bare ``import tvm`` knows our targets, seen from a fresh interpreter."""
    code = "import tvm; print(tvm.target.Target('tinyml/qemu-m7').attrs['mcpu'])"
    remedy = f"{_PIP} --force-reinstall --no-deps tvm-tiny (its entry point tvm.backends is not installed)"
    try:
        subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=300, check=True)
    except subprocess.SubprocessError:
        return Finding("TVM plug-in", "required", None, remedy)
    return Finding("TVM plug-in", "required", "Target('tinyml') resolves", remedy)
