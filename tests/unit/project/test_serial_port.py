"""A serial port, which is a pty here: bytes, time-outs, a port that is not there, and one that goes and comes back."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvm_tiny.project.platforms.common import serial_port
from tvm_tiny.project.platforms.common.serial_port import SerialPort, choose_port
from tvm_tiny.project.server import IoTimeoutError, OptionValueError, TransportClosedError


class Pty:
    """A device at the end of ``link``."""

    def __init__(self, link: Path) -> None:
        self.fd, self._other = os.openpty()
        tty.setraw(self._other)
        self._link = link
        link.symlink_to(os.ttyname(self._other))

    def unplug(self) -> None:
        self._link.unlink()
        os.close(self._other)
        os.close(self.fd)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Pty]:
    pty = Pty(tmp_path / "port")
    yield pty
    pty.unplug()


def test_bytes(device: Pty, tmp_path: Path) -> None:
    port = SerialPort(str(tmp_path / "port"), 115_200, 1)
    port.write(bytes(range(256)), 1.0)
    assert os.read(device.fd, 1000) == bytes(range(256))
    os.write(device.fd, b"answer\x00\x11\x13\r\n")
    assert port.read(3, 1.0) == b"ans"
    assert port.read(100, 1.0) == b"wer\x00\x11\x13\r\n"
    with pytest.raises(IoTimeoutError, match="did not answer in time"):
        port.read(1, 0.05)
    with pytest.raises(TransportClosedError, match="is not there, waited for 0 s: .*lock"):
        SerialPort(str(tmp_path / "port"), 115_200, 0)  # two users of one port would take each other's bytes
    port.close()


def test_a_port_that_comes_late(tmp_path: Path) -> None:
    made: list[Pty] = []
    timer = threading.Timer(0.3, lambda: made.append(Pty(tmp_path / "port")))
    timer.start()
    port = SerialPort(str(tmp_path / "port"), 115_200, 10)
    timer.join()
    os.write(made[0].fd, b"x")
    assert port.read(10, 1.0) == b"x"
    port.close()
    made[0].unplug()


def test_a_port_that_goes_and_comes_back(tmp_path: Path) -> None:
    first = Pty(tmp_path / "port")
    port = SerialPort(str(tmp_path / "port"), 115_200, 10)
    first.unplug()
    with pytest.raises(IoTimeoutError):
        port.read(1, 0.2)
    port.write(b"lost", 0.1)
    second = Pty(tmp_path / "port")
    port.write(b"heard", 1.0)
    assert os.read(second.fd, 100) == b"heard"
    port.close()
    second.unplug()


def test_a_port_that_stays_away(tmp_path: Path) -> None:
    pty = Pty(tmp_path / "port")
    port = SerialPort(str(tmp_path / "port"), 115_200, 0.3)
    pty.unplug()
    with pytest.raises(TransportClosedError, match=r"serial port '.*port' is not there, waited for 0\.3 s") as caught:
        port.read(1, 5.0)
    assert caught.value.hints[0] == "is the board plugged in?"


def test_the_only_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for ports, words in (([], "no serial port of a USB device"), (["/dev/a", "/dev/b"], "several .*: /dev/a, /dev/b")):
        monkeypatch.setattr(serial_port, "_usb_ports", lambda ports=ports: ports)
        with pytest.raises(OptionValueError, match=words) as caught:
            choose_port("")
        assert caught.value.hints == ("name it: --port PORT, or --project-option port=PORT",)
        assert choose_port("COM3") == "COM3"
    monkeypatch.setattr(serial_port, "_usb_ports", lambda: ["/dev/a"])
    assert choose_port("") == "/dev/a"
