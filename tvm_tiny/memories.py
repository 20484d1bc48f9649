"""From a board and a user's wishes to the memories that the planner may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_tiny import planner
from tvm_tiny.aot.weights import FLASH_SECTION_PREFIX, RAM_SECTION, Home
from tvm_tiny.errors import OptionError
from tvm_tiny.targets import Board, Region

ALLOWED = ("external",)
WEIGHTS = ("flash", "ram")
# On boards with several memories the planner leaves this much of the one that has them to stack and data.
STACK_AND_DATA_BYTES = 4096 + 512
# Where constants may go to flash outside the chip, this much of the flash inside is left to code.
CODE_BYTES = 128 << 10
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Ways = tuple[tuple[planner.Memory, ...], ...]


@dataclass(frozen=True)
class WorkspacePool:
    """A memory that working memory may come from, as microTVM's WorkspacePoolInfo describes it.

    Parameters
    ----------
    name : of a board's memory, of its neighbouring memories joined by underscores, or a new one with a size
    size_bytes : at most that much; None: all of the board's memory
    relative_speed : None: the board's
    """

    name: str
    size_bytes: int | None = None
    relative_speed: float | None = None


@dataclass(frozen=True)
class Division:
    """The memories of a compilation.

    Parameters
    ----------
    ways : as ``planner.plan_memory`` takes them
    default : names of memories that may hold stack and data, of those in use the first does: their arena is plain
        ``.bss``, others get a section of their own
    """

    ways: Ways
    default: tuple[str, ...]


def divide(
    board: Board, *, allow: Sequence[str] = (), pools: Sequence[WorkspacePool] = (), caller_bytes: int = 0
) -> Division:
    """The memories of ``board`` that working memory may use.

    On-chip memories come first, the fastest before the others; neighbours are one region where that is the only way
    to fit; external RAM is last.

    Parameters
    ----------
    allow : kinds of memory beside on-chip RAM: "external"
    pools : only these, in this order; naming external RAM allows it
    caller_bytes : of buffers that the caller owns, which are beside stack and data

    Raises
    ------
    OptionError : unknown kind or pool, external RAM on a board without, a pool with a size it cannot have
    """
    for kind in allow:
        if kind not in ALLOWED:
            raise OptionError(f"--allow {kind!r} is unknown", hints=[f"choose one of {', '.join(ALLOWED)}"])
    regions = board.ram_regions()
    outside = [r for r in regions if r.external]
    if "external" in allow and not outside and board.external_flash is None:
        raise OptionError(
            f"--allow external: board '{board.name}' has no memory outside the chip",
            hints=["boards and their memories: tvmc targets --json"],
        )
    if pools:
        return _pooled(board, pools, caller_bytes)
    inside = [r for r in regions if not r.external]
    joined = [r for r in board.ram_regions(mixed=True) if not r.external]
    main, widest = (max(rs, key=lambda r: r.size_bytes).name for rs in (inside, joined))
    # With one memory there is no choice to make: stack and data take what is left of it.
    spills = "external" in allow and outside
    taken = caller_bytes + (STACK_AND_DATA_BYTES if len(inside) > 1 or spills else 0)
    ways = [_way(inside, main, taken), _way(joined, widest, taken)]
    if spills:
        ways.append(_way([*inside, *outside], main, taken))
    ways.append(_way(joined, widest, caller_bytes))
    return Division(tuple(dict.fromkeys(ways)), tuple(dict.fromkeys((main, widest))))


def _way(regions: Sequence[Region], main: str, taken: int) -> tuple[planner.Memory, ...]:
    return tuple(
        planner.Memory(r.name, max(0, r.size_bytes - (taken if r.name == main else 0)), r.relative_speed)
        for r in regions
    )


def weight_homes(
    board: Board, plan: planner.Plan, weights: str, allow: Sequence[str], division: Division
) -> list[Home]:
    """Where constants may go, the best first.

    Parameters
    ----------
    weights : "flash", or "ram" to copy those that are read most often to what the plan leaves of the RAM that has stack
        and data

    Raises
    ------
    OptionError : another word
    """
    if weights not in WEIGHTS:
        raise OptionError(f"--weights {weights!r} is unknown", hints=[f"choose one of {', '.join(WEIGHTS)}"])
    homes = [Home("flash", None, False, board.flash_bytes)]
    outside = board.external_flash
    if outside is not None and "external" in allow:
        homes = [
            Home("flash", None, False, max(0, board.flash_bytes - CODE_BYTES)),
            Home(outside.name, f"{FLASH_SECTION_PREFIX}{outside.name}", False, outside.size_bytes),
        ]
    if weights == "ram" and division.default:
        used = {a.memory.name: a.size_bytes for a in plan.arenas}
        name = next((n for n in division.default if n in used), division.default[0])
        free = named_regions(board)[name].size_bytes - used.get(name, 0) - plan.caller_bytes - STACK_AND_DATA_BYTES
        homes.insert(0, Home("ram", RAM_SECTION, True, max(0, free)))
    return homes


def named_regions(board: Board) -> dict[str, Region]:
    """Every memory of RAM and every row of neighbours, by name."""
    found: dict[str, Region] = {}
    memories = sorted((m.region for m in board.memories if "flash" not in m.kind), key=lambda r: r.address)
    for i, first in enumerate(memories):
        region = first
        found[region.name] = region
        for following in memories[i + 1 :]:
            if following.address != region.end or following.external != region.external:
                break
            region = region.followed_by(following)
            found[region.name] = region
    return found


def _pooled(board: Board, pools: Sequence[WorkspacePool], caller_bytes: int) -> Division:
    known = named_regions(board)
    on_chip = [p.name for p in pools if p.name in known and not known[p.name].external]
    names = [p.name for p in pools]
    if len(set(names)) < len(names):
        raise OptionError(
            f"--workspace-pools {','.join(names)}: expected each name once", hints=["name each pool once"]
        )
    main = max(on_chip, key=lambda name: known[name].size_bytes, default="")
    memories = []
    for pool in pools:
        region = known.get(pool.name)
        _check(pool, region, board, known)
        size = pool.size_bytes if region is None else min(pool.size_bytes or region.size_bytes, region.size_bytes)
        assert size is not None
        free = size - (caller_bytes if pool.name == main and pool.size_bytes is None else 0)
        speed = pool.relative_speed or (region.relative_speed if region else 1.0)
        memories.append(planner.Memory(pool.name, max(0, free), speed))
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        a, b = known.get(first), known.get(second)
        if a and b and a.address < b.end and b.address < a.end:
            raise OptionError(
                f"--workspace-pools {first},{second}: they share addresses", hints=[f"leave out {second}"]
            )
    return Division((tuple(memories),), (main,) if main else ())


def _check(pool: WorkspacePool, region: Region | None, board: Board, known: dict[str, Region]) -> None:
    if not _NAME.fullmatch(pool.name):
        raise OptionError(
            f"--workspace-pools: {pool.name!r} is no C identifier", hints=["letters, digits, underscores"]
        )
    if region is None and pool.size_bytes is None:
        raise OptionError(
            f"--workspace-pools {pool.name}: board '{board.name}' has no such memory, and no size is given",
            hints=[
                f"memories of the board: {', '.join(known)}",
                f"a new pool takes --workspace-pools-size-hint-bytes {pool.name}:BYTES",
            ],
        )
    if region is not None and pool.size_bytes is not None and pool.size_bytes > region.size_bytes:
        raise OptionError(
            f"--workspace-pools-size-hint-bytes {pool.name}:{pool.size_bytes}: "
            f"board '{board.name}' has {region.size_bytes:,} bytes there",
            hints=[f"leave the size out to use all of {pool.name}"],
        )
    if pool.size_bytes is not None and pool.size_bytes <= 0:
        raise OptionError(
            f"--workspace-pools-size-hint-bytes {pool.name}:{pool.size_bytes}: expected more than 0", hints=["-1: all"]
        )
    if pool.relative_speed is not None and not 0 < pool.relative_speed <= 1:
        raise OptionError(
            f"pool {pool.name!r}: relative speed is {pool.relative_speed}, expected more than 0, at most 1",
            hints=["1.0 is read without wait states"],
        )
