"""Host side of the link to a running model: the frames of ``platforms/common/link.h`` over any byte stream."""

from __future__ import annotations

import binascii
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol

from tvm_tiny.errors import RunError

_START = b"\xaa\x55"
_HEADER = struct.Struct("<BBHI")
_INFO, _WRITE, _RUN, _READ, _EXIT = 1, 2, 3, 4, 5
_FAULT, _REPLY = 0x7F, 0x80
_VERSION = 1
_STATUS = {1: "checksum was wrong", 2: "request is unknown", 3: "tensor or range does not exist"}
_CHUNK_BYTES = 1 << 16
_ANSWER_TIMEOUT_S = 20.0
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


class Transport(Protocol):
    """A byte stream to a device; both calls raise a ``TvmTinyError`` on time-out or when the device is gone."""

    def read(self, n: int, timeout_s: float | None) -> bytes: ...

    def write(self, data: bytes, timeout_s: float | None) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Fault:
    """Registers of a Cortex-M at a fault; ``has_frame`` is False when the stack it was on could not be read."""

    exception: str
    reasons: tuple[str, ...]
    registers: dict[str, int]
    has_frame: bool


@dataclass(frozen=True)
class RunStats:
    """What the device says of one inference; None where it does not know."""

    stack_bytes: int | None
    seconds: float | None


class _Ran(NamedTuple):
    """Answer to RUN; stack and time are 0 where the device does not know."""

    status: int
    stack_bytes: int
    nanoseconds: int


class FaultError(RunError):
    """The firmware faulted; ``fault`` holds the registers."""

    def __init__(self, fault: Fault, where: str = "") -> None:
        registers = "  ".join(f"{name}={value:08x}" for name, value in fault.registers.items())
        reasons = ", ".join(fault.reasons) or "no reason recorded"
        hints = ["more stack: --project-option stack_bytes=N"] if "stack overflow" in reasons else []
        super().__init__(f"firmware faulted: {fault.exception}, {reasons}{where}\n  {registers}", hints=hints)
        self.fault = fault


class Session:
    """Runs a model on a device, one inference at a time.

    Parameters
    ----------
    transport : open connection; closed with the session
    run_timeout_s : longest time for one inference
    locate : text for a code address, such as the name of its function
    """

    def __init__(
        self, transport: Transport, *, run_timeout_s: float = 300.0, locate: Callable[[int], str] | None = None
    ) -> None:
        self._transport = transport
        self._run_timeout_s = run_timeout_s
        self._locate = locate
        self._largest_answer = 1 << 12
        words = tuple(word for (word,) in struct.iter_unpack("<I", self._request(_INFO)))
        if len(words) < 3 or words[0] != _VERSION or len(words) != 3 + words[1] + words[2]:
            raise RunError(f"firmware describes itself as {words}, expected link version {_VERSION}")
        self.input_sizes: tuple[int, ...] = words[3 : 3 + words[1]]
        self.output_sizes: tuple[int, ...] = words[3 + words[1] :]
        self._largest_answer = max(self._largest_answer, *self.output_sizes)
        self.stats: list[RunStats] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(in_order=kind is None)

    def close(self, *, in_order: bool = True) -> None:
        """Have the firmware end, if it still answers, and close the transport."""
        try:
            if in_order:
                self._request(_EXIT)
        finally:
            self._transport.close()

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """One inference: raw bytes of every input in, of every output out."""
        sizes = tuple(len(data) for data in inputs)
        if sizes != self.input_sizes:
            raise RunError(f"inputs have {sizes} bytes, the firmware expects {self.input_sizes}")
        for index, data in enumerate(inputs):
            self._write(index, data)
        result = self._run()
        if result.status != 0:
            raise RunError(f"the model's run function returned {result.status}, expected 0")
        self.stats.append(_stats(result.stack_bytes, result.nanoseconds))
        return self._read_outputs()

    def stream(self, rows: Sequence[bytes]) -> list[bytes]:
        """One inference of a model that takes its input row by row: raw bytes of every row in, of every output out."""
        stacks, nanoseconds = [], 0
        for number, row in enumerate(rows):
            if (len(row),) != self.input_sizes:
                raise RunError(f"row {number} has {len(row)} bytes, the firmware expects {self.input_sizes}")
            self._write(0, row)
            expected, result = len(rows) - 1 - number, self._run()
            if result.status != expected:
                raise RunError(f"the model's push_row function returned {result.status}, expected {expected}")
            stacks.append(result.stack_bytes)
            nanoseconds += result.nanoseconds
        self.stats.append(_stats(max(stacks), nanoseconds))
        return self._read_outputs()

    def _write(self, index: int, data: bytes) -> None:
        for offset in range(0, len(data), _CHUNK_BYTES):
            self._request(_WRITE, struct.pack("<II", index, offset) + data[offset : offset + _CHUNK_BYTES])

    def _run(self) -> _Ran:
        return _Ran(*struct.unpack("<iIQ", self._request(_RUN, timeout_s=self._run_timeout_s)))

    def _read_outputs(self) -> list[bytes]:
        return [self._request(_READ, struct.pack("<III", i, 0, size)) for i, size in enumerate(self.output_sizes)]

    def _request(self, kind: int, payload: bytes = b"", timeout_s: float = _ANSWER_TIMEOUT_S) -> bytes:
        deadline = time.monotonic() + timeout_s
        body = _HEADER.pack(kind, 0, 0, len(payload)) + payload
        self._transport.write(_START + body + _crc(body), timeout_s)
        answered, status, answer = self._receive(deadline)
        if answered == _FAULT:
            raise self._fault(answer)
        if answered != kind | _REPLY:
            raise RunError(f"firmware answered with message {answered:#x} to request {kind}")
        if status != 0:
            raise RunError(f"firmware refused request {kind}: {_STATUS.get(status, f'status {status}')}")
        return answer

    def _receive(self, deadline: float) -> tuple[int, int, bytes]:
        window = self._read(2, deadline)
        while window != _START:
            window = window[1:] + self._read(1, deadline)
        head = self._read(_HEADER.size, deadline)
        kind, status, _, size = _HEADER.unpack(head)
        if size > self._largest_answer:
            raise RunError(f"firmware announced an answer of {size:,} bytes")
        rest = self._read(size + 2, deadline)
        if _crc(head + rest[:-2]) != rest[-2:]:
            raise RunError("checksum of the firmware's answer is wrong")
        return kind, status, rest[:-2]

    def _read(self, n: int, deadline: float) -> bytes:
        data = b""
        while len(data) < n:
            data += self._transport.read(n - len(data), max(0.0, deadline - time.monotonic()))
        return data

    def _fault(self, words_bytes: bytes) -> FaultError:
        fault = parse_fault(words_bytes)
        if self._locate is None or not fault.has_frame:
            return FaultError(fault)
        called_from = self._locate(fault.registers["LR"])
        return FaultError(fault, f", in {self._locate(fault.registers['PC'])} called from {called_from}")


def _stats(stack_bytes: int, nanoseconds: int) -> RunStats:
    return RunStats(stack_bytes or None, nanoseconds * 1e-9 if nanoseconds else None)


def parse_fault(payload: bytes) -> Fault:
    """The payload of a FAULT frame; see ``harness_report_fault`` in ``platforms/qemu/startup.c``."""
    words = struct.unpack("<15I", payload)
    names = ("SP", "IPSR", "CFSR", "HFSR", "MMFAR", "BFAR", "EXC_RETURN")
    registers = dict(zip(names, words, strict=False))
    frame = dict(zip(("R0", "R1", "R2", "R3", "R12", "LR", "PC", "xPSR"), words[7:], strict=True))
    has_frame = any(words[7:])
    reasons = [text for bit, text in _CFSR_BITS.items() if registers["CFSR"] >> bit & 1]
    number = registers.pop("IPSR") & 0x1FF
    if not has_frame and not any("stack overflow" in r for r in reasons):
        reasons.append("stack overflow")
    exception = _EXCEPTIONS.get(number, f"exception {number}")
    return Fault(exception, tuple(reasons), {**(frame if has_frame else {}), **registers}, has_frame)


def _crc(data: bytes) -> bytes:
    """CRC-16, CCITT polynomial, seed 0xFFFF."""
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))
