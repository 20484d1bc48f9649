"""Boards and emulators on many hosts, through TVM's own RPC tracker and servers.

A server has one device and one function, ``tvm_tiny.farm.run``, which TVM's plug-in hook registers in every process
that imports TVM. What TVM's RPC offers beside it is not restricted: who reaches a server's port may run code there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tvm_tiny import errors
from tvm_tiny.errors import DeviceTimeoutError, OptionError, RunError, TvmTinyError
from tvm_tiny.targets import Board, resolve
from tvm_tiny.tune.devices import BoardDevice, QemuDevice
from tvm_tiny.tune.image import Candidate, Image, ImageRun, LayerCost, Measurement, measure

FUNCTION = "tvm_tiny.farm.run"
_DEVICE = "TVM_TINY_FARM_DEVICE"
"""Environment of a server's processes: its device, as JSON."""

_GRACE_S = 30
"""For what goes to a device and back, beside waiting for it and running."""

_served: dict[str, QemuDevice | BoardDevice] = {}


def serve(
    tracker: tuple[str, int],
    key: str,
    target: str,
    *,
    device: str = "qemu",
    options: dict[str, Any] | None = None,
    host: str = "127.0.0.1",
    custom_addr: str | None = None,
) -> Any:
    """Start a server for one device and register it with the tracker.

    Parameters
    ----------
    tracker : host and port
    key : what clients ask the tracker for; a board's name, say
    target : the board, as for ``compile_model``
    device : "qemu" or "board"
    options : of platform ``board``, such as ``port``
    host : address to listen on; only this machine by default
    custom_addr : address that the tracker tells clients; by default the one it sees

    Returns
    -------
    ``tvm.rpc.Server``; ``terminate()`` ends it.
    """
    from tvm import rpc

    resolve(target)
    os.environ[_DEVICE] = json.dumps({"target": target, "device": device, "options": options or {}})
    try:
        return rpc.Server(host=host, key=key, tracker_addr=tracker, custom_addr=custom_addr, silent=True)
    finally:
        del os.environ[_DEVICE]


def run_for_client(archive: bytes, inputs: bytes) -> bytes:
    """Run an image on this server's device; what goes wrong is part of the answer.

    Parameters
    ----------
    archive : Model Library Format
    inputs : ``.npz``
    """
    try:
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-farm-") as folder:
            path = Path(folder) / "image.tar"
            path.write_bytes(archive)
            with np.load(io.BytesIO(inputs), allow_pickle=False) as arrays:
                image = Image(path, dict(arrays))
            done = _device().run_image(image)
    except TvmTinyError as e:
        return json.dumps({"error": type(e).__name__, "message": e.message, "hints": e.hints}).encode()
    outputs = {name: [str(a.dtype), a.tolist()] for name, a in done.outputs.items()}
    return json.dumps({"outputs": outputs, "costs": [asdict(c) for c in done.costs], "sizes": done.sizes}).encode()


def _device() -> QemuDevice | BoardDevice:
    text = os.environ.get(_DEVICE)
    if text is None:
        raise OptionError("this process serves no device", hints=["python -m tvm_tiny.tune.farm --help"])
    if text not in _served:
        wanted = json.loads(text)
        board = resolve(wanted["target"])
        _served[text] = BoardDevice(board, wanted["options"]) if wanted["device"] == "board" else QemuDevice(board)
    return _served[text]


class FarmDevice:
    """All devices that a tracker knows under a key, at the same time.

    Parameters
    ----------
    tracker : host and port
    timeout_s : longest wait for a free device, and longest time for an image on it
    has_clock : the devices are boards
    """

    name = "farm"

    def __init__(
        self, board: Board, tracker: tuple[str, int], key: str, timeout_s: int = 120, *, has_clock: bool = False
    ) -> None:
        self._board, self._key, self._timeout_s, self.has_clock = board, key, timeout_s, has_clock
        self._tracker = tracker
        try:
            # TVM's client tries for a minute and leaves sockets open.
            socket.create_connection(tracker, timeout=10).close()
            self._session = _connect(tracker, timeout_s)
        except (OSError, RuntimeError) as e:
            raise OptionError(
                f"--rpc-tracker {tracker[0]}:{tracker[1]}: no tracker answers there ({e})",
                hints=["start one: python -m tvm.exec.rpc_tracker --port 9190"],
            ) from e
        # Kernels are made one after the other, while others run.
        self._making = threading.Lock()

    def servers(self) -> int:
        """How many devices there are."""
        known = self._session.summary()["server_info"]
        return sum(server["key"] == f"server:{self._key}" for server in known)

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        count = min(self.servers(), len(candidates))
        if count == 0:
            raise OptionError(
                f"--rpc-key {self._key}: the tracker knows no such device",
                hints=[f"serve one: python -m tvm_tiny.tune.farm --rpc-key {self._key} --help"],
            )
        parts = [candidates[i::count] for i in range(count)]
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(self._measure, parts))
        return [found[i % count][i // count] for i in range(len(candidates))]

    def _measure(self, part: Sequence[Candidate]) -> list[Measurement]:
        lost: list[_LostError] = []

        def run(image: Image) -> ImageRun:
            if lost:  # halves of the image would wait as long, each
                raise lost[0]
            try:
                return self._run(image)
            except _LostError as e:
                lost.append(e)
                raise

        with self._making, tempfile.TemporaryDirectory(prefix="tvm-tiny-tune-") as folder:
            return measure(part, self._board, Path(folder), run)

    def _run(self, image: Image) -> ImageRun:
        archive, buffer = image.archive.read_bytes(), io.BytesIO()
        np.savez(buffer, **image.inputs)  # type: ignore[arg-type]  # names are no options of savez
        self._making.release()
        try:
            answer = json.loads(self._ask(archive, buffer.getvalue()))
        except (OSError, RuntimeError) as e:
            reason = str(e).strip() or type(e).__name__
            raise RunError(f"a device of the farm went away: {reason.splitlines()[-1]}") from e
        finally:
            self._making.acquire()
        if "error" in answer:
            raise getattr(errors, answer["error"], RunError)(answer["message"], hints=answer["hints"])
        outputs = {name: np.array(values, dtype=dtype) for name, (dtype, values) in answer["outputs"].items()}
        return ImageRun(outputs, [LayerCost(**c) for c in answer["costs"]], answer["sizes"])

    def _ask(self, archive: bytes, inputs: bytes) -> bytes:
        """What ``run_for_client`` says on a free device.

        A server ends a session that takes too long. Where its host has vanished from the network nothing does, and
        TVM's calls cannot be stopped: the thread that waits is left behind.
        """
        answer: Future[bytes] = Future()

        def ask() -> None:
            try:
                # A connection of its own: two questions at a time would get each other's answers.
                session = _connect(self._tracker, self._timeout_s)
                try:
                    remote = session.request(self._key, session_timeout=self._timeout_s, max_retry=2)
                finally:
                    session.close()
                answer.set_result(bytes(remote.get_function(FUNCTION)(archive, inputs)))
            except Exception as e:
                answer.set_exception(e)

        threading.Thread(target=ask, daemon=True).start()
        limit_s = 2 * self._timeout_s + _GRACE_S
        if not wait([answer], limit_s).done:
            host, port = self._tracker
            raise _LostError(
                f"--rpc-key {self._key}: no answer for {limit_s} s; a device's host has left the network, or hangs",
                hints=[f"which are there: python -m tvm.exec.query_rpc_tracker --host {host} --port {port}"],
            )
        return answer.result()


class _LostError(DeviceTimeoutError):
    """The farm did not answer; one of its devices may have said so of a candidate, too, but that is an answer."""


def _connect(tracker: tuple[str, int], timeout_s: float) -> Any:
    """A ``tvm.rpc.TrackerSession`` that does not wait for ever: a tracker answers only when a device is free.

    Parameters
    ----------
    tracker : host and port
    timeout_s : longest wait for an answer
    """
    from tvm import rpc

    class Tracker(rpc.TrackerSession):
        def _connect(self) -> None:
            super()._connect()
            self._sock.settimeout(timeout_s)

    return Tracker(tracker)


def parse_tracker(text: str) -> tuple[str, int]:
    """``host:9190``.

    Raises
    ------
    OptionError : it is none
    """
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise OptionError(f"--rpc-tracker {text!r}: expected HOST:PORT", hints=["--rpc-tracker 127.0.0.1:9190"])
    return host, int(port)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one device until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tvm_tiny.tune.farm", description="Serve a device to tvmc tune.")
    parser.add_argument("--rpc-tracker", required=True, metavar="HOST:PORT")
    parser.add_argument("--rpc-key", required=True, metavar="KEY", help="what tvmc tune --rpc-key asks for")
    parser.add_argument("--target", required=True, help="the board, as for tvmc compile")
    parser.add_argument("--device", choices=("qemu", "board"), default="qemu", help="%(default)s")
    parser.add_argument("--port", help="serial port of the board")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--custom-addr", metavar="ADDRESS", help="address that the tracker tells clients")
    args = parser.parse_args(argv)
    options = {} if args.port is None else {"port": args.port}
    try:
        server = serve(
            parse_tracker(args.rpc_tracker),
            args.rpc_key,
            args.target,
            device=args.device,
            options=options,
            host=args.host,
            custom_addr=args.custom_addr,
        )
    except TvmTinyError as e:
        print(f"error: {e.message}", file=sys.stderr)
        return 1
    print(f"{args.target} is served as {args.rpc_key}; Ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
