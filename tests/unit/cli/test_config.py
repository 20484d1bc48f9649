"""Options from a TOML file: as on the command line, which wins."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_tiny.cli import exit_codes
from tvm_tiny.cli.completion_command import SHELLS
from tvm_tiny.cli.config import with_config
from tvm_tiny.cli.main import build_parser, main
from tvm_tiny.errors import OptionError

ROOT = Path(__file__).resolve().parents[3]
TEXT = """
[compile]
target = "tinyml/nrf52840dk"
stream-input = true
caller-io = false
allow = ["external"]
ram = "64K"

[run]
timeout = 2.5

[micro.build]
force = true
project-option = ["optimization=-O3", "verbose=true"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tvmc.toml"
    path.write_text(TEXT)
    return path


def parse(config: Path, line: str) -> dict[str, object]:
    parser = build_parser()
    return vars(parser.parse_args(with_config(parser, line.split(), config)))


def test_options_of_a_command(config: Path) -> None:
    args = parse(config, "--debug compile m.tflite -o out.tar")
    assert (args["target"], args["ram"], args["allow"]) == ("tinyml/nrf52840dk", "64K", ["external"])
    assert (args["stream_input"], args["caller_io"], args["debug"]) == (True, False, True)
    assert (args["model"], args["output"]) == (Path("m.tflite"), Path("out.tar"))


def test_the_command_line_wins(config: Path) -> None:
    assert parse(config, "compile --target tinyml m.tflite")["target"] == "tinyml"
    assert parse(config, "run m.tar")["timeout"] == 2.5
    assert parse(config, "run m.tar --timeout 9")["timeout"] == 9


def test_commands_with_actions_and_aliases(config: Path) -> None:
    args = parse(config, "micro build dir --project-option a=1")
    assert args["force"] is True
    assert args["project_option"] == ["optimization=-O3", "verbose=true", "a=1"]
    assert parse(config, "micro create dir m.tar qemu")["force"] is False


def test_other_commands_do_not_mind(config: Path) -> None:
    assert parse(config, "targets --json")["json"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[compile]\nspeed = 1", r"tvmc compile has no option --speed"),
        ("[compile]\nconfig = 'x'", r"has no option --config"),
        ("[compile]\nstream-input = 1", r"stream-input = 1: expected true or false"),
        ("[compile]\ntarget = true", r"target = True: expected a text or a number"),
        ("[compile]\ntarget = ['a', 'b']", r"target = \['a', 'b'\]: expected a text or a number"),
        ("[compile]\nallow = [['external']]", r"allow = \['external'\]: expected a text, a number or a list of them"),
        ("compile = 3", r"'compile' is no table"),
        ("[compile", r"tvmc.toml: "),
    ],
)
def test_files_that_are_wrong(text: str, message: str, config: Path) -> None:
    config.write_text(text)
    with pytest.raises(OptionError, match=message):
        parse(config, "compile m.tflite")


def test_on_the_command_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[targets]\njson = true")
    assert main(["targets", "--config", str(config)]) == 0
    assert capsys.readouterr().out.startswith("[")
    config.write_text("[targets]\nall = true")
    assert main(["targets", "--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith(f"error: --config {config}: tvmc targets has no option --all")
    assert main(["targets", "--config", str(config.parent / "none.toml")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["--quiet", "targets", "--json"]) == 0
    assert capsys.readouterr().out.startswith("[")
    assert main(["targets", "--verbose"]) == 0
    assert "tinyml/nrf52840dk" in capsys.readouterr().out
    assert logging.getLogger("tvm_tiny.pipeline").isEnabledFor(logging.DEBUG)
    assert main(["targets"]) == 0
    assert not logging.getLogger("tvm_tiny.pipeline").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(
    shell: str, capsys: pytest.CaptureFixture[str], optional_tool: Callable[[str], str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    for word in ("compile", "create-project", "stream-input", "compare"):
        assert word in script.read_text()
    done = subprocess.run([optional_tool(shell), "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes(capsys: pytest.CaptureFixture[str], optional_tool: Callable[[str], str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    function = re.search(r"complete .*-F (\w+) .*tvmc", script)
    assert function
    ask = f'COMP_WORDS=(tvmc compile --stre); COMP_CWORD=2; {function[1]}; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        [optional_tool("bash"), "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["--stream-input"], done.stderr


def test_exit_codes_are_documented() -> None:
    text = (ROOT / "docs" / "command_line.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert documented == {code for name, code in vars(exit_codes).items() if name.startswith("EXIT_")}
    done = subprocess.run([sys.executable, "-m", "tvm_tiny.cli.main", "compile"], capture_output=True, check=False)
    assert done.returncode == exit_codes.EXIT_USAGE
