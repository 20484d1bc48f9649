"""Every machine of the table has the memories the table says, and executes from its flash."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tvm_tiny.targets import MACHINES, Machine

pytestmark = pytest.mark.qemu

# Writes a word to the first and last word of RAM and of the host-data memory, reads a constant from the end of flash
# and leaves by semihosting: exit code 0 when all words read back.
SOURCE = r"""
    .syntax unified
    .thumb
    .section .last_word, "a"
    .word   0x5ca1ab1e

    .text
    .global reset
    .thumb_func
reset:
    ldr     r4, =0x12345678
    ldr     r5, =addresses
    movs    r6, #0
1:  ldr     r0, [r5, r6]
    str     r4, [r0]
    ldr     r1, [r0]
    cmp     r1, r4
    bne     failed
    adds    r4, #1
    adds    r6, #4
    cmp     r6, #16
    bne     1b
    ldr     r0, =LAST_WORD
    ldr     r0, [r0]
    ldr     r1, =0x5ca1ab1e
    cmp     r0, r1
    bne     failed
    ldr     r2, =0x20026         @ ADP_Stopped_ApplicationExit
    b       leave
failed:
    ldr     r2, =0x20024         @ ADP_Stopped_RunTimeErrorUnknown
leave:
    movs    r0, #0x18            @ SYS_EXIT
    movs    r1, r2
    bkpt    0xab
    b       .
    .align  2
addresses:
    .word   RAM_FIRST, RAM_LAST, HOST_DATA_FIRST, HOST_DATA_LAST
    .ltorg
"""

LINKER_SCRIPT = """
SECTIONS
{{
    .text {text:#x} : {{ *(.text*) }}
    .last_word {last_word:#x} : {{ KEEP(*(.last_word)) }}
    /DISCARD/ : {{ *(.ARM.attributes) }}
}}
ENTRY(reset)
"""


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_memories_are_where_the_table_says(machine: Machine, tmp_path: Path, tool: Callable[[str], str]) -> None:
    gcc, qemu = tool("arm-none-eabi-gcc"), tool("qemu-system-arm")
    last_word = machine.flash_address + machine.flash_bytes - 4
    symbols = {
        "RAM_FIRST": machine.ram_address,
        "RAM_LAST": machine.ram_address + machine.ram_bytes - 4,
        "HOST_DATA_FIRST": machine.host_data_address,
        "HOST_DATA_LAST": machine.host_data_address + machine.host_data_bytes - 4,
        "LAST_WORD": last_word,
    }
    (tmp_path / "probe.S").write_text(SOURCE)
    (tmp_path / "probe.ld").write_text(LINKER_SCRIPT.format(text=machine.flash_address, last_word=last_word))
    elf = tmp_path / "probe.elf"
    subprocess.run(
        [
            *(gcc, *machine.cpu.gcc_flags, "-nostdlib", "-T", str(tmp_path / "probe.ld")),
            *(str(tmp_path / "probe.S"), "-o", str(elf)),
            *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()),
        ],
        check=True,
    )
    run = subprocess.run(
        [
            *(qemu, "-M", machine.name, "-nographic", "-monitor", "none", "-serial", "none"),
            *("-semihosting-config", "enable=on,target=native", "-device", f"loader,file={elf},cpu-num=0"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_regions_do_not_overlap(machine: Machine) -> None:
    regions = sorted(
        [
            (machine.flash_address, machine.flash_bytes),
            (machine.ram_address, machine.ram_bytes),
            (machine.host_data_address, machine.host_data_bytes),
        ]
    )
    for (low, size), (high, _) in pairwise(regions):
        assert low + size <= high
