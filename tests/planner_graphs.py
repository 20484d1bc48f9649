"""Random networks and random ways to run them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window
from tvm_tiny.planner.program import Group, Program, Stage
from tvm_tiny.planner.schedule import NotSchedulableError, schedule_stage


def output_size(n: int, w: Window, after: int) -> int:
    """Positions of a window that fit into ``n`` inputs with padding."""
    return (n + w.before + after - w.extent) // w.stride + 1


class Builder:
    """Adds layers one by one; tensor 0 is the input."""

    def __init__(self, rows: int, columns: int, channels: int, planes: int = 1) -> None:
        self.tensors = [Tensor("input", rows, columns, channels, planes, Home.INPUT)]
        self.ops: list[Op] = []

    def tensor(self, rows: int, columns: int, channels: int) -> int:
        self.tensors.append(Tensor(f"t{len(self.tensors)}", rows, columns, channels))
        return len(self.tensors) - 1

    def conv(
        self, x: int, channels: int, rows: Window, columns: Window, after: tuple[int, int], scratch: int = 0
    ) -> int:
        t = self.tensors[x]
        y = self.tensor(output_size(t.rows, rows, after[0]), output_size(t.columns, columns, after[1]), channels)
        z = self.tensors[y]
        macs = z.size_bytes * t.pixel_bytes * rows.kernel * columns.kernel
        self.ops.append(Op(f"conv{y}", Kind.ROWS, (x,), (y,), (rows,), (columns,), scratch, macs=macs))
        return y

    def add(self, a: int, b: int) -> int:
        t = self.tensors[a]
        y = self.tensor(t.rows, t.columns, t.pixel_bytes)
        in_place = (0, 1) if a != b else ()
        self.ops.append(Op(f"add{y}", Kind.ROWS, (a, b), (y,), (Window(),) * 2, (Window(),) * 2, in_place=in_place))
        return y

    def move(self, x: int, begin: tuple[int, int], steps: tuple[int, int], size: tuple[int, int]) -> int:
        """A slice with steps; outside the image, where ``begin`` is negative or ``size`` large, is padding."""
        y = self.tensor(*size, self.tensors[x].pixel_bytes)
        rows, columns = (Window(1, s, -b) for b, s in zip(begin, steps, strict=True))
        t = self.tensors[x]
        steps = steps[0] if size[0] > 1 else 1, steps[1] if size[1] > 1 else 1
        inside = all(b >= 0 and b + n <= all_ for b, n, all_ in zip(begin, size, (t.rows, t.columns), strict=True))
        follow = inside and steps == (1, 1) and (size[0] == 1 or size[1] == t.columns)
        shows = (-begin[0] * t.row_bytes - begin[1] * t.pixel_bytes,) if follow and t.planes == 1 else ()
        self.ops.append(Op(f"move{y}", Kind.ROWS, (x,), (y,), (rows,), (columns,), shows=shows))
        return y

    def concat(self, parts: Sequence[int], axis: int) -> int:
        """Along rows (0), columns (1) or channels (2)."""
        shape = [self.tensors[parts[0]].rows, self.tensors[parts[0]].columns, self.tensors[parts[0]].pixel_bytes]
        sizes = [(t.rows, t.columns, t.pixel_bytes)[axis] for t in (self.tensors[p] for p in parts)]
        shape[axis] = sum(sizes)
        y = self.tensor(*shape)
        starts = [Window(before=sum(sizes[:i])) for i in range(len(parts))]
        same = (Window(),) * len(parts)
        rows, columns = tuple(starts) if axis == 0 else same, tuple(starts) if axis == 1 else same
        bytes_ = [self.tensors[p].size_bytes for p in parts]
        follow = all(n == 1 for n in shape[:axis]) and all(self.tensors[p].planes == 1 for p in parts)
        shows = tuple(sum(bytes_[:i]) for i in range(len(parts))) if follow else ()
        self.ops.append(Op(f"concat{y}", Kind.ROWS, tuple(parts), (y,), rows, columns, shows=shows))
        return y

    def mean(self, x: int) -> int:
        t = self.tensors[x]
        y = self.tensor(1, 1, t.pixel_bytes)
        sums = 4 * t.pixel_bytes
        self.ops.append(Op(f"mean{y}", Kind.REDUCE, (x,), (y,), (Window(),), (Window(),), accumulator_bytes=sums))
        return y

    def dense(self, x: int, outputs: int) -> int:
        y = self.tensor(1, 1, outputs)
        self.ops.append(Op(f"dense{y}", Kind.WHOLE, (x,), (y,), scratch_bytes=8))
        return y

    def scale(self, part: int, x: int) -> int:
        """``x`` times a part of it, stretched to its size: only the image is read where the result is written."""
        t = self.tensors[x]
        y = self.tensor(t.rows, t.columns, t.pixel_bytes)
        self.ops.append(Op(f"scale{y}", Kind.WHOLE, (part, x), (y,), in_place=(1,), whole_rows_only=True))
        return y

    def lookup(self, x: int, planes: int) -> int:
        """Byte by byte, as the flat tensor that somebody else takes for ``planes`` planes of an image."""
        t = self.tensors[x]
        self.tensors.append(Tensor(f"t{len(self.tensors)}", t.rows, t.columns, t.pixel_bytes, planes))
        y = len(self.tensors) - 1
        self.ops.append(Op(f"lookup{y}", Kind.WHOLE, (x,), (y,), in_place=(0,), whole_rows_only=True))
        return y

    def view(self, x: int) -> int:
        y = self.tensor(1, 1, self.tensors[x].size_bytes)
        self.ops.append(Op(f"view{y}", Kind.VIEW, (x,), (y,)))
        return y

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.ops), outputs)


@st.composite
def windows(draw: st.DrawFn, size: int) -> tuple[Window, int]:
    """A window over ``size`` positions, and padding behind them, with at least one output position."""
    kernel = draw(st.integers(1, 7))
    stride = draw(st.sampled_from((1, 1, 1, 2, 2, 3)))
    dilation = draw(st.sampled_from((1, 1, 1, 2)))
    extent = (kernel - 1) * dilation + 1
    before = draw(st.integers(0, extent - 1))
    after = draw(st.integers(max(0, extent - size - before), max(0, extent - size - before, extent - 1)))
    return Window(kernel, stride, before, dilation), after


_LAYERS = ("conv", "conv", "conv", "point", "add", "branch", "move", "concat", "scale", "lookup")


@st.composite
def networks(draw: st.DrawFn, layers: int = 7) -> Graph:
    """Convolutions, residual adds, parallel branches, a mean or a dense end."""
    planes = draw(st.sampled_from((1, 1, 3)))
    channels = 3 if planes == 3 else draw(st.integers(1, 9))
    b = Builder(draw(st.integers(1, 17)), draw(st.integers(1, 13)), channels, planes)
    x = 0
    live = [0]
    for _ in range(draw(st.integers(1, layers))):
        t = b.tensors[x]
        kind = draw(st.sampled_from(_LAYERS))
        if kind == "conv":
            (rows, below), (columns, right) = draw(windows(t.rows)), draw(windows(t.columns))
            scratch = draw(st.sampled_from((0, 0, 24)))
            x = b.conv(x, draw(st.integers(1, 12)), rows, columns, (below, right), scratch)
        elif kind == "point":
            x = b.conv(x, draw(st.integers(1, 16)), Window(), Window(), (0, 0))
        elif kind == "add":
            same = [o for o in live if _shape(b.tensors[o]) == _shape(t) and b.tensors[o].planes == t.planes == 1]
            x = b.add(x, draw(st.sampled_from(same))) if same else x
        elif kind == "move":
            steps = draw(st.integers(1, 2)), draw(st.integers(1, 2))
            begin = draw(st.integers(-3, t.rows - 1)), draw(st.integers(-3, t.columns - 1))
            size = draw(st.integers(max(1, 1 - begin[0]), 12)), draw(st.integers(max(1, 1 - begin[1]), 12))
            x = b.move(x, begin, steps, size)
        elif kind == "scale":
            line = draw(st.integers(0, t.rows - 1))
            x = b.scale(b.move(x, (line, 0), (1, 1), (1, t.columns)), x) if t.planes == 1 else x
        elif kind == "lookup":
            x = b.lookup(x, draw(st.sampled_from((1, t.pixel_bytes)))) if t.planes == 1 else x
        elif kind == "concat":
            axis = draw(st.integers(0, 2))
            others = [b.conv(x, t.pixel_bytes, Window(), Window(), (0, 0)) for _ in range(draw(st.integers(1, 2)))]
            x = b.concat([x, *others] if draw(st.booleans()) else [*others, x], axis)
        else:
            # Two paths with the same windows meet again.
            (rows, below), (columns, right) = draw(windows(t.rows)), draw(windows(t.columns))
            left = b.conv(x, 5, rows, columns, (below, right))
            other = b.conv(x, 7, rows, columns, (below, right))
            x = b.add(left, b.conv(other, 5, Window(), Window(), (0, 0)))
        live.append(x)
    outputs = [x]
    if draw(st.booleans()) and x:
        outputs = [b.dense(b.view(b.mean(x)), 4)]
    if draw(st.integers(0, 4)) == 0:
        outputs.append(draw(st.sampled_from([t for t in live if t and t not in outputs] or outputs)))
    if x == 0:
        outputs = [b.conv(x, 2, Window(), Window(), (0, 0))]
    return b.graph(*dict.fromkeys(outputs))


def _shape(t: Tensor) -> tuple[int, int, int]:
    return t.rows, t.columns, t.pixel_bytes


@st.composite
def programs(draw: st.DrawFn, graph: Graph, *, upside_down: bool = True) -> Program:
    """Random cuts, groups, segment widths, delays, directions and recomputation, as far as they can be scheduled."""
    stages: list[Stage] = []
    start, n = 0, len(graph.ops)
    while start < n:
        end = draw(st.integers(start + 1, n))
        stage = draw(_stages(graph, start, end, upside_down))
        if stage is None:
            end = start + 1
            stage = Stage((Group((start,)),), (), upside_down and draw(st.booleans()))
        stages.append(stage)
        start = end
    return Program(tuple(stages))


@st.composite
def _stages(draw: st.DrawFn, graph: Graph, start: int, end: int, upside_down: bool) -> Stage | None:
    groups: list[Group] = []
    at = start
    while at < end:
        to = draw(st.integers(at + 1, end))
        made = [t for op in range(at, to - 1) for t in graph.ops[op].outputs]
        alone = [t for t in made if len(graph.consumers[t]) == 1 and t not in graph.outputs]
        again = frozenset(t for t in alone if draw(st.integers(0, 3)) == 0)
        segment = draw(st.integers(1, 6)) if to - at > 1 else 0
        if to - at > 1 and any(graph.ops[op].kind is Kind.WHOLE for op in range(at, to)):
            return None
        groups.append(Group(tuple(range(at, to)), segment, again, draw(st.integers(1, 4)) if segment else 1))
        at = to
    late = tuple(draw(st.integers(0, 2)) for _ in groups) if draw(st.booleans()) else ()
    stage = Stage(tuple(groups), late, upside_down and draw(st.booleans()))
    try:
        schedule_stage(graph, stage)
    except NotSchedulableError:
        return None
    return stage
