"""What stands in memory where it is fullest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.planner.buffers import live_bytes, passing_tensors, stage_blocks
from tvm_tiny.planner.liveness import Trace
from tvm_tiny.planner.plan import Plan
from tvm_tiny.planner.schedule import schedule_stage


@dataclass(frozen=True)
class Peak:
    """The step with the most live bytes, blocks largest first."""

    stage: int
    tick: int
    group: int
    bytes: int
    blocks: tuple[tuple[str, int], ...]


def short_name(name: str, limit: int = 60) -> str:
    """The end of a long name, which tells it from others."""
    return name if len(name) <= limit else f"...{name[3 - limit :]}"


def find_peak(plan: Plan) -> Peak | None:
    """The fullest step of a plan; None when there is none."""
    graph = plan.graph
    worst: Peak | None = None
    for index, stage in enumerate(plan.program.stages):
        trace = Trace(graph, stage, schedule_stage(graph, stage))
        live = {b.name: np.broadcast_to(live_bytes(p), trace.tick.shape) for b, p in stage_blocks(graph, trace, {})}
        for t in passing_tensors(graph, min(stage.ops), frozenset(stage.ops)):
            live[graph.tensors[t].name] = np.full(trace.tick.shape, graph.tensors[t].size_bytes)
        # Nothing, where all that a stage reads and writes is the caller's.
        total = np.sum([np.zeros_like(trace.tick), *live.values()], axis=0)
        step = int(total.argmax())
        if worst is None or total[step] > worst.bytes:
            blocks = sorted(((name, int(v[step])) for name, v in live.items() if v[step]), key=lambda x: -x[1])
            where = (index, int(trace.tick[step]), int(trace.slot[step]), int(total[step]))
            worst = Peak(*where, tuple(blocks))
    return worst
