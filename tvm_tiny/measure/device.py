"""A device that runs what the host loads into its RAM, candidates of a tuner above all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from tvm_tiny.project import Fault


@dataclass(frozen=True)
class CallResult:
    """What became of a call.

    Parameters
    ----------
    status : "ok"; "fault", see ``fault``, the device serves on and its RAM is as the function left it; "timeout", the
        function did not return, the device was reset and its RAM has to be loaded again
    value : what the function returned, int32; 0 without "ok"
    cycles : of one call, the mean; None where the device has no counter
    instructions : the same, where instructions are what is counted
    stack_bytes : deepest use of the stack
    """

    status: Literal["ok", "fault", "timeout"]
    value: int = 0
    cycles: int | None = None
    instructions: int | None = None
    stack_bytes: int | None = None
    fault: Fault | None = None


class Device(Protocol):
    """Code and data into RAM, calls, and data back.

    Every method but ``close`` raises ``DeviceRestartedError`` when the device lost its RAM in the meantime; it can then
    be used at once, from loading on. ``RunError`` means that it is gone.
    """

    @property
    def memory_address(self) -> int:
        """First address of the RAM for code and data."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Size of that RAM."""
        ...

    @property
    def restarts(self) -> int:
        """How many times RAM was lost, by ``reset`` and calls that timed out, too."""
        ...

    def load(self, address: int, data: bytes) -> None:
        """Write data or code; caches are taken care of."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory, at any address."""
        ...

    def call(
        self, function: int, arguments: Sequence[int] = (), *, times: int = 1, timeout_s: float = 10.0
    ) -> CallResult:
        """Call a function that was loaded.

        Parameters
        ----------
        function : its address, with or without the Thumb bit
        arguments : at most 16 words, pointers or integers, as the procedure call standard of Arm passes them
        times : how often it is called, one after another
        timeout_s : longest time for all calls
        """
        ...

    def reset(self) -> None:
        """Start the device anew."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...

    def __enter__(self) -> Device: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
