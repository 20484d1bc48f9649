"""Options of microTVM's tvmc: accepted where they say what holds anyway, refused with a reason where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_tiny.cli import compile_command, microtvm_options
from tvm_tiny.cli.compile_command import parse_pass_config
from tvm_tiny.cli.main import build_parser, main
from tvm_tiny.cli.micro import parse_project_options
from tvm_tiny.errors import OptionError


@pytest.mark.parametrize("option", microtvm_options.FIXED, ids=lambda o: o.flag)
def test_a_fixed_option_takes_its_values_and_no_other(
    option: microtvm_options.Fixed, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in option.accepted:
        microtvm_options.check(build_parser().parse_args(["compile", "m.tflite", option.flag, value]))
    assert main(["compile", "m.tflite", option.flag, "other"]) == 1
    err = capsys.readouterr().err
    assert f"error: {option.flag} other: {option.reason}" in err
    assert f"  - {option.flag} {option.accepted[0]}, or leave it out" in err


_REFUSED = {
    "compile": microtvm_options.COMPILE_REFUSED,
    "run": microtvm_options.RUN_REFUSED,
    "tune -o records": microtvm_options.TUNE_REFUSED,
}


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in _REFUSED.items() for o in options], ids=str)
@pytest.mark.parametrize("form", ["{flag} value m.tflite", "m.tflite {flag}=value"])
def test_a_refused_option_is_explained(
    command: str, option: microtvm_options.Refused, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = option.flag.replace("*", "c-mcpu")
    assert main([*command.split(), *form.format(flag=flag).split()]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {flag}: {option.reason}\nThings to try:\n  - {option.hint or f'leave {flag} out'}\n")


def test_opt_level_as_gcc_writes_it() -> None:
    args = build_parser().parse_args(["compile", "m.tflite", "-O3"])
    assert args.opt_level == "3"


def test_output_format_is_mlf(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "m.tflite", "-f", "so"]) == 1
    assert "error: --output-format so: a compiled model is C sources" in capsys.readouterr().err


def test_the_issue_s_flags_parse() -> None:
    line = (
        "compile --target tinyml/nrf52840dk m.tflite -o out.tar --output-format mlf --rounding single --quantized-io "
        "--pass-config a.b=1 --pass-config c=d --dump-ir ir --module-name kws --fusion off"
    )
    args = build_parser().parse_args(line.split())
    assert (args.target, args.model, args.output) == ("tinyml/nrf52840dk", Path("m.tflite"), Path("out.tar"))
    assert (args.rounding, args.quantized_io, args.module_name) == ("single", True, "kws")
    assert (args.pass_config, args.dump_ir) == (["a.b=1", "c=d"], Path("ir"))
    assert args.fusion == "off"
    assert args.run is compile_command.run


def test_pass_config_values_are_json_where_they_parse() -> None:
    given = ["a.b=1", "c=true", "d=text", 'e={"x": [2]}', "f=a=b"]
    assert parse_pass_config(given) == {"a.b": 1, "c": True, "d": "text", "e": {"x": [2]}, "f": "a=b"}


@pytest.mark.parametrize("assignment", ["novalue", "=1", ""])
def test_an_assignment_needs_a_name_and_a_value(assignment: str) -> None:
    with pytest.raises(OptionError, match="expected NAME=VALUE"):
        parse_pass_config([assignment])
    with pytest.raises(OptionError, match="expected NAME=VALUE"):
        parse_project_options([assignment])


def test_project_options_stay_text() -> None:
    assert parse_project_options(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
