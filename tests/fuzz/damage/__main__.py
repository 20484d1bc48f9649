"""``python -m tests.fuzz.damage``: damaged files for as long as wanted; what goes wrong is made smaller and kept."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.damage.readers import READERS
from tests.fuzz.damage.trial import kind_of, replay, run_mutants, shrink

ROUND = 100
"""Mutants of one reader that share a process."""
KEPT = 3
"""Findings of one kind that are made smaller and kept; more are only counted."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.damage", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--mutants", type=int, default=1 << 30, help="how many of each reader at most")
    parser.add_argument("--reader", choices=READERS, action="append", help="what to damage; by default everything")
    parser.add_argument("--findings", type=Path, default=Path("build", "fuzz-damage"), help="folder for what is found")
    parser.add_argument("--case", help="one mutant by name: tflite-17")
    parser.add_argument("--replay", type=Path, help="a file of a finding, under the name it has there")
    options = parser.parse_args(arguments)
    if options.case or options.replay:
        problem = replay(options.case, options.replay)
        print(problem or "fine")
        return int(bool(problem))
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in options.reader or READERS}
    found: Counter[str] = Counter()
    start, first = time.monotonic(), options.first
    until, end = start + 60 * options.minutes, first + options.mutants
    while first < end and time.monotonic() < until:
        count = min(ROUND, end - first)
        for name, counted in outcomes.items():
            for number, outcome in zip(range(first, first + count), run_mutants(name, first, count), strict=True):
                counted[outcome if "\n" not in outcome else "FOUND"] += 1
                if "\n" in outcome:
                    found[f"{name}: {kind_of(outcome)}"] += 1
                    _keep(name, number, outcome, found, options.findings)
        first += count
        print(_table(outcomes, found, options.first, first, time.monotonic() - start), flush=True)
    return int(bool(found))


def _table(outcomes: dict[str, Counter[str]], found: Counter[str], first: int, end: int, took: float) -> str:
    total = sum(sum(c.values()) for c in outcomes.values())
    lines = [f"mutants {first} to {end - 1}: {total} files in {took:.0f} s"]
    for name, counted in outcomes.items():
        lines.append(f"  {name}: " + ", ".join(f"{what} {n}" for what, n in counted.most_common()))
    return "\n".join([*lines, *(f"  found {n} times: {kind}" for kind, n in found.most_common())])


def _keep(name: str, number: int, problem: str, found: Counter[str], folder: Path) -> None:
    if found[f"{name}: {kind_of(problem)}"] > KEPT:
        return
    data, problem = shrink(name, number, problem)
    place = folder / f"{name}-{number}"
    place.mkdir(parents=True, exist_ok=True)
    (place / READERS[name].file).write_bytes(data)
    again = f"python -m tests.fuzz.damage --replay {place / READERS[name].file}"
    (place / "problem.txt").write_text(f"{problem.rstrip()}\n\n{again}\n")
    print(f"FOUND {name}-{number}\n{problem}\n{again}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
