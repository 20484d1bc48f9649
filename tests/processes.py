"""Processes that tests start and end: what there is of them, by /proc; and disks that are full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_WAIT_S = 60.0
"""Longest wait for anything: a machine may be slow, a test does not hang."""


def state(pid: int) -> list[str]:
    """State, parent ... of a process; empty when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def children(pid: int) -> list[int]:
    """Processes that ``pid`` has started and that still run."""
    numbers = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [n for n in numbers if (fields := state(n)) and fields[1] == str(pid)]


def descendants(pid: int) -> list[int]:
    """The same with what those have started, and so on."""
    return [n for child in children(pid) for n in (child, *descendants(child))]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for ``condition``; fails after a minute."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def wait_for_end(pids: Iterable[int]) -> None:
    """Wait until none of the processes is left; kills them and fails after a minute."""
    left = list(pids)
    try:
        wait_until(lambda: not any(map(state, left)), f"left: {left}")
    finally:
        for pid in filter(state, left):
            os.kill(pid, signal.SIGKILL)


def start(program: str, environment: Mapping[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Run a Python program in which Ctrl-C interrupts, however this process was started."""
    first = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", first + program], env=variables, cwd=cwd, text=True, **pipes)


def tvmc(arguments: Sequence[object]) -> str:
    """The Python program that is ``tvmc`` with these arguments."""
    return f"import sys; from tvm_tiny.cli.main import main; sys.exit(main({[str(a) for a in arguments]!r}))"


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may get larger than ``room`` bytes; writing more fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
