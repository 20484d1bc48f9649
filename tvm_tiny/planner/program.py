"""What runs together, before anything has an address: stages of groups of operators.

A *stage* is a run of operators executed row-interleaved; between stages tensors are complete. A *group* is the part of
a stage that advances together, one row of its last operator at a time; a group with segments advances in column
segments inside that row, or in patches of several rows, and hands some tensors on in *staged* form: a few pixels of the
new rows, behind them a ring of the older rows that later windows still need.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Operators in order; all but the last feed others of the group.

    Parameters
    ----------
    segment : columns of the last operator's output per segment; 0 means whole rows, and then the group has one operator
    recomputed : tensors made inside the group whose older rows are not kept but made again
    rows : rows of the last operator's output per firing; more than one makes the segments patches, takes more memory
        than one, and makes fewer rows again
    """

    ops: tuple[int, ...]
    segment: int = 0
    recomputed: frozenset[int] = frozenset()
    rows: int = 1


@dataclass(frozen=True)
class Stage:
    """Groups in execution order. ``late`` delays a group by that many ticks beyond what its inputs need."""

    groups: tuple[Group, ...]
    late: tuple[int, ...] = ()
    bottom_up: bool = False

    @property
    def ops(self) -> tuple[int, ...]:
        """All operators, in order."""
        return tuple(op for group in self.groups for op in group.ops)


@dataclass(frozen=True)
class Program:
    """Stages in order; together they run each operator of the graph once, in the graph's order."""

    stages: tuple[Stage, ...]
