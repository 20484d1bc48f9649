"""What a generated project has to know of its board, as plain JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tvm_tiny import targets

_HARNESS_BYTES = 1 << 20


def board_facts(name: str | None) -> dict[str, Any]:
    """Facts of a board for ``board.json``: compiler flags, machine, and where its memories are emulated.

    Parameters
    ----------
    name : as ``targets.resolve`` takes it; None for the default board
    """
    board = targets.resolve(name)
    machine = board.machine
    return {
        "name": board.name,
        "cpu": board.cpu.name,
        "gcc_flags": list(board.cpu.gcc_flags),
        "machine": machine.name,
        "flash_timing": None if board.flash_timing is None else asdict(board.flash_timing),
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
        "memories": [
            {"name": m.name, "address": m.address, "size_bytes": m.size_bytes, "kind": m.kind}
            for m in board.memories
            if m.kind != "flash"
        ],
        "external_bytes": max(0, machine.host_data_bytes - _HARNESS_BYTES),
    }
