"""Row layouts that let an output follow a planar input.

An NCHW image of n planes sets free n short pieces per row it is done with. An output stored row by row would overtake
the first plane; with its rows dealt out to n places, one behind the start of each plane, it fits into what is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tvm_tiny.planner.buffers import Buffer, Layout, is_full, tensor_parts
from tvm_tiny.planner.graph import Graph, Home, Kind, Tensor
from tvm_tiny.planner.liveness import Trace
from tvm_tiny.planner.offsets import align_up, forbidden_distances
from tvm_tiny.planner.program import Stage
from tvm_tiny.planner.schedule import schedule_stage

_MOST_LINES = 12  # how far apart beyond a plane's size the places may lie, in rows of a plane


def dealt_layouts(graph: Graph, stages: Sequence[Stage]) -> Iterator[Mapping[int, Layout]]:
    """Where a planar input is consumed, its stage's outputs dealt out to the planes; else rows one after the other."""
    dealt = list(_dealt(graph, stages))
    yield from dealt or [{}]


def _dealt(graph: Graph, stages: Sequence[Stage]) -> Iterator[Mapping[int, Layout]]:
    for stage in stages:
        for t in dict.fromkeys(t for op in stage.ops for t in graph.ops[op].inputs):
            for z in followers(graph, stage.ops, t):
                layout = _closest(graph, stage, t, z)
                if layout is not None:
                    yield dict.fromkeys(_heirs(graph, z), layout)


def followers(graph: Graph, ops: Sequence[int], tensor: int) -> list[int]:
    """Outputs of a stage that could be dealt out to the planes of an input that the stage consumes."""
    x = graph.tensors[tensor]
    if x.planes == 1 or x.home is not Home.INPUT or graph.last_use(tensor) > max(ops):
        return []
    made = [t for op in ops for t in graph.ops[op].outputs if is_full(graph, ops, t) and _can_deal(graph, t)]
    return [t for t in made if _place_bytes(graph, t, x.planes) <= x.size_bytes // x.planes]


def _place_bytes(graph: Graph, tensor: int, places: int) -> int:
    """Bytes of the largest of the places that rows are dealt out to."""
    x = graph.tensors[tensor]
    return -(-x.rows // places) * x.row_bytes


def _closest(graph: Graph, stage: Stage, source: int, target: int) -> Layout | None:
    """The distance between places that lets the output lie lowest beside the input it consumes."""
    x, z = graph.tensors[source], graph.tensors[target]
    plane = x.size_bytes // x.planes
    trace = Trace(graph, stage, schedule_stage(graph, stage))
    line = x.row_bytes // x.planes
    image = Buffer(("tensor", source), x.name, x.size_bytes, None)
    image.live[0] = tensor_parts(graph, source, Layout(1, 0, x.row_bytes), trace.rows(source), stage.bottom_up)
    best: tuple[int, Layout] | None = None
    for extra in range(_MOST_LINES):
        layout = Layout(x.planes, align_up(plane + extra * line), z.row_bytes)
        size = layout.outer * (layout.modulus - 1) + -(-z.rows // layout.modulus) * layout.inner
        result = Buffer(("tensor", target), z.name, size, layout)
        result.live[0] = tensor_parts(graph, target, layout, trace.rows(target), stage.bottom_up)
        at = 0
        for lo, hi in forbidden_distances(result, image):
            at = hi if lo < at < hi else at
        span = max(at + x.size_bytes, size)
        if best is None or span < best[0]:
            best = (span, layout)
    return best[1] if best and best[0] < x.size_bytes + plane // 2 else None


def _heirs(graph: Graph, tensor: int) -> list[int]:
    """A tensor and the results that may overwrite it element by element: they share its layout."""
    heirs = [tensor]
    for t in heirs:
        for op in graph.consumers[t]:
            x = graph.ops[op]
            if x.kind is Kind.ROWS and t in x.replaceable:
                z = x.outputs[0]
                if z not in heirs and _can_deal(graph, z) and _shape(graph.tensors[z]) == _shape(graph.tensors[t]):
                    heirs.append(z)
    return heirs


def _can_deal(graph: Graph, tensor: int) -> bool:
    """Whether all who write or read a tensor find its rows wherever they are."""
    users = [graph.ops[op] for op in (graph.producer[tensor], *graph.consumers[tensor])]
    able = all(x.kind is Kind.ROWS and x.inputs and not x.whole_rows_only for x in users)
    x = graph.tensors[tensor]
    return able and tensor not in graph.outputs and x.planes == 1 and x.beside is None


def _shape(x: Tensor) -> tuple[int, int]:
    return x.rows, x.row_bytes
