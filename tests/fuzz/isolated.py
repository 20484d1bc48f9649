"""Jobs in a child process: what crashes or hangs there is a result like any other."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import pickle
import resource
import select
import signal
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

_HEAD = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
"""Linux: a process ends with its parent, so no child that hangs stays behind."""


@dataclass(frozen=True)
class Died:
    """How a child process ended in the middle of a job: the signal or exit code, and what it wrote to stderr."""

    how: str
    stderr: str

    def __str__(self) -> str:
        return f"{self.how}\n{self.stderr}".rstrip()


def run_jobs(jobs: Sequence[Callable[[], Any]], timeout_s: float, memory_bytes: int | None = None) -> list[Any]:
    """Results in order, each what a job gave (it must not raise), or ``Died``; after a death, another child goes on.

    timeout_s : longest time for one job
    memory_bytes : most address space of the child
    """
    results: list[Any] = []
    while len(results) < len(jobs):
        died = _run_some(jobs[len(results) :], timeout_s, memory_bytes, results)
        if died is not None:
            results.append(died)
    return results


def _run_some(
    jobs: Sequence[Callable[[], Any]], timeout_s: float, memory_bytes: int | None, results: list[Any]
) -> Died | None:
    read, write = os.pipe()
    with tempfile.TemporaryFile() as stderr:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TVM has idle threads; the child needs none of them
            pid = os.fork()
        if pid == 0:
            os.close(read)
            _serve(jobs, write, stderr.fileno(), memory_bytes)
        os.close(write)
        wanted = len(results) + len(jobs)
        try:
            late = False
            while len(results) < wanted:
                message = _receive(read, time.monotonic() + timeout_s)
                if message is None or message == "late":
                    late = message == "late"
                    break
                results.append(pickle.loads(message))
        finally:
            os.close(read)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        if len(results) == wanted:
            return None
        stderr.seek(0)
        text = stderr.read().decode("utf-8", "replace")[-3000:]
    if late:
        return Died(f"not done within {timeout_s:g} s", text)
    code = os.waitstatus_to_exitcode(status)
    return Died(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}", text)


def _receive(descriptor: int, until: float) -> Any:
    """The next message; "late" where there is none in time, None where there will be none."""
    data = b""
    wanted = _HEAD.size
    while True:
        if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            return "late"
        part = os.read(descriptor, min(wanted - len(data), 1 << 20))
        if not part:
            return None
        data += part
        if len(data) < wanted:
            continue
        if wanted > _HEAD.size:
            return data[_HEAD.size :]
        wanted += _HEAD.unpack(data)[0]


def _serve(jobs: Sequence[Callable[[], Any]], descriptor: int, stderr: int, memory_bytes: int | None) -> NoReturn:
    code = 70
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        os.dup2(stderr, 1)
        os.dup2(stderr, 2)
        faulthandler.enable(file=stderr, all_threads=False)
        with os.fdopen(descriptor, "wb") as out:
            for job in jobs:
                message = pickle.dumps(job())
                out.write(_HEAD.pack(len(message)) + message)
                out.flush()
        code = 0
    finally:
        os._exit(code)
