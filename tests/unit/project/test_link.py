"""Host side of the link against a device that is written down, and one that answers over a bad line."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from tvm_tiny.errors import DeviceRestartedError, DeviceTimeoutError, RunError
from tvm_tiny.project.faults import FaultError, parse_fault
from tvm_tiny.project.link import Link, Request
from tvm_tiny.project.session import Session

PAYLOAD = 64
DEVICE = (2, PAYLOAD, 0x411FC271, 1, 216_000_000, 0x20001000, 4096, 0xABCD)
INFO = struct.pack("<8I5I", *DEVICE, 2, 1, 4, 2, 3) + b"kws"  # two inputs of 4 and 2 bytes, one output of 3
Answer = Callable[[int, bytes], "bytes | tuple[int, bytes]"]


def frame(kind: int, sequence: int, session: int, payload: bytes = b"", status: int = 0) -> bytes:
    """A frame as ``platforms/common/link.h`` describes it."""
    body = struct.pack("<BBHHH", kind, status, sequence, len(payload), session) + payload
    body += struct.pack("<I", zlib.crc32(body))
    return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def unframe(data: bytes) -> tuple[int, int, int, bytes]:
    """Type, sequence, session and payload of a frame that must be right."""
    assert data[:1] == data[-1:] == b"\xc0"
    body = data[1:-1].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    assert body[-4:] == struct.pack("<I", zlib.crc32(body[:-4]))
    kind, _, sequence, size, session = struct.unpack_from("<BBHHH", body)
    assert size == len(body) - 12
    return kind, sequence, session, body[8:-4]


class Device:
    """Answers requests by ``answers``, which may give a status with the payload; keeps what it was asked.

    ``spoil`` gets each answer's frame and returns what arrives of it.
    """

    def __init__(self, answers: dict[int, list[bytes | tuple[int, bytes]]], info: bytes = INFO) -> None:
        self.answers = {1: [info], 5: [b""], **answers}
        self.asked: list[tuple[int, bytes]] = []
        self.pending = b""
        self.closed = False
        self.spoil: Callable[[bytes], bytes] = lambda data: data

    def read(self, n: int, timeout_s: float | None) -> bytes:
        if not self.pending:
            raise DeviceTimeoutError("no answer")
        data, self.pending = self.pending[: min(n, 3)], self.pending[min(n, 3) :]
        return data

    def write(self, data: bytes, timeout_s: float | None) -> None:
        kind, sequence, session, payload = unframe(data)
        self.asked.append((kind, payload))
        given = self.answers[kind]
        answer = given.pop(0) if len(given) > 1 else given[0]
        status, content = answer if isinstance(answer, tuple) else (0, answer)
        replied = 0x7F if status == 0x7F else kind | 0x80
        self.pending += self.spoil(frame(replied, sequence, session, content, status & 0x0F if status != 0x7F else 0))

    def close(self) -> None:
        self.closed = True


def ran(status: int = 0, stack: int = 0, nanoseconds: int = 0, cycles: int = 0) -> bytes:
    return struct.pack("<iIQQ", status, stack, nanoseconds, cycles)


def test_one_inference() -> None:
    device = Device({2: [b""], 3: [ran(0, 128, 5000, 777)], 4: [b"out"]})
    with Session(device) as session:
        assert (session.input_sizes, session.output_sizes) == ((4, 2), (3,))
        info = session.info
        assert (info.core, info.counter, info.counter_hz) == ("cortex-m7", "dwt_cyccnt", 216_000_000)
        assert (info.memory_address, info.memory_bytes) == (0x20001000, 4096)
        assert (info.model_hash, info.model_name) == (0xABCD, "kws")
        assert session.run([b"abcd", b"ef"]) == [b"out"]
    assert device.asked == [
        (1, b""),
        (2, struct.pack("<II", 0, 0) + b"abcd"),
        (2, struct.pack("<II", 1, 0) + b"ef"),
        (3, struct.pack("<I", 1)),
        (4, struct.pack("<III", 0, 0, 3)),
        (5, b""),
    ]
    assert device.closed
    assert [(s.stack_bytes, s.seconds, s.cycles) for s in session.stats] == [(128, 5e-6, 777)]


def test_repeated_inferences_are_averaged() -> None:
    device = Device({2: [b""], 3: [ran(0, 0, 5000, 700)], 4: [b"out"]})
    session = Session(device)
    session.run([b"abcd", b"ef"], times=5)
    assert (3, struct.pack("<I", 5)) in device.asked
    assert [(s.seconds, s.cycles) for s in session.stats] == [(pytest.approx(1e-6), 140)]


def test_rows_one_by_one() -> None:
    info = struct.pack("<8I4I", *DEVICE, 1, 1, 4, 3)
    device = Device({2: [b""], 3: [ran(1, 100, 2000), ran(0, 80, 3000)], 4: [b"out"]}, info)
    with Session(device) as session:
        assert session.stream([b"abcd", b"efgh"]) == [b"out"]
    place, once = struct.pack("<II", 0, 0), struct.pack("<I", 1)
    rows = [x for row in (b"abcd", b"efgh") for x in ((2, place + row), (3, once))]
    assert device.asked == [(1, b""), *rows, (4, struct.pack("<III", 0, 0, 3)), (5, b"")]
    assert [(s.stack_bytes, s.seconds) for s in session.stats] == [(100, 5e-6)]


def test_a_model_that_expects_other_rows() -> None:
    session = Session(Device({2: [b""], 3: [ran(-2)]}, struct.pack("<8I4I", *DEVICE, 1, 1, 4, 3)))
    with pytest.raises(RunError, match="push_row function returned -2, expected 1"):
        session.stream([b"abcd", b"efgh"])
    with pytest.raises(RunError, match=r"row 0 has 3 bytes, the firmware expects \(4,\)"):
        session.stream([b"abc"])


def test_large_tensors_go_in_pieces() -> None:
    info = struct.pack("<8I4I", *DEVICE, 1, 1, 150, 100)
    device = Device({2: [b""], 3: [ran()], 4: [b"y" * PAYLOAD, b"z" * 36]}, info)
    data = bytes(range(150))
    assert Session(device).run([data]) == [b"y" * PAYLOAD + b"z" * 36]
    pieces = [struct.unpack("<II", p[:8]) + (p[8:],) for kind, p in device.asked if kind == 2]
    assert b"".join(piece for _, _, piece in pieces) == data
    assert [offset for _, offset, _ in pieces] == [0, 56, 112]
    assert [p for kind, p in device.asked if kind == 4] == [struct.pack("<III", 0, *p) for p in ((0, 64), (64, 36))]


def test_noise_between_frames_is_skipped() -> None:
    device = Device({})
    device.spoil = lambda data: b"boot\xc0\xdb\x00\xc0" + data
    assert Session(device).output_sizes == (3,)
    assert len(device.asked) == 1


@pytest.mark.parametrize("kind", ["flipped", "lost", "doubled", "nothing", "short"])
def test_a_request_is_repeated_until_its_answer_arrives_whole(kind: str) -> None:
    device = Device({})
    link_ = Link(device)
    rng = random.Random(3)
    left = 3

    def spoil(data: bytes) -> bytes:
        nonlocal left
        left -= 1
        at = rng.randrange(1, len(data) - 1)
        spoilt = {
            "flipped": data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :],
            "lost": data[:at] + data[at + 1 :],
            "doubled": data[:at] + data[at : at + 1] + data[at:],
            "nothing": b"",
            "short": data[:at],
        }
        return spoilt[kind] if left >= 0 else data

    device.spoil = spoil
    device.answers[8] = [b"12\xc0\xdb\xdc\xdd5678"]
    assert link_.request(Request.PEEK, b"\xc0\xdb") == b"12\xc0\xdb\xdc\xdd5678"
    assert link_.repeats == 3
    assert device.asked == [(1, b"")] + [(8, b"\xc0\xdb")] * 4


def test_answers_to_earlier_requests_are_passed_over() -> None:
    device = Device({8: [b"first", b"second"]})
    link_ = Link(device)
    device.spoil = lambda data: data + data
    assert [link_.request(Request.PEEK) for _ in range(2)] == [b"first", b"second"]
    assert link_.repeats == 0


def test_a_request_that_has_begun_is_waited_for() -> None:
    device = Device({3: [(5, b""), ran(7)]})
    assert Link(device).request(Request.RUN) == ran(7)
    assert len(device.asked) == 3  # the second time for the answer


def test_a_damaged_request_is_repeated_at_once() -> None:
    device = Device({8: [b"x"]})
    link_ = Link(device)
    first = [b"\xc0" + frame(0x80, 0, 0, status=1)]
    device.spoil = lambda data: first.pop() if first else data
    assert link_.request(Request.PEEK) == b"x"
    assert link_.repeats == 1


def test_silence() -> None:
    device = Device({})
    link_ = Link(device, answer_timeout_s=0.01)
    device.spoil = lambda data: b""
    with pytest.raises(DeviceTimeoutError, match="device did not answer in time"):
        link_.request(Request.EXIT)


def test_an_inference_is_run_again_after_a_restart() -> None:
    device = Device({2: [b""], 3: [(4, b""), ran()], 4: [b"out"]})
    session = Session(device)
    assert session.run([b"abcd", b"ef"]) == [b"out"]
    assert [kind for kind, _ in device.asked] == [1, 2, 2, 3, 1, 2, 2, 3, 4]
    device.answers[3] = [(4, b"")]
    with pytest.raises(DeviceRestartedError, match="restarted 5 times"):
        session.run([b"abcd", b"ef"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((2, b""), "refused request INFO: request is unknown"),
        (struct.pack("<3I", 1, 0, 0), "speaks version 1 of the link, expected 2"),
        (struct.pack("<3I", 2, 1, 1), "describes itself wrongly"),
        (struct.pack("<8I2I", *DEVICE, 1, 1), "describes itself wrongly"),
    ],
)
def test_wrong_answers(answer: bytes | tuple[int, bytes], words: str) -> None:
    with pytest.raises(RunError, match=words):
        Session(Device({1: [answer]}))


def test_inputs_of_the_wrong_size() -> None:
    session = Session(Device({}))
    with pytest.raises(RunError, match=r"inputs have \(4, 3\) bytes, the firmware expects \(4, 2\)"):
        session.run([b"abcd", b"efg"])


def test_status_of_the_model() -> None:
    session = Session(Device({2: [b""], 3: [ran(-3)]}))
    with pytest.raises(RunError, match="run function returned -3, expected 0"):
        session.run([b"abcd", b"ef"])


def test_a_fault_carries_registers_and_places() -> None:
    words = [0x20000FD0, 3, 1 << 25, 1 << 30, 0, 0, 0xFFFFFFFD, 1, 2, 3, 4, 12, 0x101, 0x202, 0x61000000]
    device = Device({2: [b""], 3: [(0x7F, struct.pack("<15I", *words))]})
    session = Session(device, locate=lambda address: f"<{address:x}>")
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


class Talking(Device):
    """Tells what layers write before it answers RUN; ``told`` are payloads."""

    def __init__(self, *told: bytes) -> None:
        super().__init__({2: [b""], 3: [ran()], 4: [b"out"]})
        self.told = told

    def write(self, data: bytes, timeout_s: float | None) -> None:
        kind, sequence, session, _ = unframe(data)
        if kind == 3:
            self.pending += b"".join(frame(0x89, sequence, session, payload) for payload in self.told)
        super().write(data, timeout_s)


def test_what_layers_write_is_told_in_front_of_the_answer() -> None:
    first, second = (struct.pack("<4I", i, i, 0, 4 * i) + b"data" for i in (0, 1))
    seen: list[tuple[int, int, int, bytes]] = []
    session = Session(Talking(first, second), observe=lambda *observed: seen.append(observed))
    assert session.run([b"abcd", b"ef"]) == [b"out"]
    assert seen == [(0, 0, 0, b"data"), (1, 0, 4, b"data")]
    assert Session(Talking(first, second)).run([b"abcd", b"ef"]) == [b"out"]  # nobody listens
    for told in ((second,), (first, first), (b"short",)):
        session = Session(Talking(*told), observe=lambda *_: None)
        with pytest.raises(RunError, match="lost some of what the layers wrote"):
            session.run([b"abcd", b"ef"])
