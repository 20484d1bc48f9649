"""The planner's view of a network: tensors with sizes, operators with reads and writes. No TVM.

Anything that can name its tensors and operators can be planned; the compiler builds this from Relax
(``tvm_tiny.passes.extract_program``), a test or a script from plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Home(Enum):
    """Who owns the bytes of a tensor."""

    ARENA = "arena"
    INPUT = "input"  # the caller's buffer; never written
    OUTPUT = "output"  # the caller's buffer; written, and may be read back


@dataclass(frozen=True)
class Tensor:
    """One value. ``size_bytes`` is its size in memory, unpadded; ``shape`` is for reports."""

    name: str
    size_bytes: int
    shape: tuple[int, ...] = ()
    dtype: str = "int8"
    home: Home = Home.ARENA


@dataclass(frozen=True)
class Op:
    """One operator call; tensors are indices into ``Graph.tensors``.

    Parameters
    ----------
    inputs, outputs : tensors read and written; weights are not tensors here
    scratch_bytes : working memory that lives only during the call
    in_place_inputs : positions in ``inputs`` whose bytes output 0 may overwrite at the same offset
    view : the output is the input under another shape: no work, and no memory of its own
    macs : multiply-accumulates
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scratch_bytes: int = 0
    in_place_inputs: tuple[int, ...] = ()
    view: bool = False
    macs: int = 0


@dataclass(frozen=True)
class Graph:
    """A network in single assignment: every tensor is an input or the output of exactly one operator.

    ``ops`` is in a valid order.

    Raises
    ------
    ValueError : an operator reads what nobody has written, or a tensor is written twice
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        written = {i for i, t in enumerate(self.tensors) if t.home is Home.INPUT}
        for op in self.ops:
            for t in op.inputs:
                if t not in written:
                    raise ValueError(f"{op.name} reads {self.tensors[t].name} before it is written")
            for t in op.outputs:
                if t in written:
                    raise ValueError(f"{op.name} writes {self.tensors[t].name}, which is written already")
                written.add(t)
            if op.view and (len(op.inputs) != 1 or len(op.outputs) != 1):
                raise ValueError(f"{op.name} is a view, which has one input and one output")

    def view_roots(self) -> list[int]:
        """For every tensor the one whose bytes it shows: itself, or behind views the tensor they start from."""
        roots = list(range(len(self.tensors)))
        for op in self.ops:
            if op.view:
                roots[op.outputs[0]] = roots[op.inputs[0]]
        return roots
