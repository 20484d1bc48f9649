"""Exit codes and what is printed with them, whatever the subcommand."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_tiny.cli import main as main_module
from tvm_tiny.cli import targets_command
from tvm_tiny.cli.main import format_error, main
from tvm_tiny.errors import TvmTinyError


def _fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(targets_command, "run", run)


def test_an_error_is_printed_with_its_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(TvmTinyError("no 'x' here", hints=["take y", "or z"]), monkeypatch)
    assert main(["targets"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no 'x' here\nThings to try:\n  - take y\n  - or z\n"


def test_an_error_without_hints_is_one_line() -> None:
    assert format_error("no", ()) == "error: no"


def test_a_bug_is_one_error_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(RuntimeError("first\nsecond"), monkeypatch)
    assert main(["targets"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: internal error: RuntimeError: first\nThings to try:\n  - run it again with --debug")


@pytest.mark.parametrize("arguments", [["--debug", "targets"], ["targets", "--debug"]])
@pytest.mark.parametrize("error", [TvmTinyError("no"), RuntimeError("no")])
def test_debug_gives_the_traceback(error: Exception, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_with(error, monkeypatch)
    with pytest.raises(type(error), match="no"):
        main(arguments)


def test_ctrl_c_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _fail_with(KeyboardInterrupt(), monkeypatch)
    assert main(["targets"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [
        (signal.SIGINT, 130, b"interrupted\n"),
        (signal.SIGTERM, 143, b"ended by SIGTERM\n"),
        (signal.SIGHUP, 129, b"ended by SIGHUP\n"),
    ],
)
def test_a_signal_during_work_has_its_exit_code_and_no_traceback(
    number: signal.Signals, status: int, text: bytes
) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whoever runs the tests may ignore them
        "from tvm_tiny.cli import main, targets_command\n"
        "def run(args):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "targets_command.run = run\n"
        "sys.exit(main.main(['targets']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (status, text)


def test_what_foreign_code_makes_of_a_signal_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("a callback failed") from error
        return 0

    monkeypatch.setattr(targets_command, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["targets"]) == 143
    assert capsys.readouterr().err.endswith("ended by SIGTERM\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_is_no_bug() -> None:
    code = "import sys; from tvm_tiny.cli.main import main; sys.exit(main(['targets', '--json']))"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: output cannot be written: No space left on device\nThings to try:\n")
    assert len(done.stderr.splitlines()) == 4


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    code = "import sys; from tvm_tiny.cli.main import main; sys.exit(main(['targets', '--json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["compile"], ["targets", "--nonsense"], ["compile", "m", "--rou", "tflm"]]
)
def test_a_command_line_that_does_not_parse_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: tvmc" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("compile", "run", "micro", "inspect", "report", "compare", "targets", "doctor", "completion"):
        with pytest.raises(SystemExit) as raised:
            main([command, "--help"])
        assert raised.value.code == 0
        assert f"usage: tvmc {command}" in capsys.readouterr().out


_LIGHT = ("tvm_tiny.cli", "tvm_tiny.errors", "tvm_tiny.files", "tvm_tiny.report.svg")


def test_nothing_but_the_standard_library_is_imported_at_the_top() -> None:
    folder = Path(main_module.__file__).parent
    for file in set(folder.glob("*.py")) - {folder / "tensor_files.py"}:  # which is imported when a run starts
        for line in file.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                package = line.split()[1].split(".")[0]
                assert package in {"tvm_tiny", *sys.stdlib_module_names}, f"{file.name}: {line}"
                if package == "tvm_tiny":
                    assert line.split()[1].startswith(_LIGHT), f"{file.name}: {line}"
