"""Requantization of four accumulators in a vector, with the constants that ``dsp.requantization`` proves.

    t = 256 * acc + offset                       VSHL, VADD
    t = t - (t < 0 ? sign : 0)                   VPT, VSUB; "signed" only
    t = (t * multiplier >> 32) + addend          VMULH, VADD; the latter only if not 0
                                                 "uniform": VQDMULH by a core register, so all is doubled from here on
    t = saturate(t * 2**left)                    VQSHL: eight integer bits on top, which is the clamp to int8
    y = t >> 24                                  VSHR

A clamp inside of int8 is a saturating addition that pushes the bound to the end of int32, and its undoing. A plan that
counts from ``low`` (zero_based) is moved down by 128, so that eight bits hold it, and its high end is treated likewise,
by two additions if there are more than 127 values to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization


@dataclass(frozen=True)
class Steps:
    """Which instructions a layer's requantization has; what differs between layers with equal steps are numbers."""

    signed: bool
    uniform: bool
    add: bool
    raises: int
    back: bool
    low: bool

    @property
    def vectors(self) -> int:
        """Vectors of constants per four channels: offsets, and signs and multipliers if they differ."""
        return 1 if self.uniform else 3 if self.signed else 2

    @property
    def numbers(self) -> tuple[str, ...]:
        """Fields of ``VectorRequantization`` that are read."""
        needed = {
            "left": True,
            "addend": self.add,
            "raise_high": self.raises > 0 or self.back,
            "back": self.raises > 0 or self.back,
            "second": self.raises > 1 or self.low,
            "factor": self.uniform,
            "sign": self.uniform and self.signed,
        }
        return tuple(name for name, read in needed.items() if read)

    @property
    def general(self) -> Steps:
        """Instructions that more layers share: all bounds or none; numbers of 0 make them do nothing."""
        bounded = self.raises > 0 or self.back or self.low
        return replace(self, raises=(1 if self.low else 2) if bounded else 0, back=bounded)


@dataclass(frozen=True)
class VectorRequantization:
    """A layer's numbers, int32: shift to the left, addend; what raises the high bound, and moves it back; what raises
    it further, or ("signed") lowers and moves back the low bound;

    the multiplier and the sign of all channels if uniform, else 0."""

    steps: Steps
    left: int
    addend: int
    raise_high: int
    back: int
    second: int
    factor: int
    sign: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those that do not depend on whether it is uniform."""
        return self.left, self.addend, self.raise_high, self.back, self.second


def vector_requantization(
    plan: LayerRequantization, bias: NDArray[np.integer], reach: NDArray[np.integer], *, uniform: bool | None = None
) -> VectorRequantization | None:
    """``plan`` for these instructions, or None where the bounds are too near to each other or the shift too large.

    Parameters
    ----------
    bias, reach : as ``dsp.requantization.solve_layer`` got them
    uniform : take the multiplier from a core register; as the plan is if None
    """
    room = 255 - (plan.high - plan.low) if plan.zero_based else 127 - plan.high
    below = 0 if plan.zero_based else plan.low + 128
    addend = -(128 << plan.shift) if plan.zero_based else plan.addend
    # What is added and the product, at most 2**30, do not overflow; the bound is raised twice at most, by 127 each.
    if not (0 <= room <= (127 if below else 254) and 0 <= below <= 127) or abs(addend) > 2**29:
        return None
    raises = [min(room, 127), max(room - 127, 0)]
    back = (128 + plan.low if plan.zero_based else 0) - room
    back = ((back << 24) + 2**31) % 2**32 - 2**31
    same = plan.uniform if uniform is None else uniform
    ends = ((reach - bias.astype(np.int64)[:, None]) << plan.scale_bits) + plan.offsets[:, None]
    if same and int((np.abs(ends).max(1) * plan.multipliers >> 31).max()) + 2 * abs(addend) >= 2**31 - 2:
        return None
    steps = Steps(plan.form == "signed", same, addend != 0, sum(r > 0 for r in raises), back != 0, below != 0)
    left = 24 - plan.shift - same
    shared = (int(plan.multipliers[0]), int(plan.signs[0])) if same else (0, 0)
    return VectorRequantization(steps, left, addend << same, raises[0] << 24, back, (below or raises[1]) << 24, *shared)


def requantize_lines(
    vectors: Sequence[str], steps: Steps, constants: Sequence[str], scalars: Mapping[str, str]
) -> list[list[str]]:
    """Assembly for accumulators in ``vectors``, in groups: before the signs, the signs, from the multiplication on.

    Parameters
    ----------
    constants : registers of offsets, signs (any, if not signed), multipliers; the last two core registers if uniform
    scalars : registers of "left" and, where the steps ask for them, "addend", "raise_high", "back", "second"
    """
    offset, sign, factor = constants
    first: list[str] = []
    middle: list[str] = []
    last: list[str] = []
    for q in vectors:
        first += [f"vshl.i32 {q}, {q}, #8", f"vadd.i32 {q}, {q}, {offset}"]
        middle += [f"vpt.s32 lt, {q}, zr", f"vsubt.i32 {q}, {q}, {sign}"] if steps.signed else []
        last += [f"{'vqdmulh' if steps.uniform else 'vmulh'}.s32 {q}, {q}, {factor}"]
        last += [f"vadd.i32 {q}, {q}, {scalars['addend']}"] if steps.add else []
        last += [f"vqshl.s32 {q}, {scalars['left']}"]
        last += bound_lines(q, steps, scalars)
        last += [f"vshr.s32 {q}, {q}, #24"]
    return [first, middle, last]


def bound_lines(q: str, steps: Steps, scalars: Mapping[str, str]) -> list[str]:
    """Clamp inside of int8."""
    lines: list[str] = []
    for name in ("raise_high", "second")[: steps.raises]:
        lines += [f"vqadd.s32 {q}, {q}, {scalars[name]}"]
    if steps.back:
        lines += [f"vadd.i32 {q}, {q}, {scalars['back']}"]
    if steps.low:
        lines += [f"vqsub.s32 {q}, {q}, {scalars['second']}", f"vadd.i32 {q}, {q}, {scalars['second']}"]
    return lines


def requantize_twin(acc: str, multiplier: str, sign: str, steps: Steps, numbers: str) -> str:
    """C expression with the value that ``requantize_lines`` leaves.

    Parameters
    ----------
    acc : 256 times the accumulator, plus offset
    numbers : int32 pointer to ``VectorRequantization.numbers``
    """
    return f"tinyml_vector_requantize({acc}, {multiplier}, {sign}, {32 - steps.uniform}, {int(steps.low)}, {numbers})"
