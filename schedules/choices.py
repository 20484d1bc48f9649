"""What a schedule rule leaves open: named choices, each with the value that is good untuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeVar

from tvm_tiny.errors import TvmTinyError

Optimize = Literal["speed", "balanced", "size"]
"""What to prefer where fewer instructions take more code."""

Value = int | str
Decisions = Mapping[str, Value]
"""Choice -> value, as a tuning record has them."""

V = TypeVar("V", int, str)
T = TypeVar("T")

KERNEL = "kernel"
"""The choice that says which others there are."""


class ChoiceError(TvmTinyError):
    """A decision that a rule does not offer: of a record for another shape or of other kernels."""


@dataclass(frozen=True)
class Choice:
    """One choice of a rule; ``default`` is among ``values``."""

    name: str
    values: tuple[Value, ...]
    default: Value


class Chooser:
    """Answers a rule's choices for one layer, and keeps what was asked.

    Parameters
    ----------
    optimize : what defaults prefer
    decisions : values that replace defaults

    Attributes
    ----------
    asked : in order; what is asked may depend on the answer to ``KERNEL``, on no other one
    """

    def __init__(self, optimize: Optimize = "speed", decisions: Decisions | None = None) -> None:
        self.optimize: Optimize = optimize
        self.asked: list[Choice] = []
        self._decisions = dict(decisions or {})

    def pick(self, name: str, values: Sequence[V], default: V) -> V:
        """One of ``values``.

        Raises
        ------
        ChoiceError : what was decided is none of them
        """
        assert default in values, (name, values, default)
        self.asked.append(Choice(name, tuple(dict.fromkeys(values)), default))
        chosen = self._decisions.get(name, default)
        for value in values:
            if value == chosen:
                return value
        raise ChoiceError(f"{name}={chosen} is not possible here", hints=[f"one of {', '.join(map(str, values))}"])

    @property
    def forced(self) -> bool:
        """Whether the kernel was decided on, so that nobody asks whether it pays."""
        return KERNEL in self._decisions

    def first(self, makers: Mapping[str, Callable[[], T | None]]) -> T:
        """What the maker that ``KERNEL`` names gives; by default the first that gives anything.

        Raises
        ------
        ChoiceError : the one that was decided on gives nothing
        """
        names = tuple(makers)
        if self.forced:
            name = str(self.pick(KERNEL, names, names[-1]))
            made = makers[name]()
            if made is None:
                raise ChoiceError(f"{KERNEL}={name} is not possible here", hints=["leave it to the default"])
            return made
        before = len(self.asked)
        for name, make in makers.items():
            made = make()
            if made is not None:
                self.asked.insert(before, Choice(KERNEL, names, name))
                return made
            del self.asked[before:]
        raise AssertionError("the last maker always gives something")

    @property
    def taken(self) -> dict[str, Value]:
        """The answers given."""
        return {c.name: self._decisions.get(c.name, c.default) for c in self.asked}


def combinations(choices: Sequence[Choice]) -> Iterator[dict[str, Value]]:
    """All decisions on ``choices``, all defaults first."""
    names = [c.name for c in choices]
    ordered = [(c.default, *(v for v in c.values if v != c.default)) for c in choices]
    return (dict(zip(names, values, strict=True)) for values in product(*ordered))
