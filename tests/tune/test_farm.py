"""The farm's client, without devices: questions to the tracker, answers that do not come."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.rpc import base

from tests.tune.fake_device import BOARD
from tvm_tiny.errors import RunError
from tvm_tiny.targets import resolve
from tvm_tiny.tune import farm
from tvm_tiny.tune.image import Candidate, Image, ImageRun, Measurement


def _listen(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """The address of a server that gives each connection to ``answer``, and keeps it open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()
        # Closing alone does not wake the one who accepts.
        server.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()


def _greet(connection: socket.socket) -> None:
    connection.sendall(connection.recv(4))


@pytest.fixture
def silent_tracker() -> Iterator[tuple[str, int]]:
    """One that greets and never answers."""
    yield from _listen(_greet)


@pytest.fixture
def vanished_host() -> Iterator[tuple[str, int]]:
    """It takes connections, as one that has left the network seems to, and says nothing."""
    yield from _listen(lambda _: None)


@pytest.fixture
def tracker(vanished_host: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """One that gives everybody a device of the host that has vanished."""

    def answer(connection: socket.socket) -> None:
        _greet(connection)
        # Until the client has hung up.
        with contextlib.suppress(OSError):
            while True:
                base.recvjson(connection)
                base.sendjson(connection, [base.TrackerCode.SUCCESS, [*vanished_host, "key"]])

    yield from _listen(answer)


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


def test_a_host_that_has_vanished(tracker: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    device = farm.FarmDevice(resolve(BOARD), tracker, BOARD, timeout_s=1)
    asked = []

    def measure_halves(
        part: Sequence[Candidate], board: object, folder: Path, run: Callable[[Image], ImageRun]
    ) -> list[Measurement]:
        found = []
        for _ in range(3):
            with pytest.raises(RunError, match=f"--rpc-key {BOARD}: no answer for 2 s; a device's host has left") as e:
                run(_image(folder))
            found.append(e.value)
        asked.extend(found)
        return [Measurement("failed", detail=found[0].message) for _ in part]

    monkeypatch.setattr(farm, "_GRACE_S", 0)
    monkeypatch.setattr(farm, "measure", measure_halves)
    monkeypatch.setattr(device, "servers", lambda: 1)
    assert [m.status for m in device.measure([Candidate(None, {})])] == ["failed"]  # type: ignore[arg-type]
    # Only the first was waited for.
    assert asked[0] is asked[1] is asked[2]
    assert asked[0].hints[0].endswith(f"--host {tracker[0]} --port {tracker[1]}")


def test_questions_at_the_same_time(
    silent_tracker: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Remote:
        def get_function(self, name: str) -> Callable[[bytes, bytes], bytes]:
            assert name == farm.FUNCTION
            return lambda archive, inputs: json.dumps({"outputs": {}, "costs": [], "sizes": {}}).encode()

    class Tracker:
        busy = closed = False

        def request(self, key: str, **_: Any) -> Remote:
            assert not self.busy, "two questions on one connection"
            self.busy = True
            time.sleep(0.1)
            self.busy = False
            asked.append(self)
            return Remote()

        def close(self) -> None:
            self.closed = True

    device = farm.FarmDevice(resolve(BOARD), silent_tracker, BOARD, timeout_s=1)
    device._session.close()
    monkeypatch.setattr(farm, "measure", _measure_once)
    monkeypatch.setattr(device, "servers", lambda: 4)
    monkeypatch.setattr(farm, "_connect", lambda _tracker, _timeout_s: Tracker())
    candidates = [Candidate(None, {}) for _ in range(4)]  # type: ignore[arg-type]
    assert [m.status for m in device.measure(candidates)] == ["ok"] * 4
    assert len(set(asked)) == 4
    assert all(tracker.closed for tracker in asked)
