"""``python -m tests.fuzz``: batches of random cases for as long as wanted, findings shrunk and kept."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.fuzz.batch import SIZE, Outcome, flags_of, names_of, problem_of, run_batch, run_cases, warm_up
from tests.fuzz.case import draw_case, load_case
from tests.fuzz.isolated import run_jobs
from tests.fuzz.shrink import kind_of, shrink
from tests.fuzz.trial import FLAGS

BATCH_S = 1800.0
EVERY = 8
"""Batches between two reports."""
SHRINK_S = 90.0
SHRUNK = 3
"""Findings of one kind that are made smaller; more are only counted."""


class Tally:
    """What has been tried and found."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.targets: Counter[str] = Counter()
        self.plans: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.targets[outcome.target] += 1
        self.plans[outcome.plan] += 1
        self.kinds[outcome.name.partition("-")[0]] += 1
        self.refused.update(text.partition(":")[0] for text in outcome.refused)
        heard = outcome.interpreter.splitlines()[0] if outcome.interpreter else "answered"
        self.heard[f"{'TFLite Micro' if outcome.name.startswith('tflite') else 'onnxruntime'} {heard}"] += 1
        self.seconds.update(outcome.seconds)
        if outcome.problem:
            self.found[kind_of(outcome.problem)] += 1

    def __str__(self) -> str:
        took = time.monotonic() - self.start
        count = sum(self.targets.values())
        memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        lines = [f"{count} models in {took:.0f} s, {count / max(took, 1):.2f}/s; {memory >> 10} MB at most"]
        tables = {
            "models": self.kinds,
            "targets": self.targets,
            "plans": self.plans,
            "references": self.heard,
            "left out": self.refused,
        }
        for name, table in tables.items():
            lines.append(f"  {name}: " + ", ".join(f"{key} {n}" for key, n in sorted(table.items())))
        lines.append("  seconds: " + ", ".join(f"{key} {n:.0f}" for key, n in self.seconds.items()))
        lines += [f"  found {n} times: {kind}" for kind, n in self.found.most_common()] or ["  nothing found"]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=0, help=f"first batch; batch B has the seeds {SIZE}*B and on")
    parser.add_argument("--batches", type=int, default=1 << 30, help="how many at most")
    parser.add_argument("--findings", type=Path, default=Path("build", "fuzz"), help="folder for what is found")
    parser.add_argument("--case", help="one case by name: tflite-17, onnx-5, tflite-17@qemu-m4")
    parser.add_argument("--replay", type=Path, help="one case in the folder of a finding")
    options = parser.parse_args(arguments)
    if options.case or options.replay:
        return _replay(options.case, options.replay)
    tally, until = Tally(), time.monotonic() + 60 * options.minutes
    batch, end = options.batch, options.batch + options.batches
    warm_up()
    while batch < end and time.monotonic() < until:
        # A process for each batch, so that memory does not grow.
        (result,) = run_jobs([partial(run_batch, batch)], BATCH_S)
        for outcome in result if isinstance(result, list) else _one_by_one(batch):
            tally.add(outcome)
            if outcome.problem:
                _keep(outcome, tally, options.findings)
        batch += 1
        if batch % EVERY == 0:
            print(f"batches {options.batch} to {batch - 1}: {tally}", flush=True)
    print(f"batches {options.batch} to {batch - 1}: {tally}", flush=True)
    return int(bool(tally.found))


def _one_by_one(batch: int) -> list[Outcome]:
    """The cases of a batch in a process each, for their batch took its process along."""
    flags = flags_of(batch)
    outcomes: list[Outcome] = []
    jobs = [partial(run_cases, [name], flags) for name in names_of(batch)]
    for name, result in zip(names_of(batch), run_jobs(jobs, BATCH_S / 3), strict=True):
        died = [Outcome(name, f"the compiler: {result}", flags)]
        outcomes += result if isinstance(result, list) else died
    return outcomes


def _keep(outcome: Outcome, tally: Tally, folder: Path) -> None:
    """Say what was found, and save it as small as it gets."""
    print(f"FOUND {outcome.name} {' '.join(outcome.flags)}\n{outcome.problem}\n", flush=True)
    if tally.found[kind_of(outcome.problem)] > SHRUNK or outcome.problem.startswith("the generator"):
        return
    case = draw_case(outcome.name)
    small, problem = shrink(case, outcome.problem, partial(problem_of, flags=outcome.flags), SHRINK_S)
    small.save(folder / outcome.name.replace("@", "-"), f"gcc {' '.join(outcome.flags)}\n{problem}")
    print(f"kept in {folder / outcome.name.replace('@', '-')}: {len(small.spans)} spans, {small.options}", flush=True)


def _replay(name: str | None, folder: Path | None) -> int:
    case = load_case(folder) if folder is not None else draw_case(str(name))
    for flags in sorted(set(FLAGS)):
        problem = problem_of(case, flags)
        print(f"{case.name}, gcc {' '.join(flags)}: {problem or 'fine'}")
        if problem:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
