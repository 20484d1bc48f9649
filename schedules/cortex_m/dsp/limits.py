"""How much working memory a micro-kernel may take."""

from __future__ import annotations

FREE = 256
"""Bytes of scratch that are always worth it."""


def scratch_limit(input_bytes: int, output_bytes: int) -> int:
    """A quarter of what the layer holds in memory anyway."""
    return max(FREE, (input_bytes + output_bytes) // 4)
