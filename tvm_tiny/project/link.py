"""Host side of the link to a device: the frames of ``platforms/common/link.h`` over any byte stream, however bad."""

from __future__ import annotations

import secrets
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tvm_tiny.errors import DeviceRestartedError, DeviceTimeoutError, RunError
from tvm_tiny.project.faults import fault_error

_END, _ESC = b"\xc0", b"\xdb"
_ESC_END, _ESC_ESC = b"\xdb\xdc", b"\xdb\xdd"
_HEADER = struct.Struct("<BBHHH")
_CRC = struct.Struct("<I")
_VERSION = 2
_REPLY, _DAMAGED, _FAULT = 0x80, 0x80, 0x7F
_OBSERVED = 9 | _REPLY
_PLACE = struct.Struct("<4I")  # number, layer, output, offset of what is observed
_OK, _NO_SESSION, _BEGUN = 0, 4, 5
_STATUS = {2: "request is unknown or has a wrong size", 3: "tensor, range or address does not exist"}
ANSWER_TIMEOUT_S = 20.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _QUIET_S = 0.25, 5.0, 0.05
# Seconds a byte of a long request: at first as at 115,200 baud, then what is seen; never more than the last.
_PACE_S, _SLOWEST_PACE_S, _LONG_BYTES = 1e-4, 1e-2, 128
_READ_BYTES = 1 << 16
_COUNTERS = {0: None, 1: "dwt_cyccnt", 2: "systick"}
# Main ID registers of the Technical Reference Manuals, bits 15 to 4.
_CORES = {
    0xC20: "cortex-m0", 0xC60: "cortex-m0plus", 0xC23: "cortex-m3", 0xC24: "cortex-m4", 0xC27: "cortex-m7",
    0xD20: "cortex-m23", 0xD21: "cortex-m33", 0xD22: "cortex-m55", 0xD23: "cortex-m85",
}  # fmt: skip


class Request(IntEnum):
    """Types of requests."""

    INFO = 1
    WRITE = 2
    RUN = 3
    READ = 4
    EXIT = 5
    LOAD = 6
    CALL = 7
    PEEK = 8


class Transport(Protocol):
    """A byte stream to a device.

    Both calls raise a ``TvmTinyError`` when the device is gone, and ``DeviceTimeoutError`` when it only takes too long.
    """

    def read(self, n: int, timeout_s: float | None) -> bytes: ...

    def write(self, data: bytes, timeout_s: float | None) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class DeviceInfo:
    """What a device says of itself.

    payload_bytes : longest payload of a request or a reply
    core : as gcc spells it; None on a host, and for one that is not known
    counter : "dwt_cyccnt" or "systick", both count cycles of the core; None where nothing counts
    counter_hz : clock of the core, as the board file has it
    memory_address, memory_bytes : RAM for code and data of the host; no bytes where there is none
    model_hash : CRC-32 of the model's C sources
    """

    payload_bytes: int
    core: str | None
    counter: str | None
    counter_hz: int
    memory_address: int
    memory_bytes: int
    model_hash: int
    model_name: str
    input_sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]


class Link:
    """Requests that arrive exactly once, whatever the line does to their bytes.

    Parameters
    ----------
    transport : open connection
    answer_timeout_s : longest time for an answer
    locate : text for a code address, such as the name of its function
    observe : called with (layer, output, offset, bytes) for all that layers write, by firmware that tells it

    Attributes
    ----------
    repeats : how many times a request was sent again
    sessions : how many times the device was told of one: more than once where it restarted
    begun : whether the device said of the last request that it had begun to execute it
    """

    def __init__(
        self,
        transport: Transport,
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        locate: Callable[[int], str] | None = None,
        observe: Callable[[int, int, int, bytes], None] | None = None,
    ) -> None:
        self._observe = observe
        self._observed = 0
        self._transport = transport
        self._answer_timeout_s = answer_timeout_s
        self._locate = locate
        self._arrived = b""
        self._session = self._sequence = 0
        self._pace_s = _PACE_S
        self.repeats = self.sessions = 0
        self.begun = False
        self.info = self.begin()

    def begin(self) -> DeviceInfo:
        """Begin a session, which a device that has started anew must be told; what it says of itself."""
        self._session = (self._session + 1 + secrets.randbelow(0xFFFD)) % 0xFFFF + 1  # not the last one, never 0
        self._sequence = 0
        self.sessions += 1
        self.info = _parse_info(self.request(Request.INFO))
        return self.info

    def request(self, kind: Request, payload: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Payload of the reply to one request.

        Raises
        ------
        FaultError : the firmware faulted and serves on
        DeviceRestartedError : it has started anew and knows nothing of what it was given
        DeviceTimeoutError : no answer in time
        RunError : it refused the request, or is gone
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        body = _HEADER.pack(kind, 0, self._sequence, len(payload), self._session) + payload
        frame = _END + _escape(body + _CRC.pack(zlib.crc32(body))) + _END
        start, repeats_before = time.monotonic(), self.repeats
        deadline = start + (timeout_s or self._answer_timeout_s)
        pause_s = _FIRST_PAUSE_S + 2 * self._pace_s * len(frame)
        self.begun = False
        self._observed = 0
        while True:
            try:
                self._transport.write(frame, max(0.0, deadline - time.monotonic()))
                answer = self._answer(kind, min(deadline, time.monotonic() + pause_s))
            except DeviceTimeoutError:
                answer = None
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._learn_pace(len(frame), 2 * self._pace_s)
            if answer is not None:
                if self.repeats == repeats_before:
                    self._learn_pace(len(frame), (time.monotonic() - start) / len(frame))
                return self._checked(kind, *answer)
            if time.monotonic() >= deadline:
                raise DeviceTimeoutError("device did not answer in time")
            self.repeats += 1

    def _learn_pace(self, size: int, pace_s: float) -> None:
        """A line that is slower than thought must not be filled with repeated requests; short ones tell nothing."""
        if size >= _LONG_BYTES:
            self._pace_s = min(0.7 * self._pace_s + 0.3 * pace_s, _SLOWEST_PACE_S)

    def _answer(self, kind: Request, deadline: float) -> tuple[int, int, bytes] | None:
        """Type, status and payload of the answer to the last request; None when it did not arrive whole."""
        while True:
            while _END not in self._arrived:
                self._arrived += self._transport.read(_READ_BYTES, max(0.0, deadline - time.monotonic()))
            frame, _, self._arrived = self._arrived.partition(_END)
            parsed = _parse_frame(frame)
            if parsed is None:
                if frame:  # the answer, spoilt, or noise before it
                    deadline = min(deadline, time.monotonic() + _QUIET_S)
                continue
            answered, status, sequence, session, payload = parsed
            if answered == _DAMAGED:
                return None
            ours = (sequence, session) == (self._sequence, self._session)
            if (
                not ours
            ):  # an earlier request is answered once more: the device is busy with what was repeated too early
                self._learn_pace(_LONG_BYTES, 2 * self._pace_s)
                deadline = max(deadline, time.monotonic() + _FIRST_PAUSE_S)
            if ours and answered == _OBSERVED and self._observe is not None:
                self._tell(self._observe, payload)
                deadline = max(deadline, time.monotonic() + _FIRST_PAUSE_S)
            elif ours and status == _BEGUN:
                self.begun = True
            elif ours and answered in (kind | _REPLY, _FAULT):
                return answered, status, payload

    def _tell(self, observe: Callable[[int, int, int, bytes], None], payload: bytes) -> None:
        number, layer, output, offset = _PLACE.unpack_from(payload.ljust(_PLACE.size, b"\xff"))
        if number != self._observed:
            raise RunError("the line has lost some of what the layers wrote", hints=["run it again", "a slower line"])
        self._observed += 1
        observe(layer, output, offset, payload[_PLACE.size :])

    def _checked(self, kind: Request, answered: int, status: int, payload: bytes) -> bytes:
        if answered == _FAULT:
            raise fault_error(payload, self._locate)
        if status == _NO_SESSION and kind != Request.EXIT:
            raise DeviceRestartedError("the device has restarted")
        if status not in (_OK, _NO_SESSION):
            raise RunError(f"firmware refused request {kind.name}: {_STATUS.get(status, f'status {status}')}")
        return payload


def _escape(data: bytes) -> bytes:
    return data.replace(_ESC, _ESC_ESC).replace(_END, _ESC_END)


def _parse_frame(escaped: bytes) -> tuple[int, int, int, int, bytes] | None:
    """Type, status, sequence, session and payload; None for what is not a whole frame."""
    data = escaped.replace(_ESC_END, _END).replace(_ESC_ESC, _ESC)
    if len(data) < _HEADER.size + _CRC.size:
        return None
    body = data[: -_CRC.size]
    kind, status, sequence, size, session = _HEADER.unpack_from(body)
    if size != len(body) - _HEADER.size or _CRC.pack(zlib.crc32(body)) != data[-_CRC.size :]:
        return None
    return kind, status, sequence, session, body[_HEADER.size :]


def _parse_info(payload: bytes) -> DeviceInfo:
    if len(payload) < 4 or payload[:4] != _VERSION.to_bytes(4, "little"):
        version = int.from_bytes(payload[:4], "little")
        raise RunError(
            f"firmware speaks version {version} of the link, expected {_VERSION}", hints=["build and flash it again"]
        )
    count = len(payload) // 4
    words = struct.unpack_from(f"<{count}I", payload)
    inputs, outputs = words[8:10] if count >= 10 else (0, 0)
    end = 10 + inputs + outputs
    if not 10 <= end <= count:
        raise RunError(f"firmware describes itself wrongly: {payload.hex()}")
    _, payload_bytes, cpuid, counter, counter_hz, address, size, model_hash = words[:8]
    return DeviceInfo(
        payload_bytes,
        _CORES.get(cpuid >> 4 & 0xFFF),
        _COUNTERS.get(counter),
        counter_hz,
        address,
        size,
        model_hash,
        payload[4 * end :].decode("ascii", "replace"),
        words[10 : 10 + inputs],
        words[10 + inputs : end],
    )
