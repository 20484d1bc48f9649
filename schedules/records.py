"""Tuning records: which choices were found best for which layers on which core, by measuring."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tvm import relax

from tvm_tiny.errors import ArtifactError
from tvm_tiny.schedules.choices import KERNEL, Chooser, Decisions, Optimize
from tvm_tiny.schedules.task import Task, parse_task, task_of
from tvm_tiny.targets import Cpu

FORMAT = 1
RECORDS_FILE = "records.json"
"""In the folder of a session."""

FARTHEST = 1.0
"""How far, by ``Task.distance``, a shape may be from one that was measured: twice as many of one size."""


@dataclass(frozen=True)
class Record:
    """The best kernel that was found for a task.

    decisions : empty where nothing beat the defaults
    cost, untuned : by the objective; of these decisions and of the defaults
    """

    task: Task
    decisions: Decisions
    cost: float
    untuned: float


@dataclass(frozen=True)
class Records:
    """Records of one core.

    source : file name for messages
    cpu : core's name
    kernels : ``fingerprint()`` of the kernels that were measured
    objective : what ``cost`` counts
    """

    source: str
    cpu: str
    kernels: str
    objective: str
    entries: tuple[Record, ...]

    @property
    def stale(self) -> bool:
        """Whether kernels have changed since."""
        return self.kernels != fingerprint()

    def lookup(self, task: Task) -> tuple[Record, bool] | None:
        """The record of ``task``, or of the nearest one; the second says whether it is its own."""
        nearest = min(self.entries, key=lambda r: task.distance(r.task), default=None)
        if nearest is None or task.distance(nearest.task) > FARTHEST:
            return None
        return nearest, nearest.task == task

    def chooser(self, call: relax.Call, cpu: Cpu, default: Chooser) -> Chooser:
        """What answers for ``call``: its record's decisions, else ``default``.

        Those of a neighbour count only where its kernel is the one that defaults take too: which kernel is best
        depends on sizes most.
        """
        task = task_of(call)
        found = None if task is None or cpu.name != self.cpu else self.lookup(task)
        if found is None or not found[0].decisions:
            return default
        record, own = found
        if not own and record.decisions.get(KERNEL) != default.taken.get(KERNEL):
            return default
        return Chooser(default.optimize, record.decisions)

    def to_json(self) -> str:
        """Sorted, a record per line."""
        head = {"format": FORMAT, "cpu": self.cpu, "kernels": self.kernels, "objective": self.objective}
        lines = [
            json.dumps({"task": r.task.key, "decisions": dict(r.decisions), "cost": r.cost, "untuned": r.untuned})
            for r in sorted(self.entries, key=lambda r: r.task.key)
        ]
        body = ",\n  ".join(lines)
        return json.dumps(head)[:-1] + f', "records": [\n  {body}\n]}}\n'


def load_records(path: Path | Traversable) -> Records:
    """Read a file that ``Records.to_json`` wrote.

    Raises
    ------
    ArtifactError : it cannot be read or is none
    """
    name = str(path)
    hint = "write one with: tvmc tune MODEL --target tinyml/BOARD -o RECORDS"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ArtifactError(f"'{name}' cannot be read: {e.strerror}", hints=[hint]) from e
    except (ValueError, RecursionError) as e:
        raise ArtifactError(f"'{name}' is no JSON file of tuning records: {e}", hints=[hint]) from e
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ArtifactError(f"'{name}' has no tuning records of format {FORMAT}", hints=[hint])
    try:
        cpu, kernels, objective = (str(raw[k]) for k in ("cpu", "kernels", "objective"))
        return Records(name, cpu, kernels, objective, tuple(_entries(raw["records"])))
    except (KeyError, OverflowError, TypeError, ValueError) as e:
        raise ArtifactError(f"'{name}': damaged tuning record ({e})", hints=[hint]) from e


def _entries(raw: Iterable[Mapping[str, Any]]) -> Iterable[Record]:
    for entry in raw:
        decisions = dict(entry["decisions"])
        if not all(isinstance(k, str) and isinstance(v, str | int) for k, v in decisions.items()):
            raise ValueError(f"decisions {decisions}")
        yield Record(parse_task(entry["task"]), decisions, float(entry["cost"]), float(entry["untuned"]))


@lru_cache
def shipped(cpu: str) -> Records | None:
    """The records that come with the package for a core; None where there are none."""
    path = resources.files("tvm_tiny.schedules").joinpath("records", f"{cpu}.json")
    return load_records(path) if path.is_file() else None


def find_records(wanted: Path | str | Records | None, cpu: Cpu, optimize: Optimize) -> Records | None:
    """The records that compiling for ``cpu`` goes by; warns where they are of other kernels or another core.

    Parameters
    ----------
    wanted : a file, a folder of ``tvmc tune``, "shipped", or None

    Raises
    ------
    ArtifactError : the file cannot be read or has no records
    """
    if wanted is None or (wanted == "shipped" and optimize != "speed"):
        return None
    if isinstance(wanted, Records):
        records: Records | None = wanted
    elif wanted == "shipped":
        records = shipped(cpu.name)
    else:
        path = Path(wanted)
        records = load_records(path / RECORDS_FILE if path.is_dir() else path)
    if records is None:
        return None
    if records.cpu != cpu.name:
        _warn(f"'{records.source}' was tuned for {records.cpu}, not for {cpu.name}: its records are not used")
        return None
    if records.stale:
        _warn(f"'{records.source}' was tuned with other kernels than these: its records are not used; tune again")
        return None
    return records


def _warn(message: str) -> None:
    warnings.warn(message, StaleRecordsWarning, stacklevel=4)


class StaleRecordsWarning(UserWarning):
    """Tuning records that say nothing about what is being compiled."""


@lru_cache
def fingerprint() -> str:
    """A hash of all code that makes kernels."""
    digest = hashlib.sha256()
    for name, content in sorted(_sources(resources.files("tvm_tiny.schedules").joinpath("cortex_m"), "")):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def _sources(folder: Traversable, prefix: str) -> Iterable[tuple[str, bytes]]:
    for each in folder.iterdir():
        name = f"{prefix}/{each.name}"
        if each.is_dir():
            yield from _sources(each, name)
        elif name.endswith((".py", ".h")):
            yield name, each.read_bytes()
