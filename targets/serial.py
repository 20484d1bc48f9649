"""The serial port of a board: which driver, where, and what to set up before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_tiny.errors import TargetError
from tvm_tiny.targets._fields import Fields

# Each is project/platforms/board/uart_<driver>.c.
DRIVERS = ("cmsdk", "stm32", "stm32f4", "nrf")


@dataclass(frozen=True)
class SetupStep:
    """One access to a register before the port is opened: clear, then set bits; or wait until one of some is 1."""

    address: int
    clear: int = 0
    set: int = 0
    wait: int = 0

    def __post_init__(self) -> None:
        if self.address <= 0 or self.address % 4:
            raise TargetError(f"serial.setup: address is {self.address:#x}, expected that of a 32-bit register")
        if bool(self.wait) == bool(self.clear or self.set):
            raise TargetError(f"serial.setup: {self.address:#x}: expected 'wait', or 'clear' and 'set'")


@dataclass(frozen=True)
class Serial:
    """A serial port that the host can reach.

    Parameters
    ----------
    driver : one of ``DRIVERS``
    address : of its registers
    clock_hz : what its baud rate is divided from, after ``setup``
    setup : clocks and pins, in this order
    core_clock_hz : of the core after ``setup``; 0: the board's ``clock_hz``
    port : on the host; empty: the user says which
    """

    driver: str
    address: int
    clock_hz: int
    baud: int
    setup: tuple[SetupStep, ...] = ()
    core_clock_hz: int = 0
    port: str = ""

    def __post_init__(self) -> None:
        if self.driver not in DRIVERS:
            raise TargetError(f"serial: driver is {self.driver!r}, expected one of {', '.join(DRIVERS)}")
        if self.baud <= 0 or self.clock_hz < 8 * self.baud:
            raise TargetError(f"serial: clock_hz is {self.clock_hz}, expected at least 8 times the baud of {self.baud}")


def parse_serial(table: Mapping[str, Any]) -> Serial | None:
    """From the table ``[serial]`` of a board file; None where it has none."""
    if not table:
        return None
    fields = Fields(table, "serial")
    steps = []
    for i, entry in enumerate(fields.take("setup", list, [])):
        if not isinstance(entry, dict):
            raise TargetError(f"key 'serial.setup[{i}]' is {entry!r}, expected a table")
        step = Fields(entry, f"serial.setup[{i}]")
        masks = {key: step.take(key, int, 0) for key in ("clear", "set", "wait")}
        address = step.take("address", int)
        step.finish()
        steps.append(SetupStep(address, **masks))
    serial = Serial(
        fields.take("driver", str),
        fields.take("address", int),
        fields.take("clock_hz", int),
        fields.take("baud", int, 115_200),
        tuple(steps),
        fields.take("core_clock_hz", int, 0),
        fields.take("port", str, ""),
    )
    fields.finish()
    return serial
