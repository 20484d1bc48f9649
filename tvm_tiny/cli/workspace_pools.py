"""microTVM's ``--workspace-pools`` flags: where working memory comes from, in which order, how much."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tvm_tiny.errors import OptionError

if TYPE_CHECKING:
    from tvm_tiny.memories import WorkspacePool

_POOLS = "--workspace-pools"
_UNLIMITED = -1  # microTVM's word for "as much as there is"
_WORD_BYTES = 4  # what a Cortex-M loads at once
# Flag -> placeholder of its value and help.
_PROPERTIES: dict[str, tuple[str, str]] = {
    "targets": ("TARGETS", "who uses the pool; c and tinyml are this compiler"),
    "size-hint-bytes": ("BYTES", "use at most that much of the pool; a pool that the board does not have needs it"),
    "clock-frequency-hz": ("HZ", "how fast the pool is, beside the board's clock"),
    "read-bandwidth-bytes-per-cycle": ("BYTES", "bytes read per cycle of the pool's clock"),
    "write-bandwidth-bytes-per-cycle": ("BYTES", "bytes written per cycle of the pool's clock"),
    "read-latency-cycles": ("CYCLES", "cycles before a read"),
    "write-latency-cycles": ("CYCLES", "cycles before a write"),
    "target-burst-bytes": ("TARGET:BYTES", "accepted; cores load words, not bursts"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    group = parser.add_argument_group("memories, as microTVM's tvmc names them")
    group.add_argument(
        _POOLS,
        metavar="NAME,...",
        help="memories for working memory, in this order: the board's (tvmc targets --json lists them), or new ones",
    )
    for name, (value, text) in _PROPERTIES.items():
        group.add_argument(f"{_POOLS}-{name}", metavar=f"POOL:{value}", action="append", default=[], help=text)


def parse_pools(args: argparse.Namespace, clock_hz: int) -> tuple[WorkspacePool, ...]:
    """The pools that the flags describe, in order; none without ``--workspace-pools``.

    Parameters
    ----------
    clock_hz : of the board

    Raises
    ------
    OptionError : a value that is none, a flag for a pool that is not in the list, a pool for another target
    """
    from tvm_tiny.memories import WorkspacePool

    names = args.workspace_pools.split(",") if args.workspace_pools else []
    given = {
        name: _by_pool(name, getattr(args, f"workspace_pools_{name.replace('-', '_')}"), names) for name in _PROPERTIES
    }
    for pool, targets in given["targets"].items():
        if not any(t in ("c", "tinyml") or t.startswith("tinyml/") for t in targets.split(",")):
            raise OptionError(
                f"{_POOLS}-targets {pool}:{targets}: this compiler's targets are c and tinyml",
                hints=[f"{_POOLS}-targets {pool}:c", f"leave {pool} out of {_POOLS}"],
            )
    sizes = _numbers("size-hint-bytes", given, lambda n: n > 0 or n == _UNLIMITED, "a number of bytes, or -1 for all")
    pools = []
    for name in names:
        size = sizes.get(name)
        pools.append(WorkspacePool(name, None if size == _UNLIMITED else size, _speed(name, given, clock_hz)))
    return tuple(pools)


def _by_pool(name: str, values: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    found = {}
    for value in values:
        pool, separator, rest = value.partition(":")
        if not separator or not rest:
            raise OptionError(
                f"{_POOLS}-{name} {value}: expected POOL:{_PROPERTIES[name][0]}",
                hints=[f"{_POOLS} {value.split(':')[0]} {_POOLS}-{name} {value.split(':')[0]}:..."],
            )
        if pool not in names:
            raise OptionError(
                f"{_POOLS}-{name} {value}: there is no pool {pool!r}", hints=[f"{_POOLS} {','.join([*names, pool])}"]
            )
        found[pool] = rest
    return found


def _numbers(
    name: str, given: Mapping[str, Mapping[str, str]], fits: Callable[[int], bool], expected: str
) -> dict[str, int]:
    numbers = {}
    for pool, text in given[name].items():
        try:
            numbers[pool] = int(text)
        except ValueError:
            numbers[pool] = _UNLIMITED - 1
        if not fits(numbers[pool]):
            raise OptionError(
                f"{_POOLS}-{name} {pool}:{text}: expected {expected}", hints=[f"leave {_POOLS}-{name} out"]
            )
    return numbers


def _speed(pool: str, given: Mapping[str, Mapping[str, str]], clock_hz: int) -> float | None:
    """Words per cycle of the core, at most 1, the mean of reading and writing; None where nothing is said."""
    limits: dict[str, int] = {
        name: _numbers(name, given, lambda n: n > 0, "a number above 0").get(pool, 0)
        for name in ("clock-frequency-hz", "read-bandwidth-bytes-per-cycle", "write-bandwidth-bytes-per-cycle")
    }
    waits = {
        name: _numbers(name, given, lambda n: n >= 0, "a number of cycles").get(pool, 0)
        for name in ("read-latency-cycles", "write-latency-cycles")
    }
    if not any(limits.values()) and not any(waits.values()):
        return None
    slower = clock_hz / (limits["clock-frequency-hz"] or clock_hz)
    cycles = [
        slower
        * (waits[f"{way}-latency-cycles"] + _WORD_BYTES / (limits[f"{way}-bandwidth-bytes-per-cycle"] or _WORD_BYTES))
        for way in ("read", "write")
    ]
    return 1 / max(1.0, sum(cycles) / len(cycles))
