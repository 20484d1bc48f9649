"""The numbers a random case is made of: drawn from a seed, recorded, and drawn again while a case is made smaller."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Spans = tuple[tuple[int, ...], ...]
HEAD = 2
"""Spans in front of those of the layers: the options', and the inputs' and outputs'."""


class Draws:
    """Random choices that remember what was chosen.

    Numbers come in spans: the options, the edges, then one span per layer. A layer looks at nothing but its own span
    and the tensors there are, and makes do with any numbers; so leaving a span out, or putting a smaller number in, is
    another valid case. Zero is the simplest choice everywhere, and what a span that is too short goes on with.

    Parameters
    ----------
    seed : of new numbers
    spans : numbers to take instead
    """

    def __init__(self, seed: int = 0, spans: Spans | None = None) -> None:
        self._random = random.Random(seed)
        self._given = spans
        self._taken: list[list[int]] = []

    @property
    def spans(self) -> Spans:
        """What has been drawn."""
        return tuple(tuple(span) for span in self._taken)

    def next_span(self) -> None:
        self._taken.append([])

    def layers(self, most: int) -> Iterator[int]:
        """Begin the span of one layer after the other."""
        count = self._random.randint(1, most) if self._given is None else len(self._given) - HEAD
        for i in range(count):
            self.next_span()
            yield i

    def below(self, limit: int) -> int:
        """One of 0 .. limit - 1."""
        taken = self._taken[-1]
        if self._given is None:
            value = self._random.randrange(limit)
        else:
            span = self._given[len(self._taken) - 1] if len(self._taken) <= len(self._given) else ()
            value = min(span[len(taken)], limit - 1) if len(taken) < len(span) else 0
        taken.append(value)
        return value

    def size(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        return low + self.below(high - low + 1)

    def pick(self, *values: T) -> T:
        """One of ``values``, the simplest of which comes first."""
        return values[self.below(len(values))]

    def one_in(self, count: int) -> bool:
        """True once in ``count`` times."""
        return self.below(count) == count - 1

    def weighted(self, values: Sequence[tuple[T, int]]) -> T:
        """One of ``values`` with the frequencies that stand beside them."""
        number = self.below(sum(weight for _, weight in values))
        for value, weight in values:
            number -= weight
            if number < 0:
                return value
        raise AssertionError

    def uniform(self, low: float, high: float) -> float:
        """A number with few digits from ``low`` on."""
        return low + (high - low) * self.below(1001) / 1000

    def generator(self) -> np.random.Generator:
        """A generator of its own for arrays."""
        return np.random.default_rng(self.below(1 << 32))
