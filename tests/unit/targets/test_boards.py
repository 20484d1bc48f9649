"""Board files: shipped ones load with their data sheets' sizes, bad ones are refused by file, key and expectation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import tvm_tiny.project
from tvm_tiny.errors import TargetError
from tvm_tiny.targets import MACHINES, Board, FlashTiming, board_names, load_board, load_board_file, resolve
from tvm_tiny.targets.serial import DRIVERS, Serial, SetupStep

# flash, largest contiguous on-chip RAM (data sheets of the parts)
SIZES = {
    "qemu-m3": ("cortex-m3", "mps2-an385", 4096, 4096),
    "qemu-m4": ("cortex-m4", "mps2-an386", 4096, 4096),
    "qemu-m7": ("cortex-m7", "mps2-an500", 4096, 4096),
    "qemu-m33": ("cortex-m33", "mps2-an505", 4096, 4096),
    "qemu-m55": ("cortex-m55", "mps3-an547", 8192, 4096),
    "stm32f746g_disco": ("cortex-m7", "mps2-an500", 1024, 320),
    "stm32h743": ("cortex-m7", "mps2-an500", 2048, 512),
    "nucleo_l4r5zi": ("cortex-m4", "mps2-an386", 2048, 640),
    "nucleo_f446re": ("cortex-m4", "mps2-an386", 512, 128),
    "nrf5340dk": ("cortex-m33", "mps2-an505", 1024, 512),
    "nrf52840dk": ("cortex-m4", "mps2-an386", 1024, 256),
    "rp2040": ("cortex-m0plus", "mps2-an385", 2048, 264),
    "b_u585i_iot02a": ("cortex-m33", "mps2-an505", 2048, 768),
}

GOOD = """
description = "a board of one's own"
cpu = "cortex-m4"
clock_hz = 80_000_000
machine = "mps2-an386"

[[memory]]
name = "flash"
kind = "flash"
address = 0x0800_0000
size_bytes = 262_144
relative_speed = 1

[[memory]]
name = "sram"
kind = "sram"
address = 0x2000_0000
size_bytes = 65_536
relative_speed = 1.0

[flashing]
command = ["flasher", "{elf}"]
"""


def test_the_shipped_boards_are_exactly_these() -> None:
    assert set(board_names()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_shipped_board(name: str) -> None:
    board = load_board(name)
    cpu, machine, flash_kib, ram_kib = SIZES[name]
    assert (board.cpu.name, board.machine.name) == (cpu, machine)
    assert (board.flash_bytes, board.ram_bytes) == (flash_kib * 1024, ram_kib * 1024)
    assert board.name == board.source == name
    emulated_only = not board.flashing.command and board.flashing.pyocd_target is None
    assert emulated_only == name.startswith("qemu-")


@pytest.mark.parametrize("name", [n for n in SIZES if n.startswith("qemu-")])
def test_a_qemu_board_is_the_whole_machine(name: str) -> None:
    board = load_board(name)
    machine = board.machine
    assert [(m.address, m.size_bytes) for m in board.memories] == [
        (machine.flash_address, machine.flash_bytes),
        (machine.ram_address, machine.ram_bytes),
    ]
    assert board.cpu == machine.cpu


def test_every_machine_is_the_whole_of_one_board() -> None:
    assert {load_board(n).machine.name for n in board_names() if n.startswith("qemu-")} == set(MACHINES)


def test_external_memory_does_not_count_as_ram() -> None:
    kinds = {m.kind: m.size_bytes for m in load_board("stm32f746g_disco").memories}
    assert kinds["external"] == 8 * 1024 * 1024
    assert kinds["dtcm"] == 64 * 1024


def test_neighbours_are_one_region() -> None:
    disco, h743 = load_board("stm32f746g_disco"), load_board("stm32h743")
    assert [(r.name, r.size_bytes >> 10) for r in disco.ram_regions()] == [
        *(("dtcm", 64), ("sram1_sram2", 256), ("sdram", 8192))
    ]
    assert [(r.name, r.size_bytes >> 10) for r in disco.ram_regions(mixed=True)] == [
        *(("dtcm_sram1_sram2", 320), ("sdram", 8192))
    ]
    assert [(r.name, r.size_bytes >> 10) for r in h743.ram_regions(mixed=True)] == [
        *(("dtcm", 128), ("axi_sram", 512), ("sram1_sram2_sram3", 288), ("sram4", 64))
    ]
    qspi = disco.external_flash
    assert qspi is not None
    assert (qspi.address, qspi.size_bytes) == (0x9000_0000, 16 << 20)
    assert h743.external_flash is None


def test_a_user_board_file_is_a_target(tmp_path: Path) -> None:
    path = tmp_path / "my_board.toml"
    path.write_text(GOOD)
    board = load_board_file(path)
    assert (board.name, board.source) == ("my_board", str(path))
    assert board.flashing.command == ("flasher", "{elf}")
    assert resolve(str(path)) == resolve(f"tinyml/{path}") == resolve(board) == board


def test_a_gap_ends_a_run_of_memories(tmp_path: Path) -> None:
    more = """
[[memory]]
name = "far"
kind = "sram"
address = 0x3000_0000
size_bytes = 32_768
relative_speed = 1.0

[[memory]]
name = "next"
kind = "dtcm"
address = 0x2001_0000
size_bytes = 16_384
relative_speed = 1.0
"""
    path = tmp_path / "gaps.toml"
    path.write_text(GOOD + more)
    assert load_board_file(path).ram_bytes == 65_536 + 16_384


BAD = {
    "cpu": ('cpu = "cortex-m4"', 'cpu = "cortex-a53"', r"key 'cpu' is 'cortex-a53', expected one of cortex-m0, "),
    "machine": ('"mps2-an386"', '"virt"', r"key 'machine' is 'virt', expected one of mps2-an385, "),
    "core too large": (
        'cpu = "cortex-m4"',
        'cpu = "cortex-m7"',
        r"mps2-an386' has a cortex-m4, which cannot run corte",
    ),
    "missing": ("clock_hz = 80_000_000", "", r"key 'clock_hz' is missing, expected an integer"),
    "zero clock": ("80_000_000", "0", r"clock_hz is 0, expected more than 0"),
    "text for a number": ("80_000_000", '"80 MHz"', r"key 'clock_hz' is '80 MHz', expected an integer"),
    "bool for a number": ("80_000_000", "true", r"key 'clock_hz' is True, expected an integer"),
    "misspelt": (
        "clock_hz = 80_000_000",
        "clock_hz = 1\nclok = 2",
        r"unknown key 'clok', expected one of clock_hz, cpu",
    ),
    "misspelt in memory": ("size_bytes = 65_536", "size_bytes = 1\nspeed = 2", r"unknown key 'memory\[1\].speed'"),
    "kind": ('kind = "sram"', 'kind = "ram"', r"memory 'sram': kind is 'ram', expected one of flash, sram, dtcm, ext"),
    "no RAM": ('kind = "sram"', 'kind = "flash"', r"expected at least one memory of kind flash and one of kind sram"),
    "size": ("65_536", "0", r"memory 'sram': size_bytes is 0, expected more than 0"),
    "address": ("0x2000_0000", "0xFFFF_F000", r"memory 'sram': address 0xfffff000 with size_bytes 0x10000, expected"),
    "speed": (
        "relative_speed = 1.0",
        "relative_speed = 2.0",
        r"relative_speed is 2.0, expected more than 0 and at most 1",
    ),
    "memory name": ('name = "sram"', 'name = "S-RAM"', r"memory name is 'S-RAM', expected lower-case letters"),
    "overlap": ("0x2000_0000", "0x0800_1000", r"memories 'flash' and 'sram' overlap"),
    "names": ('name = "sram"', 'name = "flash"', r"memory names are flash, flash, expected each once"),
    "too large": ("65_536", "8_388_608", r"8,388,608 bytes of RAM, machine 'mps2-an386' can emulate at most 4,194,304"),
    "command": (
        '["flasher", "{elf}"]',
        '["flasher", 1]',
        r"'flashing.command' is \['flasher', 1\], expected an array of",
    ),
    "flashing": (
        "command =",
        "comand =",
        r"unknown key 'flashing.comand', expected one of command, openocd, pyocd",
    ),
    "no TOML": ("[[memory]]", "[[memory", r"is not TOML: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_board_file_names_file_key_and_expectation(case: str, tmp_path: Path) -> None:
    old, new, message = BAD[case]
    assert old in GOOD
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(TargetError, match=message) as raised:
        load_board_file(path)
    assert raised.value.message.startswith(f"{path}: ")


def test_memory_must_be_tables(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("memory = [1]")
    with pytest.raises(TargetError, match=r"key 'memory\[0\]' is 1, expected a table"):
        load_board_file(path)


def test_a_missing_or_binary_board_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"none\.toml: cannot be read: No such file"):
        load_board_file(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match=r"binary\.toml: is not UTF-8"):
        load_board_file(tmp_path / "binary.toml")


def test_a_board_file_name_must_make_a_tag(tmp_path: Path) -> None:
    (tmp_path / "My Board.toml").write_text(GOOD)
    with pytest.raises(TargetError, match="name is 'My Board', expected lower-case"):
        load_board_file(tmp_path / "My Board.toml")


def test_unknown_board_lists_the_known_and_the_close_ones() -> None:
    with pytest.raises(
        TargetError, match=re.escape(f"unknown board 'nrf5284dk'; known: {', '.join(board_names())}")
    ) as e:
        resolve("tinyml/nrf5284dk")
    assert any("nrf52840dk" in hint for hint in e.value.hints)


@pytest.mark.parametrize("target", ["c -keys=cpu -model=host", "cmsis-nn,c", "llvm", "c"])
def test_a_target_of_microtvm_is_told_what_to_say_instead(target: str) -> None:
    with pytest.raises(TargetError, match=f"unknown board '{target}'") as e:
        resolve(target)
    assert e.value.hints[0].endswith("--target tinyml/BOARD")


def test_default_is_qemu_m7() -> None:
    assert resolve(None).name == resolve("tinyml").name == "qemu-m7"


def test_boards_are_immutable() -> None:
    board: Board = load_board("qemu-m7")
    with pytest.raises(dataclasses.FrozenInstanceError):
        board.clock_hz = 1  # type: ignore[misc]


def test_a_board_file_is_known_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Path(__file__).resolve().parents[3] / "targets" / "boards" / "nrf52840dk.toml"
    (tmp_path / "mine.toml").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_board_file(Path("mine.toml")).source == str(tmp_path / "mine.toml")


def test_a_board_file_that_is_gone_suggests_another_board(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"gone\.toml: cannot be read") as raised:
        load_board_file(tmp_path / "gone.toml")
    assert any("--board" in hint for hint in raised.value.hints)


TIMING = """
[flash_timing]
wait_states = 5
read_bytes = 16
data_cache_bytes = 256
"""


def test_flash_timing(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD + TIMING)
    assert load_board_file(path).flash_timing == FlashTiming(5, 16, 0, 256)
    path.write_text(GOOD)
    assert load_board_file(path).flash_timing is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wait_states = 5\n", "", "key 'flash_timing.wait_states' is missing, expected an integer"),
        ("wait_states = 5", "wait_states = -1", "flash_timing: wait_states is -1, expected 0 or more"),
        ("read_bytes = 16", "read_bytes = 12", "flash_timing: read_bytes is 12, expected a power of two"),
        ("256", "250", "flash_timing: a cache has 250 bytes, expected a multiple of 16"),
        ("data_cache", "cache", "unknown key 'flash_timing.cache_bytes'"),
    ],
)
def test_bad_flash_timing(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD + TIMING.replace(old, new))
    with pytest.raises(TargetError, match=re.escape(message)):
        load_board_file(path)


SERIAL = """
openocd = ["board/mine.cfg"]
reset_command = ["flasher", "reset"]

[serial]
driver = "stm32f4"
address = 0x4000_4400
clock_hz = 16_000_000
setup = [
  { address = 0x4002_3830, set = 0x1 },
  { address = 0x4002_0000, clear = 0xf0, set = 0xa0 },
  { address = 0x4002_3800, wait = 0x2 },
]
"""


def test_serial_port(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD)
    assert load_board_file(path).serial is None
    path.write_text(GOOD + SERIAL)
    board = load_board_file(path)
    steps = (SetupStep(0x40023830, set=1), SetupStep(0x40020000, 0xF0, 0xA0), SetupStep(0x40023800, wait=2))
    assert board.serial == Serial("stm32f4", 0x40004400, 16_000_000, 115_200, steps)
    assert (board.flashing.openocd, board.flashing.reset_command) == (("board/mine.cfg",), ("flasher", "reset"))
    assert board.flash_address == 0x0800_0000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"stm32f4"', '"usart"', "serial: driver is 'usart', expected one of cmsdk, stm32, stm32f4, nrf"),
        ("16_000_000", "100_000", "serial: clock_hz is 100000, expected at least 8 times the baud of 115200"),
        ("set = 0x1 }", "set = 0x1, wait = 1 }", "0x40023830: expected 'wait', or 'clear' and 'set'"),
        ("clear = 0xf0, set = 0xa0", "clear = 0", "0x40020000: expected 'wait', or 'clear' and 'set'"),
        ("0x4002_3830,", "0x4002_3831,", "address is 0x40023831, expected that of a 32-bit register"),
        ("wait = 0x2", "weit = 0x2", "unknown key 'serial.setup[2].weit'"),
        ("clock_hz = 16", "clok_hz = 16", "key 'serial.clock_hz' is missing"),
        ("{ address = 0x4002_3800, wait = 0x2 }", "3", "key 'serial.setup[2]' is 3, expected a table"),
    ],
)
def test_bad_serial_ports(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    assert old in SERIAL
    path.write_text(GOOD + SERIAL.replace(old, new))
    with pytest.raises(TargetError, match=re.escape(message)):
        load_board_file(path)


def test_drivers_are_files() -> None:
    folder = Path(tvm_tiny.project.__file__).parent / "platforms" / "board"
    assert sorted(DRIVERS) == sorted(p.stem.removeprefix("uart_") for p in folder.glob("uart_*.c"))
