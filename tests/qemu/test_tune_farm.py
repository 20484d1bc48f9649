"""A farm: a tracker and two servers on this machine, through TVM's RPC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune.fake_device import BOARD, demo_tasks
from tvm_tiny import demo
from tvm_tiny.errors import OptionError
from tvm_tiny.schedules import KERNEL
from tvm_tiny.targets import resolve
from tvm_tiny.tune import QemuDevice, tune
from tvm_tiny.tune.farm import FarmDevice, serve
from tvm_tiny.tune.image import Candidate

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


@pytest.fixture(scope="module")
def tracker() -> Iterator[tuple[str, int]]:
    """A tracker with two servers of one board."""
    from tvm.rpc.tracker import Tracker

    started = Tracker("127.0.0.1", port=19190, port_end=19290, silent=True)
    address = ("127.0.0.1", started.port)
    servers = [serve(address, BOARD, BOARD) for _ in range(2)]
    try:
        yield address
    finally:
        for server in servers:
            server.terminate()
        started.terminate()


def test_two_servers_share_the_work(tracker: tuple[str, int], tmp_path: Path) -> None:
    farm = FarmDevice(resolve(BOARD), tracker, BOARD)
    deadline = time.monotonic() + 60
    while farm.servers() < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert farm.servers() == 2
    task = demo_tasks()[0]
    candidates = [Candidate(task.call, d) for d in (dict(task.default), {KERNEL: "general"}, {KERNEL: "no such"})]
    found, local = farm.measure(candidates), QemuDevice(resolve(BOARD)).measure(candidates)
    assert [m.status for m in found] == ["ok", "ok", "impossible"]
    for a, b in zip(found[:2], local[:2], strict=True):
        # Where code lies in the image may cost an instruction or two.
        assert a.instructions == pytest.approx(b.instructions, rel=1e-3)
    result = tune(demo.TFLITE, BOARD, output=tmp_path, device=farm, tasks=["qdense*"])
    assert all(s.untuned and s.best for s in result.states)


def test_nobody_there(tracker: tuple[str, int]) -> None:
    with pytest.raises(OptionError, match="--rpc-key other"):
        FarmDevice(resolve(BOARD), tracker, "other").measure([Candidate(demo_tasks()[0].call, {})])
    with pytest.raises(OptionError, match="no tracker answers"):
        FarmDevice(resolve(BOARD), ("127.0.0.1", 1), BOARD)
