"""The result of planning: where every tensor and every scratch buffer lives, and in which order operators run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_tiny.planner.graph import Graph


@dataclass(frozen=True)
class Block:
    """A range of the arena that one storage holds from step ``first`` to step ``last``, both included.

    tensors : indices of the tensors that live in it (views and in-place results share one); empty for scratch
    """

    offset: int
    size_bytes: int
    first: int
    last: int
    tensors: tuple[int, ...]
    scratch_of: int | None = None


@dataclass(frozen=True)
class Plan:
    """A memory plan for one graph.

    Parameters
    ----------
    order : operator indices in execution order; a step is a position in it
    blocks : what lies in the arena
    arena_bytes : its size
    lower_bound_bytes : no arrangement of these blocks can be smaller
    """

    graph: Graph
    order: tuple[int, ...]
    blocks: tuple[Block, ...]
    arena_bytes: int
    lower_bound_bytes: int

    @property
    def optimal(self) -> bool:
        """Whether offsets are proved optimal for this order and this sharing."""
        return self.arena_bytes == self.lower_bound_bytes

    def tensor_offset(self, tensor: int) -> int | None:
        """Byte offset of a tensor in the arena; None when the caller owns it."""
        return next((b.offset for b in self.blocks if tensor in b.tensors), None)

    def scratch_offset(self, op: int) -> int | None:
        """Byte offset of an operator's scratch buffer; None when it has none."""
        return next((b.offset for b in self.blocks if b.scratch_of == op), None)

    def peak_step(self) -> int:
        """The step with the most live bytes."""
        steps = range(max(1, len(self.order)))
        return max(steps, key=lambda s: sum(b.size_bytes for b in self.blocks if b.first <= s <= b.last))

    def to_dict(self) -> dict[str, Any]:
        """JSON form, for metadata and reports."""
        tensors = self.graph.tensors
        return {
            "arena_bytes": self.arena_bytes,
            "lower_bound_bytes": self.lower_bound_bytes,
            "optimal": self.optimal,
            "order": [self.graph.ops[i].name for i in self.order],
            "blocks": [
                {
                    "offset": b.offset,
                    "size_bytes": b.size_bytes,
                    "first": b.first,
                    "last": b.last,
                    "tensors": [tensors[t].name for t in b.tensors],
                    "scratch_of": None if b.scratch_of is None else self.graph.ops[b.scratch_of].name,
                }
                for b in self.blocks
            ],
        }
