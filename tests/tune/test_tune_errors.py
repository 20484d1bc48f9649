"""What a user is told who asks ``tvmc tune`` for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune.fake_device import BOARD
from tvm_tiny import demo
from tvm_tiny.cli.main import main
from tvm_tiny.cli.tune_command import parse_time
from tvm_tiny.errors import OptionError
from tvm_tiny.tune import farm
from tvm_tiny.tune.farm import parse_tracker, run_for_client


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400)])
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "-3m", "20 minutes"])
def test_no_times(text: str) -> None:
    with pytest.raises(OptionError, match="--time"):
        parse_time(text)


def test_trackers() -> None:
    assert parse_tracker("here:9190") == ("here", 9190)


@pytest.mark.parametrize("text", ["", "here", "here:", ":9190", "here:port", "here:0", "here:65536"])
def test_no_trackers(text: str) -> None:
    with pytest.raises(OptionError, match="expected HOST:PORT"):
        parse_tracker(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "/dev/x"], "--port /dev/x: only boards have ports"),
        (["--rpc-key", "k"], "--rpc-key k: of which tracker?"),
        (["--rpc-tracker", "here"], "--rpc-tracker 'here': expected HOST:PORT"),
        (["--time", "soon"], "--time 'soon': expected a time"),
        (["--tasks", "nothing"], "no task to tune matches nothing"),
        (["--objective", "time"], "--objective time: device 'qemu' has no clock"),
    ],
)
def test_options(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = tmp_path / "records"
    assert main(["tune", str(demo.TFLITE), "--target", BOARD, "-o", str(records), *options]) == 1
    assert message in capsys.readouterr().err
    assert not records.exists()


def test_a_file_where_the_folder_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "records").write_text("mine")
    assert main(["tune", str(demo.TFLITE), "--target", BOARD, "-o", str(tmp_path / "records")]) == 1
    assert "is a file; expected a folder" in capsys.readouterr().err
    assert (tmp_path / "records").read_text() == "mine"


def test_a_process_that_serves_no_device() -> None:
    assert b"serves no device" in run_for_client(b"", _no_inputs())


def test_serving_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--rpc-tracker", "127.0.0.1:1", "--rpc-key", "k", "--target", "no-such-board"]
    assert farm.main(command) == 1
    assert "no-such-board" in capsys.readouterr().err


def _no_inputs() -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer)
    return buffer.getvalue()
