"""Random options of ``compile_model``: one call's keyword arguments, as JSON holds them."""

from __future__ import annotations

from typing import Any

from tests.fuzz.draws import Draws

BOARDS = ("qemu-m4", "qemu-m3", "rp2040", "qemu-m7", "qemu-m33", "qemu-m55")
MORE_BOARDS = ("stm32f746g_disco", "stm32h743", "nrf52840dk", "nucleo_l4r5zi")
"""Boards with several memories, or other cores; they run natively only."""


def options_of(draws: Draws) -> dict[str, Any]:
    """Drawn options; the simplest choice of each is left out, so that what is left matters."""
    options: dict[str, Any] = {}

    def option(name: str, values: list[tuple[Any, int]]) -> None:
        value = draws.weighted([(None, 10), *values])
        if value is not None:
            options[name] = value

    board = draws.pick(*BOARDS, *BOARDS, draws.pick(*MORE_BOARDS))
    options["target"] = f"tinyml/{board}"
    option("fusion", [("rows", 3), ("off", 3)])
    option("objective", [("ram", 14), ("time", 2)])
    option("max_overhead", [(0.5, 3), (0.05, 1), (0.0, 1)])
    option("effort", [("fast", 2)])
    option("optimize", [("size", 4), ("balanced", 3)])
    option("rounding", [("single", 3)])
    option("caller_io", [(True, 4)])
    option("stream_input", [(True, 4)])
    option("quantized_io", [(True, 4)])
    option("channel_tiles", [("off", 1), ("auto", 1)])
    option("weights", [("ram", 2)])
    option("allow", [(["external"], 1)])
    option("ram", [("64K", 1), ("4K", 1), ("1K", 1)])
    grid = f"{draws.size(1, 5)}x{draws.size(1, 5)}"
    option("patch", [(f"{grid}@{draws.size(1, 6)}", 6), ("off", 1)])
    return _compatible(options)


def _compatible(options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that exclude others; tests/models/test_cli_errors.py holds the errors."""
    if "stream_input" in options:
        options.pop("caller_io", None)
        if options.get("fusion") == "off":
            del options["fusion"]
    if "@" in options.get("patch", ""):
        options.pop("fusion", None)
    return options
