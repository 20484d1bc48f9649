"""Flashing and resetting: which program is called how, and what is said when there is none or it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tvm_tiny.project.platforms.board.flasher import Flasher
from tvm_tiny.project.server import FlashFailedError, OptionValueError, ToolMissingError

ALL = {
    "command": ["probe-tool", "-p", "{probe}", "--hex={hex}", "{other}"],
    "openocd": ["interface/a.cfg", "target/b.cfg"],
    "pyocd_target": "stm32f746nghx",
    "reset_command": ["probe-tool", "--reset"],
}
NONE: dict[str, Any] = {"command": [], "openocd": [], "pyocd_target": None, "reset_command": []}
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install("openocd")``: a program that writes its arguments to ``called``, and ends with ``code``."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(name: str, code: int = 0) -> None:
        script = tmp_path / "bin" / name
        script.write_text(
            f'#!/bin/sh\nfor a in "$0" "$@"; do echo "${{a##*/bin/}}" >> {tmp_path}/called; done\nexit {code}\n'
        )
        script.chmod(0o755)

    return make


def flasher(tmp_path: Path, flashing: dict[str, Any], which: str = "auto", probe: str = "") -> Flasher:
    return Flasher("mine", flashing, which, probe, tmp_path)


def called(tmp_path: Path) -> list[str]:
    """Program and arguments of the one call."""
    words = (tmp_path / "called").read_text().splitlines()
    (tmp_path / "called").unlink()
    return words


@pytest.mark.parametrize(
    ("which", "probe", "flash", "reset"),
    [
        ("auto", "66F", ["probe-tool", "-p", "66F", "--hex=f.hex", "{other}"], ["probe-tool", "--reset"]),
        (
            "openocd",
            "66F",
            ["openocd", "-f", "interface/a.cfg", "-f", "target/b.cfg", "-c", "adapter serial 66F"]
            + ["-c", "program {f.elf} verify reset exit"],
            ["openocd", "-f", "interface/a.cfg", "-f", "target/b.cfg", "-c", "adapter serial 66F"]
            + ["-c", "init; reset run; exit"],
        ),
        (
            "pyocd",
            "",
            ["pyocd", "flash", "--target", "stm32f746nghx", "f.elf"],
            ["pyocd", "reset", "--target", "stm32f746nghx"],
        ),
    ],
)
def test_programs(which: str, probe: str, flash: list[str], reset: list[str], install: Install, tmp_path: Path) -> None:
    for name in ("probe-tool", "openocd", "pyocd"):
        install(name)
    tools = flasher(tmp_path, ALL, which, probe)
    tools.flash({"elf": Path("f.elf"), "hex": Path("f.hex")})
    assert called(tmp_path) == flash
    assert tools.reset(needed=False)
    assert called(tmp_path) == reset


def test_auto_takes_what_is_installed(install: Install, tmp_path: Path) -> None:
    install("pyocd")
    flasher(tmp_path, ALL).flash({"elf": Path("f.elf"), "hex": Path("f.hex")})
    assert called(tmp_path)[:2] == ["pyocd", "flash"]


def test_no_program_is_installed(install: Install, tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="'probe-tool' or 'openocd' or 'pyocd' not found, needed to flash") as e:
        flasher(tmp_path, ALL).flash({"elf": Path("f.elf"), "hex": Path("f.hex")})
    assert e.value.hints == ("install it: sudo apt-get install openocd", "install it: pip install pyocd")
    assert not flasher(tmp_path, ALL).reset(needed=False)
    with pytest.raises(ToolMissingError, match="'pyocd' not found, needed to reset board 'mine'"):
        flasher(tmp_path, ALL, "pyocd").reset(needed=True)


def test_a_board_file_without_a_way(install: Install, tmp_path: Path) -> None:
    with pytest.raises(OptionValueError, match="board file of 'mine' gives no way to reset it") as e:
        flasher(tmp_path, NONE).reset(needed=True)
    assert e.value.hints == ("give it one in table [flashing]: reset_command, openocd or pyocd_target",)
    with pytest.raises(OptionValueError, match="board file of 'mine' gives no pyocd to flash it"):
        flasher(tmp_path, NONE, "pyocd").flash({"elf": Path("f.elf"), "hex": Path("f.hex")})


def test_a_program_that_fails(install: Install, tmp_path: Path) -> None:
    install("openocd", 3)
    with pytest.raises(FlashFailedError, match="cannot flash board 'mine': openocd failed with exit code 3") as e:
        flasher(tmp_path, ALL, "openocd").flash({"elf": Path("f.elf"), "hex": Path("f.hex")})
    assert e.value.hints[1].startswith("try: openocd -f interface/a.cfg")
