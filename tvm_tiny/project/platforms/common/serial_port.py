"""A serial port as a byte stream: it is waited for when it is not there, and taken up again when it vanishes."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import IoTimeoutError, OptionValueError, ToolMissingError, TransportClosedError
else:
    from server import IoTimeoutError, OptionValueError, ToolMissingError, TransportClosedError

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.1


class SerialPort:
    """An open port.

    Parameters
    ----------
    name : like /dev/ttyACM0, or a link to it, as in /dev/serial/by-id, which stays the same
    wait_s : how long a port that is not there is waited for

    Raises
    ------
    TransportClosedError : the port does not come
    """

    def __init__(self, name: str, baud: int, wait_s: float) -> None:
        self._serial = _pyserial()
        self._name = name
        self._baud = baud
        self._wait_s = wait_s
        self._port: Any = None
        self._gone_since = time.monotonic()
        while not self._open():
            time.sleep(_RETRY_S)

    def read(self, n: int, timeout_sec: float | None) -> bytes:
        """Read 1 to n bytes."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        while True:
            try:
                if self._open():
                    self._port.timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                    data = bytes(self._port.read(1))
                    if data:
                        return data + bytes(self._port.read(min(n - 1, self._port.in_waiting)))
                else:
                    time.sleep(_RETRY_S)
            except (OSError, TypeError, self._serial.SerialException) as error:
                self._lose(error)
            if deadline is not None and time.monotonic() >= deadline:
                raise IoTimeoutError("device did not answer in time")

    def write(self, data: bytes, timeout_sec: float | None) -> None:
        """Write all of ``data``; to a port that is gone it is lost, as on any line."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        try:
            if self._open():
                self._port.write_timeout = timeout_sec
                self._port.write(data)
        except self._serial.SerialTimeoutException as error:
            raise IoTimeoutError("device did not take the data in time") from error
        except (OSError, TypeError, self._serial.SerialException) as error:
            self._lose(error)
        if deadline is not None and time.monotonic() > deadline:
            raise IoTimeoutError("device did not take the data in time")

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()

    def _open(self) -> bool:
        """Open the port if it is there; raise when it has not been for too long."""
        if self._port is not None:
            return True
        try:
            self._port = self._serial.Serial(self._name, self._baud, exclusive=True)
            self._port.reset_input_buffer()
            return True
        except (OSError, ValueError, self._serial.SerialException) as error:
            if isinstance(error, PermissionError) or "Permission denied" in str(error):
                raise TransportClosedError(
                    f"serial port '{self._name}' may not be opened",
                    hints=["join its group, then log in again: sudo usermod -a -G dialout $USER"],
                ) from error
            if time.monotonic() - self._gone_since < self._wait_s:
                return False
            raise TransportClosedError(
                f"serial port '{self._name}' is not there, waited for {self._wait_s:g} s: {error}",
                hints=["is the board plugged in?", *_present(), "wait longer: --project-option port_wait_s=N"],
            ) from error

    def _lose(self, error: Exception) -> None:
        _LOG.info("serial port %s has gone, waiting up to %g s: %s", self._name, self._wait_s, error)
        self._port.close()
        self._port = None
        self._gone_since = time.monotonic()


def choose_port(given: str) -> str:
    """The port given, or the only one of a USB device that is plugged in.

    Raises
    ------
    OptionValueError : none given, and none or several there
    """
    if given:
        return given
    ports = _usb_ports()
    if len(ports) == 1:
        return ports[0]
    found = (
        "no serial port of a USB device is there"
        if not ports
        else f"there are several serial ports: {', '.join(ports)}"
    )
    raise OptionValueError(found, hints=["name it: --port PORT, or --project-option port=PORT"])


def _usb_ports() -> list[str]:
    _pyserial()
    from serial.tools.list_ports import comports

    return sorted(str(port.device) for port in comports() if port.vid is not None)


def _present() -> list[str]:
    ports = _usb_ports()
    links = sorted(map(str, Path("/dev/serial/by-id").glob("*")))
    return [f"ports that are there: {', '.join([*ports, *links])}"] if ports else []


def _pyserial() -> Any:
    try:
        import serial
    except ImportError as error:
        raise ToolMissingError(
            "the Python package pyserial is not installed", hints=["install it: pip install pyserial"]
        ) from error
    return serial
