"""One entry point: a graph in, a plan out."""

from __future__ import annotations

from tvm_tiny.planner.graph import Graph
from tvm_tiny.planner.offsets import align_up, lower_bound, place
from tvm_tiny.planner.plan import Block, Plan
from tvm_tiny.planner.storage import make_storages


def plan_memory(graph: Graph, *, in_place: bool = True) -> Plan:
    """Plan the arena of ``graph``, operators in the order given.

    Parameters
    ----------
    in_place : let element-wise results overwrite an input that nobody reads afterwards
    """
    order = tuple(range(len(graph.ops)))
    storages = make_storages(graph, order, in_place=in_place)
    offsets = place(storages)
    blocks = tuple(
        Block(offset, s.size_bytes, s.first, s.last, s.tensors, s.scratch_of)
        for s, offset in zip(storages, offsets, strict=True)
    )
    arena = max((b.offset + align_up(b.size_bytes) for b in blocks), default=0)
    return Plan(graph, order, blocks, arena, lower_bound(storages))
