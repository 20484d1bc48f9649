"""Text for people: tables on stdout, progress on stderr where that is a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)
# A pipe has no width; tables must not be folded at the 80 columns rich assumes then.
_PIPE_WIDTH = 160


_is_quiet = False


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """What ``--quiet`` and ``--verbose`` ask for, of everything that is printed from here on."""
    global _is_quiet
    _is_quiet = quiet
    logger = logging.getLogger("tvm_tiny")
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    if verbose and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(relativeCreated)7d ms %(name)s: %(message)s"))
        logger.addHandler(handler)


def stdout_console() -> Console:
    """Console for results: coloured on a terminal, plain text in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, quiet=_is_quiet)


def say(text: str) -> None:
    """A line about what was done."""
    if not _is_quiet:
        print(text)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show ``what`` and the time that has passed while the block runs; nothing where stderr is no terminal.

    Yields
    ------
    callable : takes (done, of how many); until it is called the bar says only that work goes on
    """
    logger.debug("%s", what)
    if _is_quiet or not sys.stderr.isatty():
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
