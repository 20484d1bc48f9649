"""Neighbouring memories as one: what a linker script calls a region."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """Addresses in a row; ``name`` joins the names of its memories by underscores.

    Parameters
    ----------
    relative_speed : of its slowest memory
    external : whether it is outside the chip
    """

    name: str
    address: int
    size_bytes: int
    relative_speed: float
    external: bool

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size_bytes

    def followed_by(self, other: Region) -> Region:
        """Both as one; ``other`` begins where this ends."""
        size, speed = self.size_bytes + other.size_bytes, min(self.relative_speed, other.relative_speed)
        return Region(f"{self.name}_{other.name}", self.address, size, speed, self.external)


def join(regions: Iterable[Region], *, mixed: bool) -> tuple[Region, ...]:
    """Neighbours as one, the fastest first, of equal speed the largest.

    Parameters
    ----------
    mixed : whether memories of different speeds may be one region
    """
    joined: list[Region] = []
    for region in sorted(regions, key=lambda r: r.address):
        last = joined[-1] if joined else None
        if (
            last
            and last.end == region.address
            and last.external == region.external
            and (mixed or last.relative_speed == region.relative_speed)
        ):
            joined[-1] = last.followed_by(region)
        else:
            joined.append(region)
    return tuple(sorted(joined, key=lambda r: (-r.relative_speed, -r.size_bytes)))


def largest(regions: Iterable[Region]) -> Region:
    """The largest region, the lowest of equal ones."""
    return min(regions, key=lambda r: (-r.size_bytes, r.address))
