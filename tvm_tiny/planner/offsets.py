"""Places storages in one arena: first fit in many orders, then hill climbing, against a lower bound."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tvm_tiny.planner.storage import Storage

ALIGNMENT = 8  # bytes: LDRD, doubles and MVE loads want it


def align_up(value: int, alignment: int = ALIGNMENT) -> int:
    """The smallest multiple of ``alignment`` that is not below ``value``."""
    return -(-value // alignment) * alignment


def lower_bound(storages: Sequence[Storage]) -> int:
    """The most bytes that are live at one step: no placement needs less."""
    steps = {s.first for s in storages}
    return max(
        (sum(align_up(s.size_bytes) for s in storages if s.first <= step <= s.last) for step in steps), default=0
    )


def place(storages: Sequence[Storage], *, attempts: int = 2000, seed: int = 0) -> list[int]:
    """Byte offsets for ``storages``, none overlapping while both live.

    Tries four sensible orders with first fit, then swaps neighbours of the best order at random as long as that is
    not proved optimal. Deterministic for a given ``seed``.

    Parameters
    ----------
    attempts : hill-climbing steps at most; cut for large graphs so that an answer always comes within seconds
    """
    if not storages:
        return []
    bound = lower_bound(storages)
    conflicts = _conflicts(storages)
    indices = range(len(storages))
    starts = [
        sorted(indices, key=lambda i: (-storages[i].size_bytes, storages[i].first)),
        sorted(indices, key=lambda i: (-storages[i].size_bytes * (1 + storages[i].last - storages[i].first), i)),
        sorted(indices, key=lambda i: (storages[i].first, -storages[i].size_bytes)),
        sorted(indices, key=lambda i: (-len(conflicts[i]), -storages[i].size_bytes, i)),
    ]
    best_order = min(starts, key=lambda order: _peak(storages, _first_fit(storages, conflicts, order)))
    best = _first_fit(storages, conflicts, best_order)
    best_peak = _peak(storages, best)
    rng = random.Random(seed)
    work = sum(len(c) for c in conflicts) + len(storages)
    for _ in range(min(attempts, 20_000_000 // (work * 4 + 1))):
        if best_peak == bound:
            break
        order = list(best_order)
        top = [p for p, i in enumerate(order) if best[i] + align_up(storages[i].size_bytes) == best_peak]
        a = rng.choice(top)
        b = rng.randrange(len(order))
        order.insert(b, order.pop(a))
        offsets = _first_fit(storages, conflicts, order)
        peak = _peak(storages, offsets)
        if peak <= best_peak:
            best_order, best, best_peak = order, offsets, peak
    return best


def _conflicts(storages: Sequence[Storage]) -> list[list[int]]:
    return [
        [j for j, b in enumerate(storages) if j != i and a.first <= b.last and b.first <= a.last]
        for i, a in enumerate(storages)
    ]


def _first_fit(storages: Sequence[Storage], conflicts: list[list[int]], order: Sequence[int]) -> list[int]:
    offsets = [-1] * len(storages)
    for i in order:
        size = align_up(storages[i].size_bytes)
        taken = sorted(
            (offsets[j], offsets[j] + align_up(storages[j].size_bytes)) for j in conflicts[i] if offsets[j] >= 0
        )
        at = 0
        for start, end in taken:
            if at + size <= start:
                break
            at = max(at, end)
        offsets[i] = at
    return offsets


def _peak(storages: Sequence[Storage], offsets: Sequence[int]) -> int:
    return max(offset + align_up(s.size_bytes) for s, offset in zip(storages, offsets, strict=True))
