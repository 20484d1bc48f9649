"""Brings firmware onto a board and resets it: by a command of the board file, by OpenOCD, or by pyOCD."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.platforms.common.compiler import run_tool
    from tvm_tiny.project.server import BuildFailedError, FlashFailedError, OptionValueError, ToolMissingError
else:
    from common.compiler import run_tool
    from server import BuildFailedError, FlashFailedError, OptionValueError, ToolMissingError

FLASHERS = ("auto", "command", "openocd", "pyocd")
_INSTALL = {"openocd": "sudo apt-get install openocd", "pyocd": "pip install pyocd"}


class Flasher:
    """The ways that a board file offers.

    Parameters
    ----------
    flashing : the table ``[flashing]`` of the board file
    which : one of ``FLASHERS``; "auto" takes the first whose program is installed
    probe : serial number of the debug probe, where several are plugged in
    folder : where commands run
    """

    def __init__(self, board: str, flashing: Mapping[str, Any], which: str, probe: str, folder: Path) -> None:
        self._board = board
        self._flashing = flashing
        self._which = which
        self._probe = probe
        self._folder = folder

    def flash(self, files: Mapping[str, Path]) -> None:
        """Bring firmware onto the board and start it.

        Parameters
        ----------
        files : the firmware as "elf" and "hex"
        """
        self._run("flash", self._flash_commands(files))

    def reset(self, *, needed: bool) -> bool:
        """Reset the board; unless ``needed``, one that cannot be reset is left alone. Whether it was."""
        commands = self._reset_commands()
        possible = self._chosen(commands) is not None
        if needed or possible:
            self._run("reset", commands)
        return possible

    def _flash_commands(self, files: Mapping[str, Path]) -> dict[str, list[str]]:
        given = {**{name: str(path) for name, path in files.items()}, "probe": self._probe}
        commands = {"command": [_fill(word, given) for word in self._flashing["command"]]}
        commands["openocd"] = self._openocd("program {" + str(files["elf"]) + "} verify reset exit")
        commands["pyocd"] = self._pyocd("flash", str(files["elf"]))
        return commands

    def _reset_commands(self) -> dict[str, list[str]]:
        command = [_fill(word, {"probe": self._probe}) for word in self._flashing["reset_command"]]
        return {"command": command, "openocd": self._openocd("init; reset run; exit"), "pyocd": self._pyocd("reset")}

    def _openocd(self, script: str) -> list[str]:
        configuration = [word for name in self._flashing["openocd"] for word in ("-f", name)]
        probe = ["-c", f"adapter serial {self._probe}"] if self._probe else []
        return ["openocd", *configuration, *probe, "-c", script] if configuration else []

    def _pyocd(self, *words: str) -> list[str]:
        target = self._flashing["pyocd_target"]
        probe = ["--uid", self._probe] if self._probe else []
        return ["pyocd", words[0], "--target", target, *probe, *words[1:]] if target else []

    def _chosen(self, commands: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
        for name, command in commands.items():
            if command and self._which in ("auto", name) and shutil.which(command[0]):
                return command
        return None

    def _run(self, what: str, commands: Mapping[str, Sequence[str]]) -> None:
        command = self._chosen(commands)
        if command is None:
            raise self._missing(what, {n: c[0] for n, c in commands.items() if c and self._which in ("auto", n)})
        try:
            run_tool(command, cwd=self._folder)
        except BuildFailedError as error:
            raise FlashFailedError(
                f"cannot {what} board '{self._board}': {error.message}",
                hints=["is the board plugged in, and not in use by another program?", f"try: {shlex.join(command)}"],
            ) from error

    def _missing(self, what: str, programs: Mapping[str, str]) -> Exception:
        if not programs:
            way = "no way" if self._which == "auto" else f"no {self._which}"
            key = "command" if what == "flash" else "reset_command"
            return OptionValueError(
                f"board file of '{self._board}' gives {way} to {what} it",
                hints=[f"give it one in table [flashing]: {key}, openocd or pyocd_target"],
            )
        names = " or ".join(repr(p) for p in programs.values())
        hints = [f"install it: {_INSTALL[n]}" for n in programs if n in _INSTALL]
        return ToolMissingError(f"{names} not found, needed to {what} board '{self._board}'", hints=hints)


def _fill(word: str, given: Mapping[str, str]) -> str:
    """``word`` with "{elf}" and the like replaced; other braces stay."""
    for name, value in given.items():
        word = word.replace("{" + name + "}", value)
    return word
