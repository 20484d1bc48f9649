"""A fault of a Cortex-M, as the firmware tells of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tvm_tiny.errors import RunError

_EXCEPTIONS = {2: "NMI", 3: "HardFault", 4: "MemManage", 5: "BusFault", 6: "UsageFault", 7: "SecureFault"}
# Configurable Fault Status Register, Armv7-M and Armv8-M Architecture Reference Manuals.
_CFSR_BITS = {
    0: "instruction access violation",
    1: "data access violation",
    3: "MPU fault on exception return",
    4: "stack overflow (MPU fault on exception entry)",
    8: "instruction bus error",
    9: "precise data bus error",
    10: "imprecise data bus error",
    11: "bus error on exception return",
    12: "stack overflow (bus error on exception entry)",
    16: "undefined instruction",
    17: "invalid state",
    18: "invalid return address",
    19: "no coprocessor",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}
# Which register holds the address that was accessed.
_ADDRESS_BITS = {7: "MMFAR", 15: "BFAR"}


@dataclass(frozen=True)
class Fault:
    """Registers of a Cortex-M at a fault; ``has_frame`` is False when the stack it was on could not be read."""

    exception: str
    reasons: tuple[str, ...]
    registers: dict[str, int]
    has_frame: bool


class FaultError(RunError):
    """The firmware faulted; ``fault`` holds the registers."""

    def __init__(self, fault: Fault, where: str = "") -> None:
        registers = "  ".join(f"{name}={value:08x}" for name, value in fault.registers.items())
        reasons = ", ".join(fault.reasons) or "no reason recorded"
        hints = ["more stack: --project-option stack_bytes=N"] if "stack overflow" in reasons else []
        super().__init__(f"firmware faulted: {fault.exception}, {reasons}{where}\n  {registers}", hints=hints)
        self.fault = fault


def fault_error(words_bytes: bytes, locate: Callable[[int], str] | None) -> FaultError:
    """The error for the payload of a FAULT frame; ``locate`` makes a text of a code address."""
    fault = parse_fault(words_bytes)
    if locate is None or not fault.has_frame:
        return FaultError(fault)
    called_from = locate(fault.registers["LR"])
    return FaultError(fault, f", in {locate(fault.registers['PC'])} called from {called_from}")


def parse_fault(payload: bytes) -> Fault:
    """The payload of a FAULT frame; see ``harness_report_fault`` in ``platforms/common/cortex_m.c``."""
    words = struct.unpack("<15I", payload)
    names = ("SP", "IPSR", "CFSR", "HFSR", "MMFAR", "BFAR", "EXC_RETURN")
    registers = dict(zip(names, words, strict=False))
    frame = dict(zip(("R0", "R1", "R2", "R3", "R12", "LR", "PC", "xPSR"), words[7:], strict=True))
    has_frame = any(words[7:])
    status = registers["CFSR"]
    reasons = [text for bit, text in _CFSR_BITS.items() if status >> bit & 1]
    reasons += [f"at {registers[name]:08x}" for bit, name in _ADDRESS_BITS.items() if status >> bit & 1]
    number = registers.pop("IPSR") & 0x1FF
    if not has_frame and not any("stack overflow" in r for r in reasons):
        reasons.append("stack overflow")
    exception = _EXCEPTIONS.get(number, f"exception {number}")
    return Fault(exception, tuple(reasons), {**(frame if has_frame else {}), **registers}, has_frame)
