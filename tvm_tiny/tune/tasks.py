"""The layers of a model that leave something to choose, each distinct one once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_tiny import schedules
from tvm_tiny.ops import Program
from tvm_tiny.schedules.task import Task, task_of
from tvm_tiny.targets import Cpu


@dataclass(frozen=True)
class Family:
    """All candidates that use one kernel: every combination of the choices that it leaves."""

    kernel: str
    choices: tuple[schedules.Choice, ...]

    @property
    def size(self) -> int:
        return math.prod(len(c.values) for c in self.choices)

    def candidates(self) -> Iterator[dict[str, schedules.Value]]:
        """Decisions, the defaults of this kernel first."""
        return ({schedules.KERNEL: self.kernel, **d} for d in schedules.combinations(self.choices))


@dataclass(frozen=True)
class TuningTask:
    """A task with a layer that stands for all of its kind.

    call : with the weights of the first such layer
    weight : how often the model runs it
    default : what is taken untuned
    families : the space
    """

    task: Task
    call: relax.Call
    weight: int
    default: schedules.Decisions
    families: tuple[Family, ...]

    @property
    def key(self) -> str:
        return self.task.key

    @property
    def size(self) -> int:
        """Candidates."""
        return sum(f.size for f in self.families)

    def candidates(self) -> Iterator[dict[str, schedules.Value]]:
        """All of them but the untuned default."""
        return (d for f in self.families for d in f.candidates() if d != self.default)


def extract_tasks(module: tvm.IRModule, program: Program, cpu: Cpu) -> list[TuningTask]:
    """Tasks of a lowered model, those with the most MACs first; only those with more than one candidate.

    Parameters
    ----------
    module, program : as ``pipeline.lower`` gives them
    """
    macs = {layer.name: op.macs for layer, op in zip(program.layers, program.graph.ops, strict=True)}
    found: dict[Task, list[tuple[relax.Call, int]]] = {}
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call):
                task = task_of(binding.value)
                if task is not None:
                    found.setdefault(task, []).append((binding.value, macs.get(str(binding.var.name), 0)))
    ordered = sorted(found.items(), key=lambda item: -sum(m for _, m in item[1]))
    tasks = [make_task(task, calls[0][0], len(calls), cpu) for task, calls in ordered]
    return [t for t in tasks if t.size > 1]


def make_task(task: Task, call: relax.Call, weight: int, cpu: Cpu) -> TuningTask:
    """The space of one layer."""
    untuned = schedules.Chooser()
    schedules.select(call, cpu, untuned)
    first = untuned.asked[:1]
    kernels: Sequence[schedules.Value] = first[0].values if first and first[0].name == schedules.KERNEL else ()
    families = []
    for kernel in kernels:
        chooser = schedules.Chooser(decisions={schedules.KERNEL: kernel})
        try:
            schedules.select(call, cpu, chooser)
        except schedules.ChoiceError:
            continue
        families.append(Family(str(kernel), tuple(c for c in chooser.asked if c.name != schedules.KERNEL)))
    return TuningTask(task, call, weight, untuned.taken, tuple(families))
