"""Finds and reads board files: the shipped ones by name, a user's own by path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from tvm_tiny.errors import TargetError
from tvm_tiny.targets._fields import Fields, load_toml
from tvm_tiny.targets.board import Board, Flashing, FlashTiming, Memory, MemoryKind
from tvm_tiny.targets.cpu import CPUS
from tvm_tiny.targets.machine import MACHINES
from tvm_tiny.targets.serial import parse_serial

DEFAULT_BOARD = "qemu-m7"
# The folder is package data of an installed directory: setuptools never leaves packages zipped.
_BOARDS = Path(__file__).parent / "boards"

T = TypeVar("T")


@cache
def board_names() -> tuple[str, ...]:
    """Names of the boards that ship, sorted."""
    return tuple(sorted(path.stem for path in _BOARDS.glob("*.toml")))


@cache
def load_board(name: str) -> Board:
    """The shipped board ``name``.

    Raises
    ------
    TargetError : no such board; lists the known ones and the closest names
    """
    if name not in board_names():
        close = difflib.get_close_matches(name, board_names())
        hints = [f"did you mean {' or '.join(repr(c) for c in close)}?"] if close else []
        if re.match(r"(c|llvm|cmsis-nn|host)\b", name):
            hints = ["a target names a board here, which says which core it is: --target tinyml/BOARD"]
        raise TargetError(
            f"unknown board {name!r}; known: {', '.join(board_names())}",
            hints=[*hints, "list the boards: tvmc targets", "give the path of a board file of your own (.toml)"],
        )
    return _load(_BOARDS / f"{name}.toml", source=name)


def load_board_file(path: Path) -> Board:
    """A board from a TOML file of a user's own; it is named by the file's stem.

    Raises
    ------
    TargetError : naming file, key and what is expected
    """
    return _load(path, source=str(path.absolute()))


def _load(path: Path, *, source: str) -> Board:
    try:
        return _parse(load_toml(path), name=path.stem, source=source)
    except TargetError as error:
        hint = "compare with a shipped board file: targets/boards in the tvm-tiny repository"
        raise TargetError(f"{path}: {error.message}", hints=[*error.hints, hint]) from error


def _parse(table: Mapping[str, Any], *, name: str, source: str) -> Board:
    top = Fields(table)
    memories = [
        _parse_memory(_table(entry, f"memory[{i}]"), f"memory[{i}]") for i, entry in enumerate(top.take("memory", list))
    ]
    flashing = Fields(top.take("flashing", dict, {}), "flashing")
    board = Board(
        name=name,
        description=top.take("description", str),
        cpu=_look_up(CPUS, top.take("cpu", str), "cpu"),
        memories=tuple(memories),
        clock_hz=top.take("clock_hz", int),
        machine=_look_up(MACHINES, top.take("machine", str), "machine"),
        flashing=Flashing(
            flashing.take_strings("command"),
            flashing.take("pyocd_target", str, "") or None,
            flashing.take_strings("openocd"),
            flashing.take_strings("reset_command"),
        ),
        source=source,
        flash_timing=_parse_flash_timing(top.take("flash_timing", dict, {})),
        serial=parse_serial(top.take("serial", dict, {})),
    )
    flashing.finish()
    top.finish()
    return board


def _parse_flash_timing(table: Mapping[str, Any]) -> FlashTiming | None:
    if not table:
        return None
    fields = Fields(table, "flash_timing")
    timing = FlashTiming(
        fields.take("wait_states", int),
        fields.take("read_bytes", int),
        fields.take("code_cache_bytes", int, 0),
        fields.take("data_cache_bytes", int, 0),
    )
    fields.finish()
    return timing


def _parse_memory(table: Mapping[str, Any], where: str) -> Memory:
    fields = Fields(table, where)
    memory = Memory(
        name=fields.take("name", str),
        kind=cast(MemoryKind, fields.take("kind", str)),  # Memory checks it
        address=fields.take("address", int),
        size_bytes=fields.take("size_bytes", int),
        relative_speed=fields.take("relative_speed", float),
    )
    fields.finish()
    return memory


def _table(entry: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise TargetError(f"key '{where}' is {entry!r}, expected a table")
    return entry


def _look_up(known: Mapping[str, T], name: str, key: str) -> T:
    if name not in known:
        raise TargetError(f"key '{key}' is {name!r}, expected one of {', '.join(known)}")
    return known[name]
