"""Proves that a plan loses no live byte, by replaying it. Shares no code with the search.

Every arena byte range remembers whose value it holds. An operator must find its inputs whole, then wipes what its
scratch and its outputs cover. Lifetimes are not consulted: a plan whose lifetimes are wrong fails as well.
"""

from __future__ import annotations

from tvm_tiny.planner.graph import Graph, Home
from tvm_tiny.planner.plan import Plan


class PlanError(AssertionError):
    """The plan would corrupt memory: a bug of the planner, never the user's fault."""


def verify(plan: Plan) -> None:
    """Replay ``plan`` step by step.

    Raises
    ------
    PlanError : an operator would read bytes that were overwritten, write over its own inputs without leave, leave the
        arena, be misaligned, or operators are missing, doubled or out of order
    """
    graph = plan.graph
    if sorted(plan.order) != list(range(len(graph.ops))):
        raise PlanError("the order does not run every operator exactly once")
    where = _locations(plan)
    held: dict[int, tuple[int, int]] = {}  # tensor -> its intact range in the arena
    external = {t for t, x in enumerate(graph.tensors) if x.home is Home.INPUT}
    for index in plan.order:
        op = graph.ops[index]
        for t in op.inputs:
            if t in where and held.get(t) != where[t]:
                raise PlanError(f"{op.name} reads {graph.tensors[t].name}, which is not (or no longer) in memory")
            if t not in where and t not in external:
                raise PlanError(f"{op.name} reads {graph.tensors[t].name}, which nobody has written")
        external.update(t for t in op.outputs if t not in where)
        if op.view:
            _check_view(graph, index, where)
            out = op.outputs[0]
            if out in where:
                held[out] = where[out]
            continue
        written = [where[t] for t in op.outputs if t in where]
        _check_writes(plan, index, where, written)
        scratch = _scratch_range(plan, index)
        for low, high in [*written, *([scratch] if scratch else [])]:
            held = {t: r for t, r in held.items() if r[1] <= low or high <= r[0]}
        held.update({t: where[t] for t in op.outputs if t in where})


def _locations(plan: Plan) -> dict[int, tuple[int, int]]:
    """Arena range of every tensor the caller does not own; views of caller-owned tensors are the caller's."""
    graph = plan.graph
    owned = {t for t, x in enumerate(graph.tensors) if x.home is not Home.ARENA}
    views = [op for op in graph.ops if op.view]
    for op in reversed(views):  # up to what a caller's tensor is a view of ...
        if op.outputs[0] in owned:
            owned.add(op.inputs[0])
    for op in views:  # ... and down to all its other views
        if op.inputs[0] in owned:
            owned.add(op.outputs[0])
    where: dict[int, tuple[int, int]] = {}
    for t, tensor in enumerate(graph.tensors):
        if t in owned or tensor.size_bytes == 0:
            continue
        blocks = [b for b in plan.blocks if t in b.tensors]
        if len(blocks) != 1:
            raise PlanError(f"{tensor.name} has {len(blocks)} places")
        block = blocks[0]
        if tensor.size_bytes > block.size_bytes:
            raise PlanError(f"{tensor.name} is larger than its block")
        if block.offset < 0 or block.offset + block.size_bytes > plan.arena_bytes:
            raise PlanError(f"{tensor.name} lies outside the arena")
        if block.offset % 8:
            raise PlanError(f"{tensor.name} is not aligned")
        where[t] = (block.offset, block.offset + tensor.size_bytes)
    return where


def _check_view(graph: Graph, index: int, where: dict[int, tuple[int, int]]) -> None:
    op = graph.ops[index]
    if where.get(op.inputs[0]) != where.get(op.outputs[0]):
        raise PlanError(f"{op.name} is a view, but its output lies elsewhere")


def _check_writes(plan: Plan, index: int, where: dict[int, tuple[int, int]], written: list[tuple[int, int]]) -> None:
    op = plan.graph.ops[index]
    ranges = list(written)
    scratch = _scratch_range(plan, index)
    if scratch:
        ranges.append(scratch)
    for i, a in enumerate(ranges):
        if any(a[0] < b[1] and b[0] < a[1] for b in ranges[i + 1 :]):
            raise PlanError(f"{op.name}: outputs or scratch overlap each other")
    for position, t in enumerate(op.inputs):
        if t not in where:
            continue
        low, high = where[t]
        for k, (start, end) in enumerate(ranges):
            if low < end and start < high:
                allowed = k == 0 and written and position in op.in_place_inputs and (low, high) == (start, end)
                if not allowed:
                    raise PlanError(f"{op.name} writes over its input {plan.graph.tensors[t].name}")


def _scratch_range(plan: Plan, index: int) -> tuple[int, int] | None:
    need = plan.graph.ops[index].scratch_bytes
    if not need:
        return None
    blocks = [b for b in plan.blocks if b.scratch_of == index]
    name = plan.graph.ops[index].name
    if len(blocks) != 1:
        raise PlanError(f"{name} has {len(blocks)} scratch buffers")
    block = blocks[0]
    if block.size_bytes < need or block.offset < 0 or block.offset + need > plan.arena_bytes or block.offset % 8:
        raise PlanError(f"{name}: scratch is too small, misaligned or outside the arena")
    return block.offset, block.offset + need
