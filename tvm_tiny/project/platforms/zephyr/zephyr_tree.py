"""What a project asks of the user's Zephyr: version, names of boards, and the memories of a devicetree."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from tvm_tiny.project.server import OptionValueError, ServerError, ToolMissingError
else:
    from server import OptionValueError, ServerError, ToolMissingError

OLDEST = (3, 6)
# The boards of tvm-tiny in Zephyr's names, the newest name first.
BOARDS = {
    "qemu-m3": ("mps2/an385",),
    "qemu-m4": ("mps2/an386",),
    "qemu-m7": ("mps2/an500",),
    "qemu-m33": ("mps2/an521/cpu0", "mps2_an521"),
    "qemu-m55": ("mps3/corstone300/an547", "mps3/an547"),
    "stm32f746g_disco": ("stm32f746g_disco",),
    "stm32h743": ("nucleo_h743zi",),
    "nucleo_l4r5zi": ("nucleo_l4r5zi",),
    "nucleo_f446re": ("nucleo_f446re",),
    "nrf52840dk": ("nrf52840dk/nrf52840",),
    "nrf5340dk": ("nrf5340dk/nrf5340/cpuapp",),
    "b_u585i_iot02a": ("b_u585i_iot02a",),
    "rp2040": ("rpi_pico",),
}
_NAME = re.compile(r"[A-Za-z0-9_./@+-]+")


@dataclass(frozen=True)
class Devicetree:
    """What a configured build says of its board; None where the devicetree does not say it.

    ram_bytes, flash_bytes : of ``zephyr,sram`` and ``zephyr,flash``
    baud : of the console's UART
    """

    ram_bytes: int | None
    flash_bytes: int | None
    baud: int | None


def zephyr_base(option: str) -> Path:
    """Folder of the user's Zephyr: the option, or ``ZEPHYR_BASE``; its version is checked."""
    name = option or os.environ.get("ZEPHYR_BASE", "")
    if not name:
        raise ToolMissingError(
            "Zephyr is not set up: ZEPHYR_BASE is not set",
            hints=["export ZEPHYR_BASE=/path/to/zephyrproject/zephyr", "--project-option zephyr_base=DIR"],
        )
    base = Path(name).expanduser()
    try:
        text = (base / "VERSION").read_text(encoding="utf-8")
        major, minor = (int(re.findall(rf"VERSION_{part}\s*=\s*(\d+)", text)[0]) for part in ("MAJOR", "MINOR"))
    except (OSError, IndexError) as error:
        raise ToolMissingError(f"'{base}' is not a Zephyr tree: it has no VERSION") from error
    if (major, minor) < OLDEST:
        raise ToolMissingError(f"Zephyr in '{base}' is version {major}.{minor}, expected 3.6 or later")
    return base


def board_names(option: str, model_board: str) -> tuple[str, ...]:
    """Zephyr's names of the board: what the user gave, or those of the board that the model was compiled for."""
    if not option:
        if model_board not in BOARDS:
            raise OptionValueError(
                f"Zephyr's name of board '{model_board}' is not known",
                hints=["--project-option board=NAME, one of those that 'west boards' lists"],
            )
        return BOARDS[model_board]
    if not _NAME.fullmatch(option):
        raise OptionValueError(f"project option 'board' is {option!r}, expected a name like mps2/an385")
    return next((names for names in BOARDS.values() if option in names), BOARDS.get(option, (option,)))


def board_in_tree(base: Path, names: Sequence[str]) -> str:
    """The first of ``names`` that the tree has, as it spells it; else the first: the board may be elsewhere.

    Boards with a ``board.yml`` have names like mps2/an385 (hardware model 2); before, that was mps2_an385.
    """
    for name in names:
        flat = re.sub(r"@[^/]*", "", name).replace("/", "_")
        for file in (base / "boards").glob(f"**/{flat}.dts"):
            return name if (file.parent / "board.yml").exists() else flat
    return names[0]


def read_devicetree(build_dir: Path) -> Devicetree:
    """From the header that Zephyr makes of the devicetree when a build is configured."""
    found = sorted(build_dir.glob("**/devicetree_generated.h"))
    if not found:
        raise ServerError(f"'{build_dir}' has no devicetree: Zephyr's configuration did not run to its end")
    text = found[0].read_text(encoding="utf-8", errors="replace")

    def of_chosen(chosen: str, prop: str) -> int | None:
        node = re.search(rf"^#define DT_CHOSEN_zephyr_{chosen}\s+(\w+)", text, re.MULTILINE)
        value = node and re.search(rf"^#define {node[1]}_{prop}\s+(\d+)", text, re.MULTILINE)
        return int(value[1]) if value else None

    size = "REG_IDX_0_VAL_SIZE"
    return Devicetree(of_chosen("sram", size), of_chosen("flash", size), of_chosen("console", "P_current_speed"))


def is_emulated(build_dir: Path) -> bool:
    """Whether the built firmware is for QEMU."""
    files = build_dir.glob("**/zephyr/.config")
    return any("\nCONFIG_QEMU_TARGET=y\n" in file.read_text(encoding="utf-8") for file in files)
