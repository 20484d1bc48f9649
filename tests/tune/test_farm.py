"""The farm's client, without devices: questions to the tracker, answers that do not come."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tune.fake_device import BOARD
from tvm_tiny.errors import RunError
from tvm_tiny.targets import resolve
from tvm_tiny.tune import farm
from tvm_tiny.tune.image import Candidate, Image, ImageRun, Measurement


@pytest.fixture
def silent_tracker() -> Iterator[tuple[str, int]]:
    """One that greets and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.sendall(connection.recv(4))

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()
        # Closing alone does not wake the one who accepts.
        server.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()


def _image(folder: Path) -> Image:
    path = folder / "image.tar"
    path.write_bytes(b"")
    return Image(path, {"x": np.zeros(1, np.int8)})


def _measure_once(
    part: Sequence[Candidate], board: object, folder: Path, run: Callable[[Image], ImageRun]
) -> list[Measurement]:
    run(_image(folder))
    return [Measurement("ok", 1.0) for _ in part]


def test_a_tracker_that_does_not_answer(
    silent_tracker: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = farm.FarmDevice(resolve(BOARD), silent_tracker, BOARD, timeout_s=1)
    monkeypatch.setattr(farm, "measure", _measure_once)
    monkeypatch.setattr(device, "servers", lambda: 1)
    began = time.monotonic()
    with pytest.raises(RunError, match="a device of the farm went away"):
        device.measure([Candidate(None, {})])  # type: ignore[arg-type]  # nobody makes its kernel
    assert time.monotonic() - began < 60


def test_one_question_at_a_time(
    silent_tracker: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Remote:
        def get_function(self, name: str) -> Callable[[bytes, bytes], bytes]:
            assert name == farm.FUNCTION
            return lambda archive, inputs: json.dumps({"outputs": {}, "costs": [], "sizes": {}}).encode()

    class Tracker:
        busy = False

        def request(self, key: str, **_: Any) -> Remote:
            assert not self.busy, "two questions on one connection"
            self.busy = True
            time.sleep(0.1)
            self.busy = False
            asked.append(key)
            return Remote()

    device = farm.FarmDevice(resolve(BOARD), silent_tracker, BOARD, timeout_s=1)
    device._session.close()
    monkeypatch.setattr(farm, "measure", _measure_once)
    monkeypatch.setattr(device, "servers", lambda: 4)
    monkeypatch.setattr(device, "_session", Tracker())
    candidates = [Candidate(None, {}) for _ in range(4)]  # type: ignore[arg-type]
    assert [m.status for m in device.measure(candidates)] == ["ok"] * 4
    assert asked == [BOARD] * 4
