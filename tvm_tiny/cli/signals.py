"""Signals that end a process leave nothing behind: temporary files are removed, children ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__)


class _Ended(BaseException):
    """Unwinds the stack as Ctrl-C does."""


@contextlib.contextmanager
def ending_in_order() -> Iterator[list[signal.Signals]]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C would; which one did so is in the list afterwards.

    In the main thread only, and only signals that would end the process: ``nohup`` ignores SIGHUP.
    """
    ended: list[signal.Signals] = []

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # one more would get in the way of cleaning up
        ended.append(signal.Signals(number))
        raise _Ended

    ours = [s for s in _SIGNALS if signal.getsignal(s) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    try:
        for each in ours:
            signal.signal(each, end)
        yield ended
    except BaseException:
        # Foreign code on the way may have made another exception of it.
        if not ended:
            raise
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
