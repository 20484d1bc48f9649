"""One table of cases per operator, for the reference, the host and the emulated targets alike.

``all_cases()`` lists them; ``oracle(case.model(), inputs)`` is what TFLite Micro answers. Every case is accepted by the
interpreter, and its integer outputs must be met exactly.
"""

from __future__ import annotations

from functools import lru_cache

from .case import OpCase, Tensors
from .elementwise import elementwise_cases
from .movement import movement_cases
from .networks import float_cases, network_cases
from .oracle import interpreter_factors, oracle
from .weights import weight_cases
from .windows import window_cases

__all__ = ["OpCase", "Tensors", "all_cases", "case_named", "interpreter_factors", "oracle"]


@lru_cache(maxsize=1)
def all_cases() -> tuple[OpCase, ...]:
    """Every case, in a fixed order; names are unique."""
    cases = (
        *weight_cases(),
        *elementwise_cases(),
        *window_cases(),
        *movement_cases(),
        *network_cases(),
        *float_cases(),
    )
    names = [c.name for c in cases]
    assert len(set(names)) == len(names), sorted({n for n in names if names.count(n) > 1})
    return cases


def case_named(name: str) -> OpCase:
    """The case called ``name``."""
    return next(c for c in all_cases() if c.name == name)
