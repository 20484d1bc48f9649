"""``--config FILE``: options of a subcommand from a TOML file, as if they stood in front of those on the command line.

[compile]
target = "tinyml/nrf52840dk"
stream-input = true
allow = ["external"]

[micro.build]
project-option = ["optimization=-O3"]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_tiny.errors import OptionError

OPTION = "--config"


def with_config(parser: argparse.ArgumentParser, argv: Sequence[str], path: Path) -> list[str]:
    """``argv`` with the options of ``path`` behind the subcommand's name; what stands on the command line wins.

    Options that may be given several times collect both. Tables of other subcommands are left alone.

    Raises
    ------
    OptionError : the file is no TOML, an option is unknown, or a value has no meaning for its option
    """
    content = _read(path)
    position, names = 0, []
    while (choices := _subcommands(parser)) is not None:
        found = next(i for i in range(position, len(argv)) if argv[i] in choices)
        parser, position = choices[argv[found]], found + 1
        names.append(parser.prog.split()[-1])
    table: Any = content
    for name in names:
        table = table.get(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        where = ".".join(names)
        raise OptionError(f"{OPTION} {path}: '{where}' is no table", hints=[f"[{where}]"])
    options = list(_arguments(parser, table, path))
    return [*argv[:position], *options, *argv[position:]]


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(
            f"{OPTION} {path}: {error}", hints=['a table per subcommand: [compile] target = "tinyml"']
        ) from (error)


def _subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser] | None:
    actions = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return next((dict(a.choices) for a in actions), None)


def _arguments(parser: argparse.ArgumentParser, table: Mapping[str, Any], path: Path) -> Iterator[str]:
    known = {
        text.removeprefix("--"): action
        for action in parser._actions
        for text in action.option_strings
        if text.startswith("--") and text not in ("--help", OPTION)
    }
    for name, value in table.items():
        if name not in known:
            raise OptionError(
                f"{OPTION} {path}: {parser.prog} has no option --{name}", hints=[f"options: {', '.join(sorted(known))}"]
            )
        yield from _option(name, known[name], value, path)


def _option(name: str, action: argparse.Action, value: Any, path: Path) -> Iterator[str]:
    repeats = isinstance(action, argparse._AppendAction | argparse._ExtendAction)
    is_flag = action.nargs == 0
    expected = "true or false" if is_flag else "a text, a number or a list of them" if repeats else "a text or a number"
    values = value if repeats and isinstance(value, list) else [value]
    for each in values:
        if isinstance(each, bool) != is_flag or not isinstance(each, str | int | float):
            raise OptionError(f"{OPTION} {path}: {name} = {each!r}: expected {expected}", hints=[f"--{name}"])
        if not is_flag:
            yield f"--{name}={each}"
        elif each:
            yield f"--{name}"
