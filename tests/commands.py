"""Commands in the documentation that are not run: they name programs, options, targets and modules that exist."""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.documentation import ROOT
from tvm_tiny.cli.main import build_parser
from tvm_tiny.cli.micro import parse_project_options
from tvm_tiny.project import TemplateProject, template_dir

# Beside tvmc, make and python; a name that is not here is a typing error, or belongs here.
_PROGRAMS = (
    ".",
    "arduino-cli",
    "arm-none-eabi-size",
    "cat",
    "cd",
    "cp",
    "eval",
    "export",
    "git",
    "mkdir",
    "pip",
    "west",
)
_SEPARATORS = ("|", "||", "&", "&&", ";", "(", ")")


def check_shell(text: str) -> None:
    """Hold every command of a block of ``sh`` against what exists.

    Raises
    ------
    AssertionError : names the command
    """
    for inner in re.findall(r"\$\(([^()]*)\)", text):
        check_shell(inner)
    platforms: dict[Path, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        for command in _split(line):
            _check_command(command, platforms)


def check_python(text: str) -> None:
    """The block is Python, and what it imports exists."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def check_span(text: str) -> None:
    """A piece of a command in a sentence: subcommand, options and target exist; what is left out may be anything."""
    words = text.split()
    if words[0] == "make" and len(words) > 1 and re.fullmatch("[a-z-]+", words[1]):
        _check_make(words[1:])
    elif words[0] == "tvmc":
        parser = build_parser()
        options = _options(parser)
        for word in words[1:]:
            choices = _subcommands(parser)
            if word.isupper() and choices:
                return  # any subcommand
            if choices and re.fullmatch("[a-z][a-z-]*", word):
                assert word in choices, f"`{text}`: no subcommand {word}"
                parser = choices[word]
                options = _options(parser)
            elif re.match("--[a-z]", word):
                assert word.split("=")[0] in options, f"`{text}`: no option {word}"


def _split(line: str) -> Iterator[list[str]]:
    """The commands of a line, without assignments in front and redirections behind."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _SEPARATORS:
            command.append(word)
            continue
        while command and re.match(r"[A-Z_]+=", command[0]):
            command.pop(0)
        redirection = next((i for i, w in enumerate(command) if w in (">", ">>", "<")), len(command))
        if command[:redirection]:
            yield command[:redirection]
        command = []


def _check_command(command: Sequence[str], platforms: dict[Path, str]) -> None:
    program, *arguments = command
    if program == "tvmc":
        _check_tvmc(arguments, platforms)
    elif program == "make":
        _check_make(arguments)
    elif program == "python":
        _check_python_command(arguments)
    else:
        assert program in _PROGRAMS, f"what is {program}?"


def _check_tvmc(arguments: Sequence[str], platforms: dict[Path, str]) -> None:
    """The command parses, and its project has the options; ``platforms`` are those of the projects made so far."""
    complaint = io.StringIO()
    with contextlib.redirect_stderr(complaint):
        try:
            args = build_parser().parse_args(arguments)
        except SystemExit as error:
            raise AssertionError(f"tvmc {shlex.join(arguments)}: {complaint.getvalue()}") from error
    if arguments[0] != "micro":
        return
    if arguments[1].startswith("create"):
        platforms[args.project_dir] = args.platform
    for name in parse_project_options(args.project_option):
        platform = platforms[args.project_dir]
        assert name in _project_options(platform), f"tvmc {shlex.join(arguments)}: {platform} has no option {name}"


@functools.cache
def _project_options(platform: str) -> frozenset[str]:
    with TemplateProject.from_directory(template_dir(platform)) as project:
        return frozenset(option.name for option in project.info().project_options)


def _check_make(arguments: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        pattern = rf"^{name} \?=" if equals else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"make {argument}: not in the Makefile"


def _check_python_command(arguments: Sequence[str]) -> None:
    if arguments[0] == "-c":
        check_python(arguments[1])
    elif arguments[0] == "-m":
        _check_module(arguments[1], arguments[2:])
    else:
        assert (ROOT / arguments[0]).is_file(), f"python {arguments[0]}: no such file"


def _check_module(name: str, arguments: Sequence[str]) -> None:
    """The module exists, and its options stand in its source."""
    spec = importlib.util.find_spec(name)
    assert spec, f"python -m {name}: no such module"
    assert spec.origin, name
    paths = Path(spec.origin).parent.glob("*.py") if spec.submodule_search_locations else [Path(spec.origin)]
    source = "".join(path.read_text(encoding="utf-8") for path in paths)
    for argument in arguments:
        option = argument.split("=")[0]
        if option.startswith("--"):
            assert f'"{option}"' in source, f"python -m {name}: no option {option}"


def _subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    actions: list[Any] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {text for action in parser._actions for text in action.option_strings}
