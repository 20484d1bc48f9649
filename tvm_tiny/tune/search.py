"""Which candidates to measure next: MetaSchedule's evolutionary search and cost model over our kernels' choices."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import tvm
from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.feature_extractor import PyFeatureExtractor
from tvm.s_tir.meta_schedule.mutator import PyMutator
from tvm.s_tir.meta_schedule.runner import RunnerResult

from tvm_tiny import schedules
from tvm_tiny.tune.tasks import Family, TuningTask

_BLOCK = "task"
_PREFIX = "tinyml."
_FAMILY = "kernel"
Decided = dict[str, schedules.Value]


class Strategy(Protocol):
    """Proposes candidates of one task, beside the untuned default, and learns what they took."""

    def propose(self, count: int) -> list[Decided]:
        """At most ``count`` candidates, none twice; nothing when there are no more."""

    def learn(self, decisions: Sequence[Decided], costs: Sequence[float | None]) -> None:
        """What was proposed last, with its costs; None where it is no valid kernel."""


class GridSearch:
    """All candidates, in order."""

    def __init__(self, task: TuningTask) -> None:
        self._left = task.candidates()

    def propose(self, count: int) -> list[Decided]:
        return list(islice(self._left, count))

    def learn(self, decisions: Sequence[Decided], costs: Sequence[float | None]) -> None:
        """Nothing to learn."""


class RandomSearch(GridSearch):
    """All candidates in random order."""

    def __init__(self, task: TuningTask, seed: int) -> None:
        super().__init__(task)
        candidates = list(self._left)
        random.Random(seed).shuffle(candidates)
        self._left = iter(candidates)


class EvolutionarySearch:
    """MetaSchedule: a design space per kernel, evolution guided by a boosted-trees model of what was measured.

    Parameters
    ----------
    database : gets a record of every valid candidate
    trials : candidates at most
    """

    def __init__(self, task: TuningTask, seed: int, database: Any, trials: int) -> None:
        self._task = task
        self._module = _workload(task)
        self._target = tvm.target.Target({"kind": "c"})
        self._database = database
        self._workload = self._database.commit_workload(self._module)
        self._model = ms.cost_model.XGBModel(
            extractor=_Features(task), num_warmup_samples=16, early_stopping_rounds=10, num_tuning_cores=1
        )
        space = ms.space_generator.ScheduleFn(
            self._spaces, sch_rules=[], postprocs=[], mutator_probs={_OtherValue(seed): 1.0}
        )
        with _without_other_targets():
            self._context = ms.TuneContext(
                self._module,
                target=self._target,
                space_generator=space,
                search_strategy=ms.search_strategy.EvolutionarySearch(
                    population_size=64, init_min_unmeasured=8, genetic_num_iters=2
                ),
                task_name=task.key,
                rand_state=seed + 1,
                num_threads=1,
            )
        self._trials, self._started = trials, False
        self._asked: list[Any] = []
        self._seen = {_frozen(dict(task.default))}

    def _spaces(self, schedule: Any) -> list[Any]:
        spaces = []
        for index, family in enumerate(self._task.families):
            space = schedule.copy()
            block = space.get_sblock(_BLOCK)
            space.annotate(block, _PREFIX + _FAMILY, index)
            for choice in family.choices:
                count = len(choice.values)
                drawn = space.sample_categorical(list(range(count)), [1.0 / count] * count)
                space.annotate(block, _PREFIX + choice.name, drawn)
            spaces.append(space)
        return spaces

    def propose(self, count: int) -> list[Decided]:
        if not self._started:
            self._started = True
            self._context.pre_tuning(self._trials, count, None, self._database, self._model)
        while True:
            candidates = self._context.generate_measure_candidates()
            if not candidates:
                return []
            found = [(c, decisions_of(self._task.families, c.sch)) for c in candidates]
            fresh = [(c, d) for c, d in found if _frozen(d) not in self._seen][:count]
            self._seen.update(_frozen(d) for _, d in fresh)
            if fresh:
                self._asked = [c for c, _ in fresh]
                return [d for _, d in fresh]
            self._tell(candidates, [1e10] * len(candidates))

    def learn(self, decisions: Sequence[Decided], costs: Sequence[float | None]) -> None:
        if not self._asked:
            return
        seconds = [1e10 if cost is None else cost * 1e-6 for cost in costs]
        self._tell(self._asked, seconds)
        for candidate, second in zip(self._asked, seconds, strict=True):
            if second < 1e10:
                self._database.commit_tuning_record(
                    ms.database.TuningRecord(
                        candidate.sch.trace, self._workload, [second], self._target, candidate.args_info
                    )
                )
        self._asked = []

    def _tell(self, candidates: Sequence[Any], seconds: Sequence[float]) -> None:
        results = [RunnerResult([s], None) for s in seconds]
        self._context.notify_runner_results(candidates, results)
        self._model.update(self._context, candidates, results)


def open_database(folder: Path) -> Any:
    """MetaSchedule's JSON database in ``folder``; one that a killed session has left damaged is put aside."""
    files = [folder / "database_workload.json", folder / "database_tuning_record.json"]
    try:
        return ms.database.JSONDatabase(*map(str, files))
    except (RuntimeError, ValueError, TypeError):
        # Nothing is lost to a session: it goes by its log of measurements.
        for file in filter(Path.exists, files):
            file.replace(file.with_suffix(".damaged"))
        return ms.database.JSONDatabase(*map(str, files))


def decisions_of(families: Sequence[Family], schedule: Any) -> Decided:
    """What a schedule of MetaSchedule has decided."""
    block = schedule.get(schedule.get_sblock(_BLOCK))
    notes = {str(k).removeprefix(_PREFIX): int(v) for k, v in block.annotations.items()}
    family = families[notes[_FAMILY]]
    return {schedules.KERNEL: family.kernel, **{c.name: c.values[notes[c.name]] for c in family.choices}}


def _frozen(decisions: Decided) -> tuple[tuple[str, schedules.Value], ...]:
    return tuple(sorted(decisions.items()))


def _workload(task: TuningTask) -> tvm.IRModule:
    """A function that stands for the layer: what there is to decide is no loop of it, but how its kernel is made."""
    buffer = tirx.decl_buffer((1,), "int8", "data")
    block = tvm.s_tir.SBlock([], [], [], _BLOCK, tirx.BufferStore(buffer, tirx.const(0, "int8"), [0]))
    realize = tvm.s_tir.SBlockRealize([], True, block)
    root = tvm.s_tir.SBlockRealize([], True, tvm.s_tir.SBlock([], [], [], "root", realize))
    func = tirx.PrimFunc([buffer], root).with_attr({"global_symbol": "main", "tinyml.task": task.key, "s_tir": True})
    return tvm.IRModule({"main": func})


@derived_object
class _OtherValue(PyMutator):
    """Takes another value for one choice."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, trace: Any, _: Any) -> Any:
        drawn = [i for i in trace.insts if i.kind.name == "SampleCategorical" and len(i.attrs[0]) > 1]
        if not drawn:
            return None
        chosen = self._random.choice(drawn)
        others = [v for v in range(len(chosen.attrs[0])) if v != int(trace.decisions[chosen])]
        return trace.with_decision(chosen, self._random.choice(others), remove_postproc=True)

    def clone(self) -> Any:
        return _OtherValue(self._random.randrange(2**31))


@derived_object
class _Features(PyFeatureExtractor):
    """One row per candidate: which kernel, and every choice's value, as a number and as its place."""

    def __init__(self, task: TuningTask) -> None:
        self._families = task.families
        self._names = list(dict.fromkeys(c.name for f in task.families for c in f.choices))

    def extract_from(self, context: Any, candidates: Sequence[Any]) -> list[Any]:
        return [tvm.runtime.tensor(self._row(decisions_of(self._families, c.sch))) for c in candidates]

    def _row(self, decisions: Decided) -> Any:
        kernel = decisions[schedules.KERNEL]
        row: list[float] = [float(f.kernel == kernel) for f in self._families]
        choices = {c.name: c for f in self._families if f.kernel == kernel for c in f.choices}
        for name in self._names:
            value = decisions.get(name, -1)
            place = choices[name].values.index(value) if name in choices else -1
            row += [float(value) if isinstance(value, int) else float(place), float(place)]
        return np.array([row], dtype=np.float32)


@contextmanager
def _without_other_targets() -> Iterator[None]:
    """Making a TuneContext imports the tensor intrinsics of all GPUs, which takes 40 s and serves nobody here."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
