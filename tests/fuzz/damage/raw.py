"""Mutations of bytes that know nothing of what the bytes mean."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

EXTREMES = (
    0,
    1,
    -1,
    2,
    127,
    -128,
    255,
    32767,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
"""Where lengths, offsets and indices go wrong."""
FLOATS = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), -1.0, 1e-45, 1e-38, 1e30, 3.4e38)


SIDES = (0, 1, 3, 1000, 65535, 10**6, 2**20, 10**8, 2**31 - 1)
"""Other sizes for the sides of images."""


def extreme_bytes(rng: Random, width: int) -> bytes:
    """An extreme integer or float as it lies in a little-endian file, cut to ``width`` bytes."""
    if width in (4, 8) and rng.random() < 0.3:
        return struct.pack("<f" if width == 4 else "<d", rng.choice(FLOATS))
    return (rng.choice(EXTREMES) & (1 << 8 * width) - 1).to_bytes(width, "little")


def mutate(data: bytes, other: bytes, rng: Random) -> bytes:
    """One to four random mutations; ``other`` is what a splice goes on with."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_MUTATIONS)(data, other, rng)
    return data


def _at(data: bytes, rng: Random) -> int:
    """A place: anywhere, near the beginning, near the end, where formats have their headers and directories."""
    near = min(len(data), 256)
    return rng.choice((rng.randrange(len(data) + 1), rng.randrange(near + 1), len(data) - rng.randrange(near + 1)))


def _flip(data: bytes, _: bytes, rng: Random) -> bytes:
    at = min(_at(data, rng), len(data) - 1)
    return data if not data else data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _set(data: bytes, _: bytes, rng: Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]) + data[at + 1 :]


def _number(data: bytes, _: bytes, rng: Random) -> bytes:
    width = rng.choice((2, 4, 4, 8))
    at = _at(data, rng) // width * width
    return data[:at] + extreme_bytes(rng, width) + data[at + width :]


def _truncate(data: bytes, _: bytes, rng: Random) -> bytes:
    return data[: _at(data, rng)]


def _remove(data: bytes, _: bytes, rng: Random) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 512)) :]


def _duplicate(data: bytes, _: bytes, rng: Random) -> bytes:
    at, size = _at(data, rng), rng.choice((1, 4, 16, 64, 512))
    return data[:at] + data[at : at + size] * rng.choice((2, 2, 3, 50)) + data[at + size :]


def _splice(data: bytes, other: bytes, rng: Random) -> bytes:
    return data[: _at(data, rng)] + other[_at(other, rng) :]


_MUTATIONS: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    _flip, _flip, _set, _set, _number, _number, _truncate, _remove, _duplicate, _splice
)  # fmt: skip
