"""Everything a session has measured, on disk at once: a session that dies has lost nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_tiny.errors import OutputError
from tvm_tiny.files import InUseError, locked
from tvm_tiny.schedules import Decisions
from tvm_tiny.tune.image import Measurement

FILE = "measurements.jsonl"
_WAIT_S = 2.0
"""Longest wait for another session: one that was killed ends at once, one at work goes on for minutes."""

Key = tuple[str, str, str, str]
"""Task, core, device, decisions as JSON."""


@dataclass(frozen=True)
class Entry:
    """One line: a measurement, and of what.

    kernels : ``records.fingerprint()`` when it was made
    """

    task: str
    cpu: str
    device: str
    decisions: Decisions
    measurement: Measurement

    @property
    def key(self) -> Key:
        return (self.task, self.cpu, self.device, json.dumps(dict(self.decisions), sort_keys=True))


class MeasurementLog:
    """A file of entries, one per line, of today's kernels; lines of other kernels stay and do not count.

    One process at a time has the folder, until it closes the log or ends.

    Parameters
    ----------
    folder : made if it is not there
    kernels : ``records.fingerprint()``

    Raises
    ------
    OutputError : the folder cannot be made or the file not be written, or another session is at work there
    """

    def __init__(self, folder: Path, kernels: str) -> None:
        self.path, self._kernels = folder / FILE, kernels
        self._entries: dict[Key, Entry] = {}
        self.stale = 0
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder, _WAIT_S))
                # Not buffered: what a full disk did not take would be tried again when the file is closed.
                self._file = stack.enter_context(self.path.open("ab", buffering=0))
                content = self.path.read_bytes()
            except InUseError as e:
                hints = ["wait for it to end", "choose another -o"]
                raise OutputError(f"'{folder}': another tuning session is at work in it", hints=hints) from e
            except OSError as e:
                raise OutputError(f"'{self.path}' cannot be written: {e.strerror}", hints=["choose another -o"]) from e
            self._stack = stack.pop_all()
        whole, _, rest = content.rpartition(b"\n")
        for line in whole.splitlines():
            self._take(line)
        if rest:  # a line that was being written when the session died
            os.truncate(self.path, len(content) - len(rest))

    def _take(self, line: bytes) -> None:
        try:
            raw: dict[str, Any] = json.loads(line)
            entry = _entry(raw)
            kernels = raw["kernels"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if kernels == self._kernels:
            self._entries[entry.key] = entry
        else:
            self.stale += 1

    def __enter__(self) -> MeasurementLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, key: Key) -> Measurement | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.measurement

    def add(self, entries: Iterable[Entry]) -> None:
        """Write entries; they are on disk when this returns."""
        text = b""
        for entry in entries:
            self._entries[entry.key] = entry
            raw: Mapping[str, Any] = {**asdict(entry), "decisions": dict(entry.decisions), "kernels": self._kernels}
            text += json.dumps(raw).encode() + b"\n"
        try:
            left = memoryview(text)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as e:
            raise OutputError(f"'{self.path}' cannot be written: {e.strerror}", hints=["choose another -o"]) from e

    def of_task(self, task: str, cpu: str, device: str) -> list[Entry]:
        """All that was measured for a task."""
        return [e for e in self._entries.values() if (e.task, e.cpu, e.device) == (task, cpu, device)]


def _entry(raw: Mapping[str, Any]) -> Entry:
    """An entry as ``MeasurementLog.add`` wrote it; anything else raises one of the errors of damaged JSON."""
    measurement = Measurement(**raw["measurement"])
    entry = Entry(raw["task"], raw["cpu"], raw["device"], dict(raw["decisions"]), measurement)
    texts = (entry.task, entry.cpu, entry.device, measurement.status, measurement.detail, *entry.decisions)
    numbers = (measurement.instructions, measurement.cycles, measurement.code_bytes, measurement.seconds)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if not all(isinstance(value, str | int) for value in entry.decisions.values()):
        raise TypeError("a decision is neither text nor number")
    if not all(n is None or (isinstance(n, int | float) and 0 <= n < math.inf) for n in numbers):
        raise ValueError("a measured number is none")
    return entry
