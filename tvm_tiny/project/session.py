"""Runs a model on a device, one inference at a time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, TypeVar

from tvm_tiny.errors import DeviceRestartedError, RunError
from tvm_tiny.project.link import ANSWER_TIMEOUT_S, DeviceInfo, Link, Request, Transport

T = TypeVar("T")
_PLACE_BYTES = 8
_MOST_RESTARTS = 5
_RUN = struct.Struct("<iIQQ")


@dataclass(frozen=True)
class RunStats:
    """What the device says of one inference; None where it does not know.

    cycles : ticks of the counter that ``DeviceInfo.counter`` names
    """

    stack_bytes: int | None
    seconds: float | None
    cycles: int | None = None


class Ran(NamedTuple):
    """Answer to RUN and CALL; 0 where the device does not know."""

    status: int
    stack_bytes: int
    nanoseconds: int
    cycles: int

    @classmethod
    def parse(cls, payload: bytes) -> Ran:
        """From the payload, ``struct link_run``."""
        return cls(*_RUN.unpack(payload))


class Session:
    """Runs a model on a device; an inference that a restart of the device interrupts is run again.

    Parameters
    ----------
    transport : open connection; closed with the session
    run_timeout_s : longest time for one inference
    answer_timeout_s : longest time for any other answer
    locate : text for a code address, such as the name of its function
    observe : called with (layer, output, offset, bytes) for all that layers write, by firmware that tells it
    """

    def __init__(
        self,
        transport: Transport,
        *,
        run_timeout_s: float = 300.0,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        locate: Callable[[int], str] | None = None,
        observe: Callable[[int, int, int, bytes], None] | None = None,
    ) -> None:
        self._transport = transport
        self._run_timeout_s = run_timeout_s
        self._link = Link(transport, answer_timeout_s=answer_timeout_s, locate=locate, observe=observe)
        self.stats: list[RunStats] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(in_order=kind is None)

    @property
    def info(self) -> DeviceInfo:
        """What the device says of itself."""
        return self._link.info

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Bytes of every input, or of one row."""
        return self.info.input_sizes

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Bytes of every output."""
        return self.info.output_sizes

    def close(self, *, in_order: bool = True) -> None:
        """Have the firmware end, if it still answers, and close the transport."""
        try:
            if in_order:
                self._link.request(Request.EXIT)
        finally:
            self._transport.close()

    def run(self, inputs: Sequence[bytes], times: int = 1) -> list[bytes]:
        """One inference: raw bytes of every input in, of every output out.

        Parameters
        ----------
        times : how often it is run, for its time: where layers overwrite the inputs, later outputs are meaningless
        """
        sizes = tuple(len(data) for data in inputs)
        if sizes != self.input_sizes:
            raise RunError(f"inputs have {sizes} bytes, the firmware expects {self.input_sizes}")
        return self._through_restarts(lambda: self._infer(inputs, times))

    def stream(self, rows: Sequence[bytes]) -> list[bytes]:
        """One inference of a model that takes its input row by row: raw bytes of every row in, of every output out."""
        for number, row in enumerate(rows):
            if (len(row),) != self.input_sizes:
                raise RunError(f"row {number} has {len(row)} bytes, the firmware expects {self.input_sizes}")
        return self._through_restarts(lambda: self._infer_rows(rows))

    def _infer(self, inputs: Sequence[bytes], times: int) -> list[bytes]:
        for index, data in enumerate(inputs):
            self._write(index, data)
        ran = self._run(times)
        if ran.status != 0:
            raise RunError(f"the model's run function returned {ran.status}, expected 0")
        outputs = self._read_outputs()
        self.stats.append(_stats(ran.stack_bytes, ran.nanoseconds / times, ran.cycles // times))
        return outputs

    def _infer_rows(self, rows: Sequence[bytes]) -> list[bytes]:
        ran = []
        for number, row in enumerate(rows):
            self._write(0, row)
            ran.append(self._run(1))
            expected, status = len(rows) - 1 - number, ran[-1].status
            if status != expected:
                raise RunError(f"the model's push_row function returned {status}, expected {expected}")
        outputs = self._read_outputs()
        nanoseconds, cycles = sum(r.nanoseconds for r in ran), sum(r.cycles for r in ran)
        self.stats.append(_stats(max(r.stack_bytes for r in ran), nanoseconds, cycles))
        return outputs

    def _through_restarts(self, infer: Callable[[], T]) -> T:
        for _ in range(_MOST_RESTARTS):
            try:
                return infer()
            except DeviceRestartedError:
                self._link.begin()
        raise DeviceRestartedError(f"the device restarted {_MOST_RESTARTS} times during one inference")

    def _write(self, index: int, data: bytes) -> None:
        step = self.info.payload_bytes - _PLACE_BYTES
        for offset in range(0, len(data), step):
            self._link.request(Request.WRITE, struct.pack("<II", index, offset) + data[offset : offset + step])

    def _run(self, times: int) -> Ran:
        return Ran.parse(self._link.request(Request.RUN, struct.pack("<I", times), self._run_timeout_s))

    def _read_outputs(self) -> list[bytes]:
        return [self._read(index, size) for index, size in enumerate(self.output_sizes)]

    def _read(self, index: int, size: int) -> bytes:
        step = self.info.payload_bytes
        places = [(index, offset, min(step, size - offset)) for offset in range(0, size, step)]
        return b"".join(self._link.request(Request.READ, struct.pack("<III", *place)) for place in places)


def _stats(stack_bytes: int, nanoseconds: float, cycles: int) -> RunStats:
    return RunStats(stack_bytes or None, nanoseconds * 1e-9 if nanoseconds else None, cycles or None)
