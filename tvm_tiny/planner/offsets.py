"""Byte offsets for blocks whose live ranges change over time.

Two blocks A and B collide at a step when ``A + a_lo < B + b_hi`` and ``B + b_lo < A + a_hi``, that is, when the
distance ``B - A`` lies strictly between ``a_lo - b_hi`` and ``a_hi - b_lo``. The union of these intervals over all
steps is everything the placement has to know about a pair: ring beside ring gives one interval, an output that follows
the input it consumes gives an interval that ends at the safe distance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeAlias

import numpy as np

from tvm_tiny.planner.buffers import Buffer, Part, live_bytes

ALIGNMENT = 8  # bytes
Intervals: TypeAlias = list[tuple[int, int]]  # forbidden distances lo < d < hi, ascending, disjoint
MAX_INTERVALS = 12


@dataclass(frozen=True)
class Problem:
    """Sizes in units of ``ALIGNMENT``; ``forbidden[i][j]`` are distances ``offset[j] - offset[i]`` in bytes."""

    sizes: tuple[int, ...]
    forbidden: tuple[dict[int, Intervals], ...]


def align_up(value: int) -> int:
    """The smallest multiple of the alignment that is not below ``value``."""
    return -(-value // ALIGNMENT) * ALIGNMENT


def make_problem(buffers: Sequence[Buffer]) -> Problem:
    """Forbidden distances of all pairs that are live in the same stage."""
    forbidden: list[dict[int, Intervals]] = [{} for _ in buffers]
    together: dict[int, list[int]] = {}
    for i, b in enumerate(buffers):
        for stage in b.live:
            together.setdefault(stage, []).append(i)
    for i, j in sorted({pair for members in together.values() for pair in combinations(members, 2)}):
        intervals = forbidden_distances(buffers[i], buffers[j])
        if intervals:
            forbidden[i][j] = intervals
            forbidden[j][i] = [(-hi, -lo) for lo, hi in reversed(intervals)]
    return Problem(tuple(align_up(b.size_bytes) for b in buffers), tuple(forbidden))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Most bytes live at one step: no placement needs less. Bytes an output may share with its input count once."""
    totals = {stage: np.zeros(1, np.int64) for b in buffers for stage in b.live}
    for x in (x for b in buffers for _, x in b.pieces()):
        for stage in x.live.keys() & totals.keys():
            totals[stage] = totals[stage] + live_bytes(x.live[stage])
        for (stage, _), parts in x.released.items():
            totals[stage] = totals[stage] - (live_bytes(x.live[stage]) - live_bytes(parts))
    return max((int(total.max()) for total in totals.values()), default=0)


def forbidden_distances(a: Buffer, b: Buffer) -> Intervals:
    """Distances from ``a`` to ``b`` at which they collide at some step."""
    found: Intervals = []
    for i, x in a.pieces():
        for j, y in b.pieces():
            found += [(lo + i - j, hi + i - j) for lo, hi in _apart(x, y)]
    return _union(found)


def _apart(a: Buffer, b: Buffer) -> Intervals:
    found: Intervals = []
    for stage in a.live.keys() & b.live.keys():
        left, right = a.live[stage], b.live[stage]
        left = a.released.get((stage, b.key), left)
        right = b.released.get((stage, a.key), right)
        for p in left:
            for q in right:
                found += _collisions(p, q)
    if b.key in a.alias:
        lo, hi = a.alias[b.key]
        found += [x for x in ((lo, 0), (0, hi)) if x[0] < x[1]]
    if a.key in b.alias:
        lo, hi = b.alias[a.key]
        found += [x for x in ((-hi, 0), (0, -lo)) if x[0] < x[1]]
    return found


def _collisions(p: Part, q: Part) -> Intervals:
    if len(p[0]) == len(p[1]) == len(q[0]) == len(q[1]) == 1:
        (a, b), (c, d) = ((int(x[0][0]), int(x[1][0])) for x in (p, q))
        return [(a - d, b - c)] if a < b and c < d else []
    on = (p[0] < p[1]) & (q[0] < q[1])
    if not on.any():
        return []
    lo, hi = np.broadcast_to(p[0] - q[1], on.shape)[on], np.broadcast_to(p[1] - q[0], on.shape)[on]
    pairs = np.unique(np.stack([lo, hi], axis=1), axis=0)
    # Intervals in ascending order of their start; a new one begins where none before reaches it.
    reach = np.maximum.accumulate(pairs[:, 1])
    starts = np.concatenate([[True], pairs[1:, 0] >= reach[:-1]])
    ends = np.concatenate([starts[1:], [True]])
    return list(zip(pairs[starts, 0].tolist(), reach[ends].tolist(), strict=True))


def _union(intervals: Intervals) -> Intervals:
    merged: Intervals = []
    for lo, hi in sorted(intervals):
        if merged and lo < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], hi))
        else:
            merged.append((lo, hi))
    # Giving up the narrowest gaps costs least.
    gaps = sorted(range(1, len(merged)), key=lambda k: merged[k][0] - merged[k - 1][1])
    starts = [0, *sorted(gaps[max(0, len(merged) - MAX_INTERVALS) :])] if merged else []
    return [(merged[a][0], merged[b - 1][1]) for a, b in pairwise([*starts, len(merged)])]


def first_fit(problem: Problem, order: Sequence[int], high: bool = False) -> list[int]:
    """Lowest free offset for one block after the other; ``high`` mirrors the arena, so they fall to its end instead."""
    offsets: dict[int, int] = {}
    for i in order:
        offsets[i] = lowest_free(problem, offsets, i, high)
    low = min(offsets.values(), default=0)
    return [offsets[i] - low for i in range(len(order))]


def lowest_free(problem: Problem, offsets: Mapping[int, int], block: int, high: bool = False) -> int:
    """Lowest offset at which ``block`` collides with none of those in ``offsets``; ``high``: the highest below 0."""
    size = problem.sizes[block]
    blocked = []
    for j, intervals in problem.forbidden[block].items():
        if j in offsets:
            for lo, hi in intervals:  # offsets[j] - offset of the block must not be strictly inside
                x = (offsets[j] - hi, offsets[j] - lo)
                blocked.append(x if not high else (-x[1] - size, -x[0] - size))
    at = 0
    for lo, hi in sorted(blocked):
        if lo < at < hi:
            at = align_up(hi)
    return at if not high else -at - size


def restrict(problem: Problem, blocks: Sequence[int]) -> Problem:
    """The problem of these blocks alone, in this order."""
    new = {i: k for k, i in enumerate(blocks)}
    forbidden = ({new[j]: x for j, x in problem.forbidden[i].items() if j in new} for i in blocks)
    return Problem(tuple(problem.sizes[i] for i in blocks), tuple(forbidden))


def peak(problem: Problem, offsets: Sequence[int]) -> int:
    """Bytes of the arena."""
    return max((o + s for o, s in zip(offsets, problem.sizes, strict=True)), default=0)


def place(problem: Problem, bound: int, *, attempts: int = 60, seed: int = 0) -> list[int]:
    """First fit in several orders, upwards and downwards, then hill climbing on the best. Deterministic."""
    n = len(problem.sizes)
    if n == 0:
        return []
    reach = [sum(hi - lo for x in f.values() for lo, hi in x) for f in problem.forbidden]
    starts = [
        sorted(range(n), key=lambda i: -problem.sizes[i]),
        sorted(range(n), key=lambda i: -reach[i]),
        list(range(n)),
        list(reversed(range(n))),
    ]
    tries = [(first_fit(problem, order, high), order, high) for order in starts for high in (False, True)]
    best, order, high = min(tries, key=lambda x: peak(problem, x[0]))
    best_peak = peak(problem, best)
    rng = random.Random(seed)
    for _ in range(min(attempts, 4_000_000 // (sum(len(f) for f in problem.forbidden) + 1))):
        if best_peak <= align_up(bound):
            break
        trial = list(order)
        top = [k for k, i in enumerate(trial) if best[i] + problem.sizes[i] == best_peak or best[i] == 0]
        trial.insert(rng.randrange(n), trial.pop(rng.choice(top)))
        offsets = first_fit(problem, trial, high)
        if peak(problem, offsets) <= best_peak:
            order, best, best_peak = trial, offsets, peak(problem, offsets)
    return best
