"""A serial line with faults: bytes between a port and the host that get lost, flipped, doubled, or nothing at all."""

from __future__ import annotations

import os
import random
import select
import termios
import threading
import time
import tty
from pathlib import Path
from types import TracebackType

from tests.emulated_board import plug_in


class BadLine:
    """Stands between the board of a folder and whoever opens its port, until closed.

    Parameters
    ----------
    rate : share of bytes that something happens to
    """

    def __init__(self, folder: Path, *, rate: float, seed: int = 1) -> None:
        self._folder = folder
        self._rate = rate
        self._random = random.Random(seed)
        self._silent_until = 0.0
        self._stop = False
        self.faults = 0
        self._pty = str((folder / "port").readlink())
        self._device = os.open(self._pty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._ours, self._theirs = os.openpty()
        for fd in (self._device, self._theirs):
            tty.setraw(fd, termios.TCSANOW)
        os.set_blocking(self._ours, False)
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> BadLine:
        plug_in(self._folder, os.ttyname(self._theirs))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        self._thread.join()
        plug_in(self._folder, self._pty)
        for fd in (self._device, self._ours, self._theirs):
            os.close(fd)

    def be_silent(self, seconds: float) -> None:
        """Lose everything for a while."""
        self._silent_until = time.monotonic() + seconds

    def _forward(self) -> None:
        to = {self._device: self._ours, self._ours: self._device}
        while not self._stop:
            for fd in select.select(list(to), [], [], 0.05)[0]:
                data = self._spoilt(os.read(fd, 4096))
                while data:
                    select.select([], [to[fd]], [], 1.0)
                    data = data[os.write(to[fd], data) :]

    def _spoilt(self, data: bytes) -> bytes:
        if time.monotonic() < self._silent_until:
            return b""
        out = bytearray()
        for byte in data:
            if self._random.random() >= self._rate:
                out.append(byte)
                continue
            self.faults += 1
            kind = self._random.randrange(3)
            if kind == 1:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 2:
                out += bytes([byte, byte])
        return bytes(out)
