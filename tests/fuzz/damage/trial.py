"""One damaged file read in a process that may neither take much memory nor long; findings made smaller."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.damage.readers import READERS, damaged
from tests.fuzz.isolated import Died, run_jobs

TIME_S = 20.0
"""Of the processor; the clock may show thirty times that where a machine is busy."""
MEMORY_BYTES = 4 << 30
"""Address space, of which TVM's libraries and OR-tools' threads take one half to one GB."""
SHRINK_S = 60.0


def run_mutants(name: str, first: int, count: int) -> list[str]:
    """What became of some mutants of a reader: "read", the name of an error that is allowed, or a problem's lines."""
    warm_up(name)
    jobs = [partial(_in_time, _try_mutant, name, number) for number in range(first, first + count)]
    return [_text(result) for result in run_jobs(jobs, 30 * TIME_S, memory_bytes=MEMORY_BYTES)]


@cache
def warm_up(name: str) -> None:
    """Read a sound file here, so that child processes need not make it, nor import what reading takes."""
    outcome = _try_data(name, READERS[name].sound()[0], Random(0))
    if outcome != "read":
        raise AssertionError(f"the sound file of {name} cannot be read: {outcome}")


def replay(case: str | None, file: Path | None) -> str:
    """The problem of a mutant by its name, or of a file that is kept; "" if there is none."""
    if case is not None:
        name, _, number = case.partition("-")
        outcome = problem_of(name, damaged(name, int(number))[1])
    else:
        assert file is not None
        name = next(n for n, reader in READERS.items() if reader.file == file.name)
        outcome = problem_of(name, file.read_bytes())
    return outcome if "\n" in outcome else ""


def problem_of(name: str, data: bytes) -> str:
    """What becomes of one file in a process of its own, read in all the ways that a reader has."""
    jobs = [partial(_in_time, _try_data, name, data, Random(i)) for i in range(12)]
    outcomes = [_text(result) for result in run_jobs(jobs, 30 * TIME_S, memory_bytes=MEMORY_BYTES)]
    return next((o for o in outcomes if "\n" in o), outcomes[0])


def _text(result: str | Died) -> str:
    return f"{result}\n" if isinstance(result, Died) else result


def _in_time(job: Callable[..., str], *arguments: Any) -> str:
    """What ``job`` gives; it takes the process along when its time is over, wherever it is."""
    signal.setitimer(signal.ITIMER_PROF, TIME_S)
    try:
        return job(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _try_mutant(name: str, number: int) -> str:
    return _try_data(name, damaged(name, number)[1], Random(number))


def _try_data(name: str, data: bytes, rng: Random) -> str:
    reader = READERS[name]
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-damage-") as root:
        folder = Path(root, "a", "b", "c")
        (folder / "inside").mkdir(parents=True)
        path = folder / reader.file
        path.write_bytes(data.replace(b"@OUTSIDE@", f"{root}/a".encode()))
        known = _files(Path(root), folder / "inside")
        with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
            try:
                reader.read(path, rng)
                outcome = "read"
            except reader.allowed as error:
                outcome = type(error).__name__
            except Exception:
                return traceback.format_exc()
        more = _files(Path(root), folder / "inside") - known
        return f"files outside of the folder\n{sorted(more)}" if more else outcome


def _files(root: Path, without: Path) -> set[str]:
    """Everything below ``root`` but what is below ``without``."""
    return {
        str(Path(at, name))
        for at, folders, files in os.walk(root)
        for name in (*folders, *files)
        if Path(at) != without and without not in Path(at).parents
    }


def kind_of(problem: str) -> str:
    """What problems of one cause have in common: where an exception came from, without numbers."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ")]
    last = next((line for line in reversed(lines) if "rror" in line), lines[0])
    place = re.sub(r'.*/([\w/]+\.py)", line \d+, in', r"\1", places[-1]) if places else ""
    return re.sub(r"\d+", "N", f"{place} {last[:60]}").strip()


def shrink(name: str, number: int, problem: str) -> tuple[bytes, str]:
    """The finding with as much of the sound file as keeps its kind, and its problem."""
    sound, data = damaged(name, number)
    wanted, until = kind_of(problem), time.monotonic() + SHRINK_S
    for start, end, original in reversed(_differences(sound, data)):
        smaller = data[:start] + original + data[end:]
        if time.monotonic() > until:
            break
        now = problem_of(name, smaller)
        if "\n" in now and kind_of(now) == wanted:
            data, problem = smaller, now
    return data, problem


def _differences(sound: bytes, data: bytes) -> Sequence[tuple[int, int, bytes]]:
    """Spans of ``data`` that are other than in the sound file, and what stands there instead; by position.

    Only files of one length are compared; others were cut, spliced or written anew.
    """
    return list(_spans(sound, data)) if len(sound) == len(data) else []


def _spans(sound: bytes, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    start = None
    for i, (a, b) in enumerate(zip(sound + b"\0", data + b"\0", strict=True)):
        if a != b and start is None:
            start = i
        elif a == b and start is not None:
            yield start, i, sound[start:i]
            start = None
