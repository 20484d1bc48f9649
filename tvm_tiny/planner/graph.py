"""A network at row level: tensors with rows, operators with the window of input rows that one output row needs.

Anything that can name its tensors and operators can be planned: the compiler builds this from Relax
(``tvm_tiny.passes.extract_program``), a test or a search over architectures from plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property


class Home(Enum):
    """Whose bytes a tensor has."""

    ARENA = "arena"
    INPUT = "input"  # the model's input: in the arena, readable from the first step on
    CALLER = "caller"  # the caller's buffer: costs its size, is never overwritten, and lies outside the arena


class Kind(Enum):
    """How an operator goes through its rows."""

    ROWS = "rows"  # output row y from a window of rows of each input
    REDUCE = "reduce"  # consumes one input row at a time into an accumulator; its output is complete after the last
    WHOLE = "whole"  # one call for whole tensors
    VIEW = "view"  # the same bytes in another shape, parts of them, or several tensors side by side: no call at all


@dataclass(frozen=True)
class Window:
    """Taps along one axis: output ``y`` reads inputs ``y * stride - before + dilation * i``, ``i < kernel``."""

    kernel: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """Input positions from the first tap to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1


@dataclass(frozen=True)
class Tensor:
    """An NHWC image of one batch, unpadded; anything without rows is one row.

    Parameters
    ----------
    columns, pixel_bytes : a row has ``columns * pixel_bytes`` bytes
    planes : 1 when pixels are stored whole; n when the tensor is stored as n planes one after the other (NCHW), each
        with ``pixel_bytes / n`` bytes a pixel
    shape, dtype : as the model has it, for reports and for those who run the plan
    beside : (tensor, bytes): it lies that far behind the start of that one, because both are shown side by side, or
        begins a block of such tensors (bytes are 0 then). Its rows follow each other, always: neither ring nor staging
        buffer has the place that a view promises
    """

    name: str
    rows: int
    columns: int
    pixel_bytes: int
    planes: int = 1
    home: Home = Home.ARENA
    shape: tuple[int, ...] = ()
    dtype: str = "int8"
    beside: tuple[int, int] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, all planes together."""
        return self.columns * self.pixel_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Op:
    """One operator; weights are not tensors here.

    Parameters
    ----------
    inputs, outputs : indices into ``Graph.tensors``; only a WHOLE operator has several outputs
    rows, columns : one window per input; empty for WHOLE and VIEW, ``Window()`` for REDUCE
    scratch_bytes : working memory of one call
    segment_scratch_bytes : the same of a call that makes part of a row, or rows at unusual places; by default as much
    whole_rows_only : no call makes part of a row, nor reads or writes dealt rows
    split_cost : instructions, about, for each call more that makes the same row
    accumulator_bytes : of a REDUCE operator, live from its first row to its last
    in_place : positions in ``inputs``; a call reads each element before it writes the element at the same byte of its
        first output, so that output may lie exactly on that input; a ROWS operator also goes through its row in
        ascending order, so that its output row may lie below the input row as well
    macs : multiply-accumulates of the whole operator
    shows : of a copy or a view: bytes from the start of the output to where each input begins, negative where the
        output begins inside its input. Every byte of the output is an input's. Empty: no copy; of a view (0,)
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    rows: tuple[Window, ...] = ()
    columns: tuple[Window, ...] = ()
    scratch_bytes: int = 0
    accumulator_bytes: int = 0
    in_place: tuple[int, ...] = ()
    macs: int = 0
    segment_scratch_bytes: int | None = None
    whole_rows_only: bool = False
    split_cost: int = 150
    shows: tuple[int, ...] = ()

    @cached_property
    def replaceable(self) -> tuple[int, ...]:
        """Inputs on which the output may lie: read at ``in_place`` positions only, always through the same window.

        Views make several inputs one: a row of an image times the image reads that row for as long as it writes.
        """
        windows = list(zip(self.rows, self.columns, strict=True)) or [(Window(), Window())] * len(self.inputs)
        found = []
        for t in dict.fromkeys(self.inputs[p] for p in self.in_place):
            positions = [p for p, other in enumerate(self.inputs) if other == t]
            if all(p in self.in_place and windows[p] == windows[positions[0]] for p in positions):
                found.append(t)
        return tuple(found)

    def scratch(self, in_segments: bool) -> int:
        """Bytes of working memory of a call."""
        if in_segments and self.segment_scratch_bytes is not None:
            return self.segment_scratch_bytes
        return self.scratch_bytes


@dataclass(frozen=True, eq=False)
class Graph:
    """A network in single assignment, operators in a valid order. Two graphs are equal when they are the same object.

    Raises
    ------
    ValueError : something is read before it is written, written twice, or a window is missing
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    producer: dict[int, int] = field(init=False, repr=False)
    consumers: dict[int, tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        producer: dict[int, int] = {}
        consumers: dict[int, list[int]] = {t: [] for t in range(len(self.tensors))}
        made = {t for op in self.ops for t in op.outputs}
        known = {i for i, t in enumerate(self.tensors) if t.home is not Home.ARENA and i not in made}
        for index, op in enumerate(self.ops):
            if op.kind in (Kind.ROWS, Kind.REDUCE) and not len(op.rows) == len(op.columns) == len(op.inputs):
                raise ValueError(f"{op.name} needs one window per input and axis")
            for t in op.inputs:
                if t not in known and t not in producer:
                    raise ValueError(f"{op.name} reads {self.tensors[t].name} before it is written")
                if index not in consumers[t]:
                    consumers[t].append(index)
            for t in op.outputs:
                if t in producer or self.tensors[t].home is Home.INPUT:
                    raise ValueError(f"{op.name} writes {self.tensors[t].name}, which is written already")
                producer[t] = index
            is_view = op.kind is Kind.VIEW
            if (is_view or op.shows) and (len(op.outputs) != 1 or len(op.inputs) != len(op.shows or (0,))):
                what = "is a view" if is_view else "could be a view"
                raise ValueError(f"{op.name} {what}, which has one output and a place for each input")
        object.__setattr__(self, "producer", producer)
        object.__setattr__(self, "consumers", {t: tuple(c) for t, c in consumers.items()})

    def op_rows(self, op: int) -> int:
        """Rows an operator iterates over: of its output, of its input when it reduces, one when it works on wholes."""
        x = self.ops[op]
        if x.kind is Kind.ROWS:
            return self.tensors[x.outputs[0]].rows
        return self.tensors[x.inputs[0]].rows if x.kind is Kind.REDUCE else 1

    def op_columns(self, op: int) -> int:
        """Columns an operator iterates over, like ``op_rows``."""
        x = self.ops[op]
        if x.kind is Kind.ROWS:
            return self.tensors[x.outputs[0]].columns
        return self.tensors[x.inputs[0]].columns if x.kind is Kind.REDUCE else 1

    def unread_inputs(self) -> list[int]:
        """Inputs that no operator reads; they have bytes all the same, until the first stage has run."""
        return [t for t, x in enumerate(self.tensors) if x.home is Home.INPUT and self.last_use(t) < 0]

    def may_share(self, source: int, result: int) -> bool:
        """Whether a result may lie exactly on a tensor, as far as their sizes and owners go."""
        a, b = self.tensors[source], self.tensors[result]
        same = a.row_bytes == b.row_bytes and a.rows == b.rows and a.planes == 1
        apart = a.beside and b.beside and a.beside[0] == b.beside[0]  # where they lie is given
        return same and not apart and Home.CALLER not in (a.home, b.home)

    def last_use(self, tensor: int) -> int:
        """Position of the last operator that reads a tensor; ``len(ops)`` for an output of the graph, -1 if unread."""
        return self._last_uses[tensor]

    @cached_property
    def _last_uses(self) -> list[int]:
        last = [max(self.consumers[t], default=-1) for t in range(len(self.tensors))]
        for t in self.outputs:
            last[t] = len(self.ops)
        return last

    @cached_property
    def crossing(self) -> list[list[int]]:
        """For every operator the tensors that are there before it and read by it or later; callers' are left out."""
        found: list[list[int]] = [[] for _ in range(len(self.ops) + 1)]
        for t, x in enumerate(self.tensors):
            if x.home is Home.CALLER or (t not in self.producer and x.home is not Home.INPUT):
                continue
            for op in range(self.producer.get(t, -1) + 1, min(self.last_use(t), len(self.ops)) + 1):
                found[op].append(t)
        return found

    @cached_property
    def row_sizes(self) -> list[int]:
        """``row_bytes`` of all tensors."""
        return [x.row_bytes for x in self.tensors]


def reorder(graph: Graph, order: Sequence[int]) -> Graph:
    """The same network with its operators in another valid order."""
    return Graph(graph.tensors, tuple(graph.ops[i] for i in order), graph.outputs)


def as_whole(op: Op) -> Op:
    """A row operator as one that runs all its rows at a stretch, on whole tensors."""
    if op.kind not in (Kind.ROWS, Kind.REDUCE):
        return op
    scratch = op.scratch_bytes + op.accumulator_bytes
    return Op(op.name, Kind.WHOLE, op.inputs, op.outputs, scratch_bytes=scratch, macs=op.macs)


def stream_input(graph: Graph, tensor: int) -> Graph:
    """Replace a resident input by an operator that delivers it row by row, as ``push_row`` does."""
    tensors = list(graph.tensors)
    tensors[tensor] = replace(tensors[tensor], home=Home.ARENA, planes=1)
    source = Op(f"push_row:{tensors[tensor].name}", Kind.ROWS, (), (tensor,), whole_rows_only=True)
    return Graph(tuple(tensors), (source, *graph.ops), graph.outputs)
