"""Multiply-accumulates that a model has and its compiled form does not, since they concern dead channels.

Kept as one JSON string in the function attribute ``tinyml.dead_macs``, like ``tinyml.io``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DEAD_MACS_ATTR = "tinyml.dead_macs"


def with_dead_macs(func: Any, macs: Mapping[str, int]) -> Any:
    """A copy of the Relax function ``func`` whose layers (variable names) have lost so many MACs."""
    return func.with_attr(DEAD_MACS_ATTR, json.dumps(dict(macs), sort_keys=True))


def get_dead_macs(func: Any) -> dict[str, int]:
    """MACs lost by layer; layers that are gone altogether are among them."""
    if func.attrs is None or DEAD_MACS_ATTR not in func.attrs:
        return {}
    return {str(name): int(macs) for name, macs in json.loads(str(func.attrs[DEAD_MACS_ATTR])).items()}
