"""Reads typed values out of a parsed TOML table; every complaint names the key and what is expected."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tvm_tiny.errors import TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", list: "an array", dict: "a table"}


def load_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises
    ------
    TargetError : the file cannot be read, or is no TOML (with line and column)
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hints = ["a model compiled for a board file of your own needs that file to run; or give --board"]
        raise TargetError(f"cannot be read: {error.strerror}", hints=hints) from error
    except UnicodeDecodeError as error:
        raise TargetError("is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets a thousand deep
        raise TargetError(f"cannot be read as TOML: {error}") from error


class Fields:
    """One table of a board file.

    Parameters
    ----------
    where : how the table is called in messages, like "memory[0]"; empty for the top level
    """

    def __init__(self, table: Mapping[str, Any], where: str = "") -> None:
        self._table = table
        self._where = where
        self._taken: set[str] = set()

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of ``key``; an absent one without a default, or one of another type, raises ``TargetError``."""
        self._taken.add(key)
        value = self._table.get(key, default)
        if value is None:
            raise TargetError(f"key {self._name(key)} is missing, expected {_TYPE_NAMES[kind]}")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        # bool is a subclass of int
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TargetError(f"key {self._name(key)} is {value!r}, expected {_TYPE_NAMES[kind]}")
        return value

    def take_strings(self, key: str) -> tuple[str, ...]:
        """An array of strings, () where it is absent."""
        values = self.take(key, list, [])
        if not all(isinstance(v, str) for v in values):
            raise TargetError(f"key {self._name(key)} is {values!r}, expected an array of strings")
        return tuple(values)

    def finish(self) -> None:
        """Complain about keys nobody took: a misspelt one would be ignored silently."""
        unknown = sorted(set(self._table) - self._taken)
        if unknown:
            raise TargetError(f"unknown key {self._name(unknown[0])}, expected one of {', '.join(sorted(self._taken))}")

    def _name(self, key: str) -> str:
        return f"'{self._where}.{key}'" if self._where else f"'{key}'"
