"""Which tensors share bytes: views always, element-wise results with an input that dies there."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.planner.graph import Graph, Home


@dataclass(frozen=True)
class Storage:
    """Bytes that need a place: live from step ``first`` to step ``last``, both included."""

    size_bytes: int
    first: int
    last: int
    tensors: tuple[int, ...]
    scratch_of: int | None = None


def make_storages(graph: Graph, order: tuple[int, ...], *, in_place: bool = True) -> list[Storage]:
    """Group the arena tensors of ``graph`` into storages, scratch buffers included.

    Raises
    ------
    ValueError : a view joins two buffers that different owners hold (the graph should have had a copy there)
    """
    step_of = {op: step for step, op in enumerate(order)}
    first, last = _lifetimes(graph, step_of)
    parent = list(range(len(graph.tensors)))

    def find(t: int) -> int:
        while parent[t] != t:
            t = parent[t]
        return t

    def join(kept: int, merged: int) -> None:
        kept, merged = find(kept), find(merged)
        if kept == merged:
            return
        parent[merged] = kept
        first[kept] = min(first[kept], first[merged])
        last[kept] = max(last[kept], last[merged])

    owner = [t.home for t in graph.tensors]
    for op in graph.ops:
        if op.view:
            a, b = find(op.inputs[0]), find(op.outputs[0])
            homes = {owner[a], owner[b]} - {Home.ARENA}
            if len(homes) > 1 or (owner[a] is owner[b] is not Home.ARENA):
                raise ValueError(f"{op.name}: a view cannot join {owner[a].value} and {owner[b].value}")
            join(a, b)
            owner[find(a)] = homes.pop() if homes else Home.ARENA
    if in_place:
        for step, index in enumerate(order):
            op = graph.ops[index]
            for position in op.in_place_inputs:
                a, b = find(op.inputs[position]), find(op.outputs[0])
                same_size = graph.tensors[op.inputs[position]].size_bytes == graph.tensors[op.outputs[0]].size_bytes
                if same_size and owner[a] is owner[b] is Home.ARENA and last[a] == step and first[b] == step:
                    join(a, b)
                    break

    groups: dict[int, list[int]] = {}
    for t in range(len(graph.tensors)):
        if owner[find(t)] is Home.ARENA and graph.tensors[t].size_bytes:
            groups.setdefault(find(t), []).append(t)
    storages = [
        Storage(max(graph.tensors[t].size_bytes for t in group), first[root], last[root], tuple(group))
        for root, group in groups.items()
    ]
    storages += [
        Storage(op.scratch_bytes, step_of[i], step_of[i], (), i) for i, op in enumerate(graph.ops) if op.scratch_bytes
    ]
    return storages


def _lifetimes(graph: Graph, step_of: dict[int, int]) -> tuple[list[int], list[int]]:
    first = [0] * len(graph.tensors)
    last = [0] * len(graph.tensors)
    for i, op in enumerate(graph.ops):
        for t in op.outputs:
            first[t] = last[t] = step_of[i]
    for i, op in enumerate(graph.ops):
        for t in op.inputs:
            last[t] = max(last[t], step_of[i])
    return first, last
