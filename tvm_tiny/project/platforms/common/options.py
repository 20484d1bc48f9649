"""Project options as a server gets them: text in, checked values out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import OptionValueError, ProjectOption
else:
    from server import OptionValueError, ProjectOption

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def check_options(declared: Sequence[ProjectOption], given: Mapping[str, Any]) -> dict[str, Any]:
    """Value of every declared option: the one given, converted to its type, or the default.

    Raises
    ------
    OptionValueError : unknown name or unfit value
    """
    by_name = {option.name: option for option in declared}
    unknown = sorted(given.keys() - by_name)
    if unknown:
        raise OptionValueError(
            f"unknown project option {', '.join(map(repr, unknown))}", hints=[f"known: {', '.join(sorted(by_name))}"]
        )
    values = {option.name: option.default for option in declared}
    for name, value in given.items():
        if value is not None:
            values[name] = _convert(by_name[name], value)
    return values


def definitions(text: str | None) -> list[str]:
    """Compiler arguments of the option ``compile_definitions``, like "-DA=1 -DB"."""
    arguments = shlex.split(text or "")
    for argument in arguments:
        if not argument.startswith("-D"):
            raise OptionValueError(f"project option 'compile_definitions': {argument!r} does not start with -D")
    return arguments


def optimization(text: str, model: Mapping[str, Any] | None = None) -> str:
    """Compiler argument of the option ``optimization``; "2", "O2" and "-O2" mean the same.

    Parameters
    ----------
    model : the archive's part of metadata.json, which "auto" asks what the model was optimized for
    """
    if text == "auto":
        return "-Os" if (model or {}).get("optimize") == "size" else "-O2"
    match = re.fullmatch(r"-?O?([0123sgz]|fast)", text)
    if not match:
        raise OptionValueError(f"project option 'optimization' is {text!r}", hints=["examples: -O2, -O3, -Os"])
    return f"-O{match[1]}"


def _convert(option: ProjectOption, value: Any) -> str | bool | int:
    text = str(value).strip()
    if option.type == "bool":
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise OptionValueError(f"project option {option.name!r} is {text!r}, expected true or false")
    if option.type == "int":
        try:
            return int(text, 0)
        except ValueError as error:
            raise OptionValueError(f"project option {option.name!r} is {text!r}, expected a whole number") from error
    if option.choices and text not in option.choices:
        raise OptionValueError(f"project option {option.name!r} is {text!r}, expected {' or '.join(option.choices)}")
    return text
