"""Compilers for Cortex-M under one name: a toolchain that has one of them compile the model, and gcc all the rest."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = """#!/bin/sh
case " $* " in
*" -c "*" -o model_"*) ;;
*" -c "*) exec {gcc} "$@" ;;
*) exec {gcc} "$@" {link_flags} ;;
esac
for argument; do
  shift
  case "$argument" in {dropped}) continue ;; esac
  set -- "$@" "$argument"
done
exec {compiler} "$@" {flags}
"""


def toolchain(arm_gcc: Sequence[str], compiler: str, folder: Path, *flags: str) -> str:
    """Value of the project option ``toolchain``.

    Parameters
    ----------
    arm_gcc : gcc, and what it needs to find its C library
    compiler : "gcc", or the path of clang
    folder : where the toolchain's programs go
    flags : more of them for the model's sources, of gcc for the link, too
    """
    gcc, *_ = arm_gcc
    words = {"gcc": gcc, "link_flags": " ".join(flags), "flags": " ".join(flags)}
    if compiler == "gcc":
        words |= {"compiler": gcc, "dropped": "''"}
    else:
        # The C library is gcc's, which finds it by specs.
        clang = [compiler, "--target=arm-none-eabi", "-isystem", str(_headers(arm_gcc))]
        words |= {"compiler": " ".join(clang), "dropped": "--specs=*", "link_flags": ""}
    script = folder / "some-gcc"
    script.write_text(_SCRIPT.format(**words), encoding="utf-8")
    script.chmod(0o755)
    (folder / "some-objcopy").symlink_to(str(shutil.which("arm-none-eabi-objcopy")))
    return f"{folder}/some-"


def _headers(arm_gcc: Sequence[str]) -> Path:
    command = [*arm_gcc, "-E", "-x", "c", "-"]
    text = subprocess.run(
        command, input="#include <string.h>\n", capture_output=True, text=True, timeout=60, check=True
    ).stdout
    paths = (Path(line.split('"')[1]) for line in text.splitlines() if line.startswith("# ") and '"' in line)
    return next(path.parent for path in paths if path.name == "string.h")
