"""What a generated project has to know of its board, as plain JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tvm_tiny import targets

_HARNESS_BYTES = 1 << 20


def board_facts(name: str | None, *, emulated: bool = True) -> dict[str, Any]:
    """Facts of a board for ``board.json``: compiler flags, where its memories are, how it is emulated or reached.

    Parameters
    ----------
    name : as ``targets.resolve`` takes it; None for the default board
    emulated : on QEMU, where other memory stands in for the board's; otherwise its own addresses
    """
    board = targets.resolve(name)
    facts: dict[str, Any] = {
        "name": board.name,
        "cpu": board.cpu.name,
        "gcc_flags": list(board.cpu.gcc_flags),
        "flash_timing": None if board.flash_timing is None else asdict(board.flash_timing),
        "memories": [
            {"name": m.name, "address": m.address, "size_bytes": m.size_bytes, "kind": m.kind}
            for m in board.memories
            if m.kind != "flash"
        ],
    }
    if not emulated:
        return {
            **facts,
            "source": board.source,
            "clock_hz": board.clock_hz,
            "regions": {"flash_origin": board.flash_address, "flash_bytes": board.flash_bytes},
            "serial": None if board.serial is None else asdict(board.serial),
            "flashing": asdict(board.flashing),
        }
    machine = board.machine
    return {
        **facts,
        "machine": machine.name,
        # Armv6-M faults on unaligned accesses; the machine that runs its code does not.
        "no_unaligned": board.cpu.level == 0,
        "regions": {
            "flash_origin": machine.flash_address,
            "flash_bytes": board.flash_bytes,
            "ram_origin": machine.ram_address,
            "ram_bytes": board.ram_bytes,
            "harness_origin": machine.host_data_address,
            "harness_bytes": min(machine.host_data_bytes, _HARNESS_BYTES),
        },
        "external_bytes": max(0, machine.host_data_bytes - _HARNESS_BYTES),
    }
