"""Which memories become linker regions, and what is left for stack and data."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tvm_tiny.project.boards import board_facts
from tvm_tiny.project.platforms.common.memory_map import memory_map

KIB = 1024
DISCO = board_facts("stm32f746g_disco")


def used(*names: str, default: str | None = None) -> dict[str, Any]:
    sections = [{"name": n, "section": None if n == default else f".bss.tvm_tiny.{n}"} for n in names]
    return {"memories": sections, "weights": []}


def weights(name: str, *, in_ram: bool = False) -> dict[str, Any]:
    return {"weights": [{"name": name, "section": f".rodata.tvm_tiny.{name}", "in_ram": in_ram}]}


def test_without_sections_neighbours_are_one() -> None:
    found = memory_map(DISCO, used("dtcm_sram1_sram2", default="dtcm_sram1_sram2"))
    assert (found.ram_bytes, found.regions) == (320 * KIB, ())
    assert memory_map(DISCO, {}).ram_bytes == 320 * KIB


@pytest.mark.parametrize(
    ("names", "default", "ram_kib", "sizes_kib"),
    [
        (("dtcm", "sram1_sram2"), "sram1_sram2", 256, [64]),
        (("dtcm",), None, 256, [64]),
        (("dtcm", "sram1_sram2", "sdram"), "sram1_sram2", 256, [64, 8192]),
        (("sram1", "dtcm"), "sram1", 256, [64]),
        (("sram1",), None, 64, [240]),
        (("elsewhere",), None, 320, []),
    ],
)
def test_a_section_takes_its_memory(
    names: tuple[str, ...], default: str | None, ram_kib: int, sizes_kib: list[int]
) -> None:
    found = memory_map(DISCO, used(*names, default=default))
    assert found.ram_bytes == ram_kib * KIB
    assert [r.size_bytes for r in found.regions] == [k * KIB for k in sizes_kib]
    machine = DISCO["regions"]
    taken = sorted(
        [
            (machine["ram_origin"], found.ram_bytes),
            (machine["harness_origin"], machine["harness_bytes"]),
            *((r.origin, r.size_bytes) for r in found.regions),
        ]
    )
    assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(taken))


def test_what_the_machine_does_not_have_is_cut_off() -> None:
    found = memory_map(DISCO, {**used("sdram"), **weights("qspi")})
    assert [r.size_bytes for r in found.regions] == [8 << 20, (15 << 20) - (8 << 20)]
    assert found.regions[0].origin + (8 << 20) == found.regions[1].origin


def test_linker_script() -> None:
    files = memory_map(DISCO, {**used("dtcm"), **weights("qspi")}).files()
    assert files["memory_sections.ld"] == ".model_memory_dtcm (NOLOAD) : { *(.bss.tvm_tiny.dtcm) } > MEMORY_DTCM\n"
    assert files["memory_weights.ld"] == ".model_weights_qspi : { *(.rodata.tvm_tiny.qspi) } > MEMORY_QSPI\n"
    assert files["memory_regions.ld"].startswith("MEMORY_DTCM (rwx) : ORIGIN = 0x20040000, LENGTH = 0x10000\n")


def test_weights_in_ram_are_data() -> None:
    assert memory_map(DISCO, weights("qspi", in_ram=True)).regions == ()


def test_a_board_itself_has_its_own_addresses() -> None:
    board = board_facts("stm32f746g_disco", emulated=False)
    assert board["regions"] == {"flash_origin": 0x0800_0000, "flash_bytes": 1024 * KIB}
    found = memory_map(board, {**used("dtcm", "sram1_sram2", "sdram", default="sram1_sram2"), **weights("qspi")})
    assert (found.ram_origin, found.ram_bytes) == (0x2001_0000, 256 * KIB)
    assert [(r.origin, r.size_bytes, r.constants) for r in found.regions] == [
        (0x2000_0000, 64 * KIB, False),
        (0xC000_0000, 8192 * KIB, False),
        (0x9000_0000, 16384 * KIB, True),
    ]
    assert (memory_map(board, {}).ram_origin, memory_map(board, {}).ram_bytes) == (0x2000_0000, 320 * KIB)
