"""Cores, emulated machines and boards: what code is generated for and where it runs."""

from tvm_tiny.targets.board import Board, Flashing, FlashTiming, Memory
from tvm_tiny.targets.cpu import CPUS, Cpu
from tvm_tiny.targets.load import DEFAULT_BOARD, board_names, load_board, load_board_file
from tvm_tiny.targets.machine import MACHINES, Machine
from tvm_tiny.targets.regions import Region
from tvm_tiny.targets.register import register, resolve, target_config

__all__ = [
    "CPUS",
    "DEFAULT_BOARD",
    "MACHINES",
    "Board",
    "Cpu",
    "FlashTiming",
    "Flashing",
    "Machine",
    "Memory",
    "Region",
    "board_names",
    "load_board",
    "load_board_file",
    "register",
    "resolve",
    "target_config",
]
