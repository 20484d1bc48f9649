"""The machines of qemu-system-arm that boards are emulated on.

Addresses as QEMU 7.2 maps them (``info mtree`` in its monitor; ``tests/qemu/test_machines.py`` runs from and writes to
both ends of each). Cores with TrustZone start in the secure state, so theirs are the secure aliases.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.targets.cpu import CPUS, Cpu

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Machine:
    """One emulated machine.

    Parameters
    ----------
    name : as given to ``qemu-system-arm -M``
    cpu : the core it has; it may run code for a smaller one (an M3 runs M0+ code)
    flash_address, flash_bytes : where code and constants go (QEMU lets it be written)
    ram_address, ram_bytes : where data, the arena and the stack go
    host_data_address, host_data_bytes : memory beside both, for what a test harness brings along and a user's firmware
        would not have (batches of inputs and outputs)
    """

    name: str
    cpu: Cpu
    flash_address: int
    flash_bytes: int
    ram_address: int
    ram_bytes: int
    host_data_address: int
    host_data_bytes: int


def _mps2(name: str, cpu: str, host_data_address: int) -> Machine:
    return Machine(
        name=name,
        cpu=CPUS[cpu],
        flash_address=0x0000_0000,
        flash_bytes=4 * MIB,
        ram_address=0x2000_0000,
        ram_bytes=4 * MIB,
        host_data_address=host_data_address,
        host_data_bytes=16 * MIB,
    )


MACHINES: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        _mps2("mps2-an385", "cortex-m3", host_data_address=0x2100_0000),
        _mps2("mps2-an386", "cortex-m4", host_data_address=0x2100_0000),
        _mps2("mps2-an500", "cortex-m7", host_data_address=0x6000_0000),
        Machine(
            name="mps2-an505",
            cpu=CPUS["cortex-m33"],
            flash_address=0x1000_0000,
            flash_bytes=4 * MIB,
            ram_address=0x3800_0000,
            ram_bytes=4 * MIB,
            host_data_address=0x8000_0000,
            host_data_bytes=16 * MIB,
        ),
        # The tightly coupled memories hold 512 KB each, too little for larger models: code runs from DDR, which is
        # secure from 0x70000000 on, data is in the 4 MB of internal SRAM. At reset the core looks for a vector table in
        # ITCM (0x10000000); firmware in DDR is started at its entry point instead (``-device loader,cpu-num=0``).
        Machine(
            name="mps3-an547",
            cpu=CPUS["cortex-m55"],
            flash_address=0x7000_0000,
            flash_bytes=8 * MIB,
            ram_address=0x3100_0000,
            ram_bytes=4 * MIB,
            host_data_address=0x7100_0000,
            host_data_bytes=16 * MIB,
        ),
    )
}
