"""What to say when no plan fits: the smallest that can be reached, what is live there, and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tvm_tiny import planner
from tvm_tiny.errors import MemoryBudgetError, TvmTinyError
from tvm_tiny.targets import Board, board_names, load_board

_LIVE = 3  # buffers named
_BOARDS = 3  # boards named

Variants = Mapping[str, Callable[[], planner.Graph]]


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Parameters
    ----------
    model : its name
    memories : of the board, as ``planner.choose`` takes them
    pooled : the user named them
    """

    model: str
    board: Board
    goal: planner.Goal
    fusion: planner.Fusion
    memories: planner.Memories
    pooled: bool = False

    def fits(self, choice: planner.Choice) -> bool:
        """Whether a plan stays within the board and the user's bound."""
        return choice.plan.fits and (self.goal.ram_bytes is None or choice.plan.ram_bytes <= self.goal.ram_bytes)


def check_ram(request: Request, graph: planner.Graph, choice: planner.Choice, variants: Variants) -> None:
    """Refuse what cannot fit, before any compiler is started; the linker has the last word.

    Parameters
    ----------
    choice : the smallest plan that the options allow, if none fits
    variants : option -> the network with it; each is planned before it is named

    Raises
    ------
    MemoryBudgetError : it does not fit
    """
    if request.fits(choice):
        return
    plan, goal = choice.plan, request.goal
    limit = f"board '{request.board.name}' has {request.board.ram_bytes:,}"
    if plan.fits and goal.ram_bytes is not None:
        limit = f"--ram allows {goal.ram_bytes:,}"
    peak = planner.find_peak(plan)
    blocks = () if peak is None else peak.blocks[:_LIVE]
    live = [f"\n  live at the peak: {planner.short_name(name)}, {size:,} bytes" for name, size in blocks]
    rooms = request.memories[-1] if request.memories and not plan.fits else ()
    live += [f"\n  room in {m.name}: {m.size_bytes:,} bytes" for m in rooms if request.pooled or len(rooms) > 1]
    raise MemoryBudgetError(
        f"'{request.model}' needs {plan.ram_bytes:,} bytes of RAM ({plan.arena_bytes:,} arena, "
        f"{plan.caller_bytes:,} inputs and outputs of the caller); {limit}{''.join(live)}\n"
        f"  this is the smallest with these options, at {choice.mac_factor:.2f} times the network's MACs",
        hints=[*_options(request, graph, variants), *_boards(request, plan)],
    )


def _options(request: Request, graph: planner.Graph, variants: Variants) -> Iterator[str]:
    """Options with which it fits, each tried."""
    more = _least(request, graph, "columns")
    if request.fits(more):
        yield _describe(request, more, [] if request.fusion == "columns" else ["leave out --fusion"])
    for option, build in variants.items():
        try:
            variant = build()
        except TvmTinyError:
            continue  # not for this model
        found = _least(request, variant, request.fusion)
        enough = "" if request.fits(found) else ", which is still too much"
        if found.plan.ram_bytes < more.plan.ram_bytes or request.fits(found):
            yield _describe(request, found, [option]) + enough


def _least(request: Request, graph: planner.Graph, fusion: planner.Fusion) -> planner.Choice:
    """The plan of the least overhead that fits, whatever the overhead; the smallest where none does."""
    front = planner.pareto(graph, fusion=fusion, effort="fast", memories=request.memories)
    return next((x for x in front if request.fits(x)), front[-1])


def _describe(request: Request, choice: planner.Choice, options: list[str]) -> str:
    goal = request.goal
    if choice.overhead > goal.overhead_limit or choice.mac_factor > goal.mac_factor:
        options = [*options, f"--max-overhead {math.ceil(choice.overhead * 100)}%"]
    if not options:
        options = ["--objective ram"]
    return f"{' '.join(options)}: {choice.plan.ram_bytes:,} bytes at {choice.mac_factor:.2f} times the MACs"


def _boards(request: Request, plan: planner.Plan) -> Iterator[str]:
    if plan.fits:
        yield f"a larger bound: --ram {plan.ram_bytes}"
        return
    if request.pooled:
        yield "more or larger pools in --workspace-pools, or leave it out"
        return
    outside = sum(r.size_bytes for r in request.board.ram_regions() if r.external)
    if outside >= plan.ram_bytes and len(request.memories[-1]) <= len(request.memories[0]):
        yield f"memory outside the chip too: --allow external; board '{request.board.name}' has {outside:,} bytes there"
    others = (load_board(name) for name in board_names())
    enough = sorted((b for b in others if b.ram_bytes >= plan.ram_bytes), key=lambda b: (b.ram_bytes, b.name))
    names = [f"tinyml/{b.name} ({b.ram_bytes:,})" for b in enough[:_BOARDS]]
    yield f"a board with more RAM: {', '.join(names)}; tvmc targets" if names else "a board of your own with more RAM"
