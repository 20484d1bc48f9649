"""Makes the records that ship with the package: ``python -m tvm_tiny.tune.ship``, or ``make records``.

One core of a family is searched; on the others of the family, whose kernels are the same, only what was best there is
measured beside the defaults.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tvm_tiny.files import write_file
from tvm_tiny.schedules.choices import Choice
from tvm_tiny.schedules.records import Record, Records
from tvm_tiny.targets import resolve
from tvm_tiny.tune.devices import QemuDevice
from tvm_tiny.tune.session import Session, TaskState
from tvm_tiny.tune.tasks import Family, TuningTask
from tvm_tiny.tune.zoo import zoo_tasks

BOARDS = {"qemu-m7": "qemu-m7", "qemu-m4": "qemu-m7", "qemu-m33": "qemu-m7", "qemu-m55": "qemu-m55"}
"""Board -> the board whose search it goes by."""


SLACK = 0.05
"""For a little of the gain a record may cost a lot of code: of kernels nearly as fast the smallest is taken."""


def main(argv: Sequence[str] | None = None) -> int:
    """Tune the zoo for every board, or for those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tvm_tiny.tune.ship", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("schedules/records"), metavar="DIR", help="%(default)s")
    parser.add_argument("--sessions", type=Path, metavar="DIR", help="keep what was measured here, and go on from it")
    parser.add_argument("boards", nargs="*", choices=[*BOARDS, []], help="all of them by default")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        sessions = args.sessions or Path(temporary)
        searched: dict[str, Records] = {}
        wanted = args.boards or list(BOARDS)
        needed = {*wanted, *(BOARDS[board] for board in wanted)}
        for board, model in ((b, m) for b, m in BOARDS.items() if b in needed):
            seeds = None if board == model else searched[model]
            searched[board] = tune_zoo(board, sessions / board, seeds)
            args.output.mkdir(parents=True, exist_ok=True)
            path = args.output / f"{resolve(board).cpu.name}.json"
            write_file(path, searched[board].to_json().encode())
            better = [r for r in searched[board].entries if r.decisions]
            print(f"{path}: {len(better)} of {len(searched[board].entries)} layers are faster tuned", flush=True)
    return 0


def tune_zoo(board: str, folder: Path, seeds: Records | None) -> Records:
    """Records of the zoo's layers.

    Parameters
    ----------
    seeds : measure these records' decisions only
    """
    cpu = resolve(board).cpu
    tasks = zoo_tasks(cpu)
    if cpu.has_mve:
        # Where a vector kernel can be had, those for halves of words were never better.
        tasks = [_without_words(task) for task in tasks]
    if seeds is not None:
        best = {r.task: r for r in seeds.entries}
        tasks = [_only(task, best[task.task]) for task in tasks if task.task in best]
    device = QemuDevice(resolve(board))
    return Session(tasks, resolve(board), device, folder, slack=SLACK, on_progress=_show).run()


def _without_words(task: TuningTask) -> TuningTask:
    families = tuple(f for f in task.families if not f.kernel.startswith("dsp"))
    return replace(task, families=families) if any(f.kernel == "mve" for f in families) else task


def _only(task: TuningTask, record: Record) -> TuningTask:
    """The task with one candidate beside its defaults, or none."""
    decisions = dict(record.decisions)
    kernel = str(decisions.pop("kernel", ""))
    choices = tuple(Choice(name, (value,), value) for name, value in decisions.items())
    return replace(task, families=(Family(kernel, choices),) if record.decisions else ())


def _show(states: Sequence[TaskState], _: float | None) -> None:
    done = sum(s.measured for s in states)
    print(f"{done} of {sum(1 + s.task.size for s in states)} candidates", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
