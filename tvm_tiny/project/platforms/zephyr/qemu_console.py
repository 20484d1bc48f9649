"""The console of the machine that Zephyr runs its firmware in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import child
else:
    import server
    from common import child

READY = "tvm-tiny is ready"
_ESCAPE, _QUIT = b"\x01", b"\x01x"  # of QEMU's multiplexed console
# Shorter than the client waits for an answer.
_START_S = 45.0


class QemuConsole(child.Child):
    """Firmware in the machine that Zephyr's target ``run`` starts; made once the firmware has said that it is ready."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        super().__init__(command, folder, "standard", lambda: None)
        try:
            deadline, said = time.monotonic() + _START_S, b""
            # Without this the first request may come before the UART is set up, and be lost.
            while READY.encode() + b"\n" not in said:
                said += self.read(1, max(0.0, deadline - time.monotonic()))
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes, timeout_sec: float | None) -> None:
        """Write all of ``data``."""
        super().write(data.replace(_ESCAPE, 2 * _ESCAPE), timeout_sec)

    def close(self) -> None:
        """Have QEMU quit: it is not this process's child, but the build tool's."""
        with contextlib.suppress(server.ServerError):  # it may have ended already
            super().write(_QUIT, 1.0)
        super().close()
