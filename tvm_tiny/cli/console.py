"""Text for people: tables on stdout, progress on stderr where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# A pipe has no width; tables must not be folded at the 80 columns rich assumes then.
_PIPE_WIDTH = 160


def stdout_console() -> Console:
    """Console for results: coloured on a terminal, plain text in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show ``what`` and the time that has passed while the block runs; nothing where stderr is no terminal.

    Yields
    ------
    callable : takes (done, of how many); until it is called the bar says only that work goes on
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print our own warnings as users should see them: without the line of code that gave them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def plain(message: Any, category: type[Warning], *others: Any, **named: Any) -> None:
            if category.__module__.startswith("tvm_tiny."):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *others, **named)

        warnings.showwarning = plain
        yield


def format_bytes(n: int) -> str:
    """``301,056 B``: exact, with separators; budgets are in bytes, so nothing is rounded to KB."""
    return f"{n:,} B"


def format_parts(parts: Sequence[Mapping[str, Any]], key: str) -> str:
    """Where bytes lie, if in several places: `` (dtcm 700 B, sram 468 B)``; parts have "name", bytes at ``key``."""
    if len(parts) < 2:
        return ""
    return " (" + ", ".join(f"{p['name']} {format_bytes(p[key])}" for p in parts) + ")"


def describe_gap(plan: Mapping[str, Any]) -> str:
    """``optimal``, or how far an arena is from what is proved to be needed."""
    gap = plan["arena_bytes"] - plan["lower_bound_bytes"]
    return "optimal" if gap <= 0 else f"at most {format_bytes(gap)} above the optimum"
