"""Calls a C compiler and turns what it says into errors."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import BuildFailedError, MemoryOverflowError, ToolMissingError, tool_timeout_s
else:
    from server import BuildFailedError, MemoryOverflowError, ToolMissingError, tool_timeout_s

_LOG = logging.getLogger(__name__)
_OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes?")
_TAIL_LINES = 25


def find_program(names: Sequence[str], package: str, how: str = "sudo apt-get install") -> str:
    """Path of the first of ``names`` that is installed; ``package`` is what to install, and ``how``, when none is.

    Programs that come as Python packages, like cmake and west, are found beside this interpreter, too.
    """
    for name in names:
        path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if path:
            return path
    raise ToolMissingError(
        f"{' or '.join(map(repr, names))} not found",
        hints=[f"install it: {how} {package}", "tvmc doctor"],
    )


def run_tool(command: Sequence[str], *, cwd: Path) -> str:
    """Run a compiler; its output. Raises with the end of the output when it fails."""
    _LOG.info("%s", shlex.join(command))
    timeout_s = tool_timeout_s()
    try:
        done = subprocess.run(
            [*death_signal(), *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailedError(
            f"{command[0]} did not finish within {timeout_s:g} s",
            hints=["more time: environment variable TVM_TINY_TOOL_TIMEOUT, in seconds"],
        ) from error
    except OSError as error:
        raise ToolMissingError(f"cannot run {command[0]}: {error.strerror}") from error
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode == 0:
        if output:
            _LOG.info("%s", output.rstrip())
        return output
    overflows = {region: int(n) for region, n in _OVERFLOW.findall(output)}
    if overflows:
        text = ", ".join(f"{region} by {n:,} bytes" for region, n in overflows.items())
        raise MemoryOverflowError(f"model overflows {text}", overflows=overflows)
    tail = "\n".join("  " + line for line in output.strip().splitlines()[-_TAIL_LINES:])
    raise BuildFailedError(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{tail}")


def death_signal() -> list[str]:
    """Prefix of a command that lets it die with this process, even if that is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def compile_all(compile_command: Sequence[str], sources: Mapping[str, Path], build_dir: Path) -> list[str]:
    """Compile ``sources`` (object name -> C file) into ``build_dir``; the object names, in order.

    Debug information names the folder that ``build_dir`` will be, the project's "build".
    """
    moved = f"-ffile-prefix-map={build_dir}={build_dir.with_name('build')}"

    def compile_one(item: tuple[str, Path]) -> str:
        name, source = item
        run_tool([*compile_command, moved, "-c", str(source), "-o", name], cwd=build_dir)
        return name

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(compile_one, sources.items()))
