"""Host side of the link against a device that is written down byte by byte."""

from __future__ import annotations

import binascii
import struct

import pytest

from tvm_tiny.errors import RunError
from tvm_tiny.project.link import FaultError, Session, parse_fault

INFO = struct.pack("<6I", 1, 2, 1, 4, 2, 3)  # two inputs of 4 and 2 bytes, one output of 3


def frame(kind: int, payload: bytes = b"", status: int = 0) -> bytes:
    """A frame as ``platforms/common/link.h`` describes it."""
    body = struct.pack("<BBHI", kind, status, 0, len(payload)) + payload
    return b"\xaa\x55" + body + struct.pack("<H", binascii.crc_hqx(body, 0xFFFF))


class Scripted:
    """Gives the answers in order, at most 3 bytes at a time; keeps what was written."""

    def __init__(self, *answers: bytes) -> None:
        self.pending = b"".join(answers)
        self.written: list[bytes] = []
        self.closed = False

    def read(self, n: int, timeout_s: float | None) -> bytes:
        if not self.pending:
            raise RunError("no answer")
        data, self.pending = self.pending[: min(n, 3)], self.pending[min(n, 3) :]
        return data

    def write(self, data: bytes, timeout_s: float | None) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


def test_one_inference() -> None:
    run = struct.pack("<iIQ", 0, 128, 5000)
    device = Scripted(
        *(frame(0x81, INFO), frame(0x82), frame(0x82), frame(0x83, run), frame(0x84, b"out"), frame(0x85)),
    )
    with Session(device) as session:
        assert (session.input_sizes, session.output_sizes) == ((4, 2), (3,))
        assert session.run([b"abcd", b"ef"]) == [b"out"]
    assert device.written == [
        frame(1),
        frame(2, struct.pack("<II", 0, 0) + b"abcd"),
        frame(2, struct.pack("<II", 1, 0) + b"ef"),
        frame(3),
        frame(4, struct.pack("<III", 0, 0, 3)),
        frame(5),
    ]
    assert device.closed
    assert [(s.stack_bytes, s.seconds) for s in session.stats] == [(128, 5e-6)]


def test_rows_one_by_one() -> None:
    info = struct.pack("<5I", 1, 1, 1, 4, 3)
    ran = [struct.pack("<iIQ", *words) for words in ((1, 100, 2000), (0, 80, 3000))]
    answers = [a for run in ran for a in (frame(0x82), frame(0x83, run))]
    device = Scripted(frame(0x81, info), *answers, frame(0x84, b"out"), frame(0x85))
    with Session(device) as session:
        assert session.stream([b"abcd", b"efgh"]) == [b"out"]
    place = struct.pack("<II", 0, 0)
    rows = [x for row in (b"abcd", b"efgh") for x in (frame(2, place + row), frame(3))]
    assert device.written == [frame(1), *rows, frame(4, struct.pack("<III", 0, 0, 3)), frame(5)]
    assert [(s.stack_bytes, s.seconds) for s in session.stats] == [(100, 5e-6)]


def test_a_model_that_expects_other_rows() -> None:
    info = struct.pack("<5I", 1, 1, 1, 4, 3)
    session = Session(Scripted(frame(0x81, info), frame(0x82), frame(0x83, struct.pack("<iIQ", -2, 0, 0))))
    with pytest.raises(RunError, match="push_row function returned -2, expected 1"):
        session.stream([b"abcd", b"efgh"])
    with pytest.raises(RunError, match=r"row 0 has 3 bytes, the firmware expects \(4,\)"):
        session.stream([b"abc"])


def test_large_inputs_go_in_pieces() -> None:
    info = struct.pack("<5I", 1, 1, 1, 150_000, 1)
    run = struct.pack("<iIQ", 0, 0, 0)
    device = Scripted(frame(0x81, info), *[frame(0x82)] * 3, frame(0x83, run), frame(0x84, b"x"))
    data = bytes(range(250)) * 600
    session = Session(device)
    session.run([data])
    pieces = [struct.unpack("<II", w[10:18]) + (w[18:-2],) for w in device.written if w[2] == 2]
    assert b"".join(piece for _, _, piece in pieces) == data
    assert [offset for _, offset, _ in pieces] == [0, 65536, 131072]


def test_noise_before_a_frame_is_skipped() -> None:
    assert Session(Scripted(b"boot\xaa\xaa", frame(0x81, INFO))).output_sizes == (3,)


def test_wrong_checksum() -> None:
    damaged = bytearray(frame(0x81, INFO))
    damaged[12] ^= 1
    with pytest.raises(RunError, match="checksum of the firmware's answer is wrong"):
        Session(Scripted(bytes(damaged)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (frame(0x83), "answered with message 0x83 to request 1"),
        (frame(0x81, b"", 1), "refused request 1: checksum was wrong"),
        (frame(0x81, b"", 2), "refused request 1: request is unknown"),
        (frame(0x81, struct.pack("<3I", 2, 0, 0)), "expected link version 1"),
        (frame(0x81, struct.pack("<3I", 1, 1, 1)), "expected link version 1"),
        (b"\xaa\x55\x81\0\0\0\xff\xff\xff\x7f", "announced an answer of 2,147,483,647 bytes"),
    ],
)
def test_wrong_answers(answer: bytes, words: str) -> None:
    with pytest.raises(RunError, match=words):
        Session(Scripted(answer))


def test_inputs_of_the_wrong_size() -> None:
    session = Session(Scripted(frame(0x81, INFO)))
    with pytest.raises(RunError, match=r"inputs have \(4, 3\) bytes, the firmware expects \(4, 2\)"):
        session.run([b"abcd", b"efg"])


def test_status_of_the_model() -> None:
    run = struct.pack("<iIQ", -3, 0, 0)
    session = Session(Scripted(frame(0x81, INFO), frame(0x82), frame(0x82), frame(0x83, run)))
    with pytest.raises(RunError, match="run function returned -3, expected 0"):
        session.run([b"abcd", b"ef"])


def test_a_fault_carries_registers_and_places() -> None:
    words = [0x20000FD0, 3, 1 << 25, 1 << 30, 0, 0, 0xFFFFFFFD, 1, 2, 3, 4, 12, 0x101, 0x202, 0x61000000]
    fault = frame(0x7F, struct.pack("<15I", *words))
    session = Session(Scripted(frame(0x81, INFO), fault), locate=lambda address: f"<{address:x}>")
    with pytest.raises(FaultError, match=r"HardFault, division by zero, in <202> called from <101>\n") as caught:
        session.run([b"abcd", b"ef"])
    registers = caught.value.fault.registers
    assert (registers["R0"], registers["PC"], registers["LR"], registers["SP"]) == (1, 0x202, 0x101, 0x20000FD0)
    assert "CFSR=02000000" in str(caught.value)


def test_a_fault_without_frame_is_a_stack_overflow() -> None:
    fault = parse_fault(struct.pack("<15I", 0x1FFFFFE0, 3, 0x1000, *[0] * 12))
    assert not fault.has_frame
    assert fault.reasons == ("stack overflow (bus error on exception entry)",)
    assert "PC" not in fault.registers
