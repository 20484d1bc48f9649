"""Everything that reads files from outside: sound files to begin with, how they are damaged, and the reading itself."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fake_archive import DEFAULT
from tests.fuzz.case import draw_case
from tests.fuzz.damage import archives, flatbuffer, protobuf, raw, texts
from tests.fuzz.damage.onnx_sound import extra_models
from tests.tflite_writer import TfliteWriter
from tvm_tiny.aot import mlf_bytes
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import TvmTinyError
from tvm_tiny.project import server
from tvm_tiny.project.client import ProjectAPIClient
from tvm_tiny.targets import resolve

_TASK = "qconv2d 1x25x5x64x64 k1x1 s1x1 valid relu"
MODELS = 60
"""Sound models that are damaged, of each format; so many have nearly all operators."""
TARGET = "qemu-m4"
_ROOT = Path(__file__).parents[3]
PLATFORMS = _ROOT / "tvm_tiny" / "project" / "platforms"

Mutate = Callable[[bytes, bytes, Random], bytes]


@dataclass(frozen=True)
class Reader:
    """
    file : name the damaged file has
    sound : gives files that can be read
    damage : structure-aware; ``raw.mutate`` comes in as often
    read : reads the file in a folder of its own, in which it may write beneath "inside"
    allowed : what it may raise
    """

    file: str
    sound: Callable[[], list[bytes]]
    damage: Mutate
    read: Callable[[Path, Random], None]
    allowed: tuple[type[BaseException], ...] = (TvmTinyError,)


def _tvmc(*arguments: str | Path) -> None:
    """``tvmc`` in this process; errors come out as exceptions, a command line that does not parse as exit code 2."""
    try:
        status = main([*map(str, arguments), "--debug"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 70
    if status not in (0, 2, 3):
        raise AssertionError(f"exit code {status}")


def _import_and_compile(path: Path, rng: Random) -> None:
    from tvm_tiny import frontend

    frontend.load_model(path)
    # Compiling takes fifty times as long as reading.
    if rng.random() < 0.25:
        _tvmc("compile", path, "--target", TARGET, "-o", path.parent / "inside" / "model.tar")


@cache
def _tflite() -> list[bytes]:
    return [draw_case(f"tflite-{i}").model for i in range(MODELS)]


@cache
def _onnx() -> list[bytes]:
    return [draw_case(f"onnx-{i}").model for i in range(MODELS)] + extra_models("model.onnx")


@cache
def _network() -> bytes:
    """Layers that can be tuned."""
    writer, rng = TfliteWriter(), np.random.default_rng(0)
    x = writer.input("x", (1, 6, 7, 4), 0.05, 3)
    for channels in (8, 8):
        weight = writer.const(
            f"w{channels}", rng.integers(-127, 128, (channels, 3, 3, x.shape[3]), dtype=np.int8), 0.01
        )
        x = writer.conv2d(x, weight, out_scale=0.2, activation="relu")
        weight = writer.const(f"d{channels}", rng.integers(-127, 128, (1, 3, 3, channels), dtype=np.int8), 0.01)
        x = writer.depthwise_conv2d(x, weight, out_scale=0.3)
    dense = writer.const("dense", rng.integers(-127, 128, (5, 6 * 7 * 8), dtype=np.int8), 0.01)
    writer.output(writer.fully_connected(x, dense, out_scale=1.0))
    return writer.finish()


@cache
def _archives() -> list[bytes]:
    asked: tuple[tuple[bytes, dict[str, Any]], ...] = (
        (_network(), {}),
        (_tflite()[0], {}),
        (_tflite()[1], {"caller_io": True}),
    )
    models = [compile_model(m, target=TARGET, tuning_records=None, **options) for m, options in asked]
    return [mlf_bytes(model.files) for model in models]


def _arrays() -> list[bytes]:
    out = io.BytesIO()
    arrays = {t["name"]: np.zeros((3, *t["shape"]), t["host_dtype"] or t["dtype"]) for t in DEFAULT["inputs"]}
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return [out.getvalue()]


def _read_arrays(path: Path, _: Random) -> None:
    from tvm_tiny.cli.tensor_files import read_inputs
    from tvm_tiny.measure.tensors import split_inputs

    split_inputs(DEFAULT["inputs"], read_inputs(path, DEFAULT["inputs"]))


def _use_archive(path: Path, rng: Random) -> None:
    inside = path.parent / "inside"
    (inside / "sound.tar").write_bytes(_archives()[0])
    uses: list[Callable[[], Any]] = [
        lambda: _tvmc("inspect", path, "--json"),
        lambda: _tvmc("inspect", path, "--svg", inside / "arena.svg"),
        lambda: _tvmc("inspect", path, "--dump-graph", inside / "graph.onnx"),
        lambda: _tvmc("report", path, "-o", inside / "report.html"),
        lambda: _tvmc("report", path, "-o", inside / "report.md", "--front", "off"),
        lambda: _tvmc("compare", inside / "sound.tar", path),
        lambda: generate(path, inside / "project"),
        lambda: generate(path, inside / "project"),
    ]
    rng.choice(uses)()


def generate(archive: Path, project: Path) -> None:
    """What the server of a template does, in this process."""
    from tvm_tiny.project.platforms.cmake.microtvm_api_server import CMakeHandler
    from tvm_tiny.project.platforms.native.microtvm_api_server import NativeHandler

    for handler in (NativeHandler, CMakeHandler):
        home = PLATFORMS / handler.platform_name
        handler(home).generate_project(archive, Path(), project.with_name(handler.platform_name), {})


@cache
def _records() -> list[bytes]:
    from tvm_tiny.schedules.records import Record, Records, fingerprint
    from tvm_tiny.tune import model_tasks

    tasks = model_tasks(_network(), resolve(TARGET))
    entries = tuple(Record(t.task, list(t.candidates())[-1], 1.0, 2.0) for t in tasks)
    return [Records("", resolve(TARGET).cpu.name, fingerprint(), "instructions", entries).to_json().encode()]


def _compile_with_records(path: Path, _: Random) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_model(_network(), target=TARGET, tuning_records=path)


def _boards() -> list[bytes]:
    return [path.read_bytes() for path in sorted((_ROOT / "targets" / "boards").glob("*.toml"))]


def _use_board(path: Path, rng: Random) -> None:
    from tvm_tiny.targets.load import load_board_file

    load_board_file(path)
    if rng.random() < 0.3:
        compile_model(_network(), target=str(path))


_CONFIG = b"""
[inspect]
json = true
quiet = false

[compile]
allow = ["external"]
ram = "64K"
"""


def _configs() -> list[bytes]:
    _archives()  # made here, not in every child
    return [_CONFIG]


def _use_config(path: Path, _: Random) -> None:
    (path.parent / "inside" / "sound.tar").write_bytes(_archives()[0])
    _tvmc("inspect", path.parent / "inside" / "sound.tar", "--config", path)


@cache
def _reports() -> list[bytes]:
    from tvm_tiny.aot import module_info
    from tvm_tiny.report.content import report_content

    return [json.dumps(report_content(*module_info(compile_model(_network(), target=TARGET).metadata))).encode()]


def _compare_report(path: Path, _: Random) -> None:
    sound = path.parent / "inside" / "sound.json"
    sound.write_bytes(_reports()[0])
    _tvmc("compare", sound, path, "--max-growth", "arena=1%")


@cache
def _log() -> list[bytes]:
    measured = {"status": "ok", "instructions": 5.0, "cycles": 7.0, "code_bytes": 9, "seconds": None, "detail": ""}
    entry = {"task": _TASK, "cpu": "cortex-m4", "device": "qemu", "kernels": "k", "measurement": measured}
    lines = [json.dumps({**entry, "decisions": {"kernel": "dsp", "tile": i}}) for i in range(6)]
    return ["".join(f"{line}\n" for line in lines).encode()]


def _read_log(path: Path, _: Random) -> None:
    from tvm_tiny.tune.log import MeasurementLog

    with MeasurementLog(path.parent, "k") as log:
        for entry in log.of_task(_TASK, "cortex-m4", "qemu"):
            m = entry.measurement
            _ = (m.status == "ok", (m.cycles or 0) + (m.instructions or 0) + (m.code_bytes or 0), log.get(entry.key))


class _Handler(server.ProjectAPIHandler):
    """Does nothing: what a request may set off is the platforms' own business."""

    def server_info_query(self, tvm_version: str) -> server.ServerInfo:
        return server.ServerInfo(
            "fake", True, "", [server.ProjectOption("speed", type="int", optional=["build"], default=3)]
        )

    def generate_project(
        self, model_library_format_path: Path, standalone_crt_dir: Path, project_dir: Path, options: dict[str, Any]
    ) -> None:
        del model_library_format_path, standalone_crt_dir, project_dir, options

    def build(self, options: dict[str, Any]) -> None: ...

    def flash(self, options: dict[str, Any]) -> None: ...

    def open_transport(self, options: dict[str, Any]) -> server.TransportTimeouts:
        return server.TransportTimeouts(1, 2, 3.5)

    def close_transport(self) -> None: ...

    def read_transport(self, n: int, timeout_sec: float | None) -> bytes:
        return b"x"

    def write_transport(self, data: bytes, timeout_sec: float | None) -> None: ...


_CALLS: list[tuple[str, dict[str, Any], Any]] = [
    ("server_info_query", {"tvm_version": "0.27"}, _Handler().server_info_query("")),
    ("build", {"options": {"speed": 3}}, None),
    ("open_transport", {"options": {}}, server.TransportTimeouts(1, 2, 3.5)),
    ("write_transport", {"data": base64.b85encode(b"abc").decode(), "timeout_sec": 1.0}, None),
    ("read_transport", {"n": 4, "timeout_sec": None}, b"abc"),
    ("close_transport", {}, None),
]


def _requests() -> list[bytes]:
    return [
        b"".join(
            json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": i + 1}).encode() + b"\n"
            for i, (method, params, _) in enumerate(_CALLS)
        )
    ]


def _serve(path: Path, _: Random) -> None:
    out = io.BytesIO()
    server.ProjectAPIServer(io.BytesIO(path.read_bytes()), out, _Handler()).serve_forever()
    for line in out.getvalue().splitlines():
        json.loads(line)


def _replies() -> list[bytes]:
    out = io.BytesIO()
    server.ProjectAPIServer(io.BytesIO(_requests()[0]), out, _Handler()).serve_forever()
    return [out.getvalue()]


def _ask(path: Path, _: Random) -> None:
    """A client whose server answers with what is in the file."""
    read, to_client = os.pipe()
    sink, write = os.pipe()
    data = path.read_bytes()[: 1 << 15]  # fits the pipe
    os.write(to_client, data)
    os.close(to_client)
    client = ProjectAPIClient(read, write)
    try:
        for method, _params, _result in _CALLS:
            arguments = {"read_transport": (4, 1.0), "write_transport": (b"abc", 1.0), "close_transport": ()}
            default = () if method == "server_info_query" else ({},)
            with contextlib.suppress(TvmTinyError, server.ServerError, server.JSONRPCError):
                getattr(client, method)(*arguments.get(method, default))
    finally:
        client.shutdown(in_order=False)
        os.close(sink)


def _structured(mutate: Callable[[bytes, Random], bytes]) -> Mutate:
    return lambda data, _, rng: mutate(data, rng)


READERS: dict[str, Reader] = {
    "tflite": Reader("model.tflite", _tflite, _structured(flatbuffer.mutate), _import_and_compile),
    "onnx": Reader("model.onnx", _onnx, _structured(protobuf.mutate), _import_and_compile),
    "npz": Reader("x.npz", _arrays, _structured(archives.mutate_npz), _read_arrays),
    "archive": Reader(
        "model.tar",
        _archives,
        _structured(partial(archives.mutate_tar, outside="@OUTSIDE@/escaped")),
        _use_archive,
        (TvmTinyError, server.ServerError),
    ),
    "records": Reader("records.json", _records, _structured(texts.mutate_json), _compile_with_records),
    "report": Reader("report.json", _reports, _structured(texts.mutate_json), _compare_report),
    "board": Reader("mine.toml", _boards, _structured(texts.mutate_toml), _use_board),
    "config": Reader("tvmc.toml", _configs, _structured(texts.mutate_toml), _use_config),
    "log": Reader("measurements.jsonl", _log, _structured(texts.mutate_lines), _read_log),
    "requests": Reader("requests.jsonl", _requests, _structured(texts.mutate_lines), _serve),
    "replies": Reader("replies.jsonl", _replies, _structured(texts.mutate_lines), _ask),
}


def damaged(name: str, number: int) -> tuple[bytes, bytes]:
    """A sound file of a reader, and mutant ``number``."""
    reader, rng = READERS[name], Random(f"{name}-{number}")
    sound = reader.sound()
    data, other = rng.choice(sound), rng.choice(sound)
    mutate = rng.choice((reader.damage, reader.damage, raw.mutate))
    return data, mutate(data, other, rng)
