"""What is read from the user's Zephyr: version, names of boards, devicetree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_tiny.project.platforms.zephyr.zephyr_tree import (
    BOARDS,
    Devicetree,
    board_in_tree,
    board_names,
    is_emulated,
    read_devicetree,
    zephyr_base,
)
from tvm_tiny.project.server import OptionValueError, ServerError, ToolMissingError
from tvm_tiny.targets import board_names as tinyml_boards

DEVICETREE = """/* Chosen nodes */
#define DT_CHOSEN_zephyr_sram              DT_N_S_memory_20000000
#define DT_CHOSEN_zephyr_sram_EXISTS       1
#define DT_CHOSEN_zephyr_flash             DT_N_S_flash_0
#define DT_CHOSEN_zephyr_console           DT_N_S_soc_S_uart_40004000
#define DT_N_S_memory_20000000_REG_IDX_0_VAL_ADDRESS 536870912
#define DT_N_S_memory_20000000_REG_IDX_0_VAL_SIZE 65536 /* 0x10000 */
#define DT_N_S_flash_0_REG_IDX_0_VAL_SIZE 262144 /* 0x40000 */
#define DT_N_S_soc_S_uart_40004000_P_current_speed 115200
"""


def tree(folder: Path, version: str = "3.6", boards: tuple[str, ...] = ()) -> Path:
    major, minor = version.split(".")
    (folder / "VERSION").write_text(f"VERSION_MAJOR = {major}\nVERSION_MINOR = {minor}\nPATCHLEVEL = 99\n")
    for board in boards:
        (folder / "boards" / board).parent.mkdir(parents=True, exist_ok=True)
        (folder / "boards" / board).touch()
    return folder


def test_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEPHYR_BASE", raising=False)
    with pytest.raises(ToolMissingError, match="ZEPHYR_BASE is not set"):
        zephyr_base("")
    with pytest.raises(ToolMissingError, match="it has no VERSION"):
        zephyr_base(str(tmp_path))
    tree(tmp_path, "3.5")
    with pytest.raises(ToolMissingError, match=r"version 3\.5, expected 3\.6 or later"):
        zephyr_base(str(tmp_path))
    for version in ("3.6", "4.0", "4.3", "5.1"):
        monkeypatch.setenv("ZEPHYR_BASE", str(tree(tmp_path, version)))
        assert zephyr_base("") == tmp_path


def test_every_board_has_a_name() -> None:
    assert set(BOARDS) == set(tinyml_boards())
    assert (
        board_names("", "qemu-m3") == board_names("qemu-m3", "x") == board_names("mps2/an385", "x") == ("mps2/an385",)
    )
    assert board_names("frdm_k64f", "qemu-m3") == ("frdm_k64f",)
    with pytest.raises(OptionValueError, match=r"Zephyr's name of board 'mine' is not known"):
        board_names("", "mine")
    with pytest.raises(OptionValueError, match="expected a name like mps2/an385"):
        board_names("x; evil", "qemu-m3")


@pytest.mark.parametrize(
    ("files", "board", "expected"),
    [
        (("arm/mps3/mps3_an547.dts", "arm/mps3/board.yml"), "qemu-m55", "mps3/an547"),
        (("arm/mps3/mps3_corstone300_an547.dts", "arm/mps3/board.yml"), "mps3/an547", "mps3/corstone300/an547"),
        (("arm/mps3_an547/mps3_an547.dts",), "qemu-m55", "mps3_an547"),
        (("arm/mps2_an521/mps2_an521.dts",), "mps2/an521/cpu0", "mps2_an521"),
        (("arm/mps2/mps2_an521_cpu0.dts", "arm/mps2/board.yml"), "qemu-m33", "mps2/an521/cpu0"),
        (("st/a/nucleo_f446re.dts", "st/a/board.yml"), "nucleo_f446re@B", "nucleo_f446re@B"),
        ((), "qemu-m55", "mps3/corstone300/an547"),
    ],
)
def test_the_tree_s_own_name_of_a_board(tmp_path: Path, files: tuple[str, ...], board: str, expected: str) -> None:
    assert board_in_tree(tree(tmp_path, boards=files), board_names(board, "")) == expected


def test_devicetree(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has no devicetree"):
        read_devicetree(tmp_path)
    folder = tmp_path / "zephyr/include/generated/zephyr"
    folder.mkdir(parents=True)
    (folder / "devicetree_generated.h").write_text(DEVICETREE)
    assert read_devicetree(tmp_path) == Devicetree(65536, 262144, 115200)
    (folder / "devicetree_generated.h").write_text("#define DT_CHOSEN_zephyr_sram DT_N_S_memory\n")
    assert read_devicetree(tmp_path) == Devicetree(None, None, None)


def test_emulated(tmp_path: Path) -> None:
    (tmp_path / "zephyr").mkdir()
    (tmp_path / "zephyr/.config").write_text("CONFIG_X=y\nCONFIG_QEMU_TARGET=y\nCONFIG_Y=y\n")
    assert is_emulated(tmp_path)
    (tmp_path / "zephyr/.config").write_text("CONFIG_X=y\n# CONFIG_QEMU_TARGET is not set\n")
    assert not is_emulated(tmp_path)
