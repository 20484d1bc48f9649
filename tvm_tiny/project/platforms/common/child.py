"""A device that is a process of this machine: its bytes, its end, and what it said before."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .compiler import death_signal

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import TransportClosedError, read_with_timeout, write_with_timeout
else:
    from server import TransportClosedError, read_with_timeout, write_with_timeout

_GRACE_S = 2.0
_TAIL_LINES = 15
TO_DEVICE, FROM_DEVICE = "to_device", "from_device"


class Child:
    """A running process with a byte stream each way.

    Parameters
    ----------
    command : program and arguments
    folder : working directory; with ``pipes`` "named" the process opens ``to_device`` and ``from_device`` there
    pipes : "standard" for stdin and stdout, or "named"
    on_close : called once the process has ended
    """

    def __init__(self, command: Sequence[str], folder: Path, pipes: str, on_close: Callable[[], None]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        self._on_close = on_close
        named = pipes == "named"
        if named:
            os.mkfifo(folder / TO_DEVICE, 0o600)
            os.mkfifo(folder / FROM_DEVICE, 0o600)
        self._process = subprocess.Popen(
            [*death_signal(), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL if named else subprocess.PIPE,
            stdout=self._log if named else subprocess.PIPE,
            stderr=self._log,
        )
        if named:
            # Opened for both directions, writing does not wait until the device opens its end.
            self._write_fd = os.open(folder / TO_DEVICE, os.O_RDWR)
            self._read_fd = os.open(folder / FROM_DEVICE, os.O_RDONLY | os.O_NONBLOCK)
        else:
            assert self._process.stdin
            assert self._process.stdout
            self._write_fd = os.dup(self._process.stdin.fileno())
            self._read_fd = os.dup(self._process.stdout.fileno())
            self._process.stdin.close()
            self._process.stdout.close()
        os.set_blocking(self._write_fd, False)
        os.set_blocking(self._read_fd, False)

    def read(self, n: int, timeout_sec: float | None) -> bytes:
        """Read 1 to n bytes."""
        try:
            return read_with_timeout(self._read_fd, n, timeout_sec, self._check)
        except TransportClosedError as error:
            raise self._death() from error

    def write(self, data: bytes, timeout_sec: float | None) -> None:
        """Write all of ``data``."""
        try:
            write_with_timeout(self._write_fd, data, timeout_sec, self._check)
        except TransportClosedError as error:
            raise self._death() from error

    def close(self) -> None:
        """Kill the process, unless it ends by itself now that the host has hung up."""
        os.close(self._write_fd)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S / 4)
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        os.close(self._read_fd)
        self._log.close()
        self._on_close()

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise self._death()

    def _death(self) -> TransportClosedError:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return TransportClosedError("the device closed the connection")
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[-_TAIL_LINES:]
        return TransportClosedError(f"the model's process ended: {how}" + "".join(f"\n  {line}" for line in lines))
