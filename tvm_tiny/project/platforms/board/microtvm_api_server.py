"""Project API server: the model as firmware of a board, reached over its serial port."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.board import flasher
    from tvm_tiny.project.platforms.common import archive, firmware, handler, serial_port
else:
    import flasher
    import server
    from common import archive, firmware, handler, serial_port

# Caches that firmware usually has on; cores without them ignore it.
_CACHED_CORES = ("cortex-m7", "cortex-m55", "cortex-m85")


class BoardHandler(handler.PlatformHandler):
    """Builds ``build/firmware.elf``, flashes it, and connects to the board's serial port."""

    platform_name = "board"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        drivers = sorted(path.name for path in home.glob("uart_*.c"))
        self.sources = ("flasher.py", "serial.c", "serial.h", "no_model.c", "firmware.ld", *drivers)

    def declared_options(self) -> list[server.ProjectOption]:
        option = server.ProjectOption
        run, tools = ["generate_project", "open_transport"], ["generate_project", "flash", "open_transport"]
        return [
            *handler.common_options("host_driven"),
            *firmware.build_options(),
            option(
                "caches", type="bool", optional=handler.BUILD_OPTIONS, default=True, help="Turn on the core's caches."
            ),
            option(
                "model",
                type="bool",
                optional=handler.BUILD_OPTIONS,
                default=True,
                help="Whether the model is part of the firmware; without it all RAM is for what the host loads.",
            ),
            option(
                "flasher",
                type="str",
                choices=flasher.FLASHERS,
                optional=tools,
                default="auto",
                help="What flashes and resets the board; auto: the first that the board file has and is installed.",
            ),
            option(
                "probe",
                type="str",
                optional=tools,
                default="",
                help="Serial number of the debug probe, where several are plugged in.",
            ),
            option(
                "port",
                type="str",
                optional=run,
                default="",
                help="Serial port; the board file's, or the only one of a USB device, when not given.",
            ),
            option("baud", type="int", optional=["generate_project"], default=0, help="0: as in the board file."),
            option(
                "port_wait_s",
                type="int",
                optional=run,
                default=30,
                help="How long a serial port that is not there, or vanishes, is waited for.",
            ),
            option(
                "reset",
                type="bool",
                optional=["open_transport"],
                help="Reset the board first; by default where there is a way to.",
            ),
        ]

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        facts = self.write_board_facts(project, values["board"] or model.tinyml.get("board"), emulated=False)
        if facts["serial"] is None:
            raise server.OptionValueError(
                f"board file of '{facts['name']}' has no table [serial]: nothing is known of its serial port",
                hints=["add one, see docs/boards.md"],
            )

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        board = self.board_facts()
        serial = board["serial"]
        (self.build_dir / "board_setup.h").write_text(_setup_header(serial["setup"]), encoding="utf-8")
        if not values["model"]:
            model = dataclasses.replace(model, sources=(), tinyml={})
        defines: dict[str, int | str] = {
            "CACHES": int(values["caches"] and board["cpu"] in _CACHED_CORES),
            "CORE_CLOCK_HZ": f"{serial['core_clock_hz'] or board['clock_hz']}u",
            "SERIAL_ADDRESS": f"{serial['address']:#x}u",
            "SERIAL_CLOCK_HZ": f"{serial['clock_hz']}u",
            "SERIAL_BAUD": f"{values['baud'] or serial['baud']}u",
        }
        sources = ("serial.c", f"uart_{serial['driver']}.c", "common/counter.c")
        harness = firmware.Harness(
            self.home, sources, defines, io_source="model_io.c" if values["model"] else "no_model.c"
        )
        firmware.build_firmware(self.build_dir, model, board, values, harness)

    def flash(self, options: dict[str, Any]) -> None:
        values = self._options(options)
        elf = self.require_built(self.build_dir / "firmware.elf")
        self._flasher(values).flash({"elf": elf, "hex": elf.with_suffix(".hex")})

    def open_transport(self, options: dict[str, Any]) -> server.TransportTimeouts:
        super().open_transport(options)
        # An answer may have to wait until the port is back.
        return server.TransportTimeouts(0, 0, 20.0 + self._options(options)["port_wait_s"])

    def start(self, values: dict[str, Any]) -> serial_port.SerialPort:
        serial = self.board_facts()["serial"]
        place = serial_port.choose_port(values["port"] or serial["port"]), values["baud"] or serial["baud"]
        port = serial_port.SerialPort(*place, values["port_wait_s"])
        if values["reset"] is False or not self._flasher(values).reset(needed=bool(values["reset"])):
            return port
        port.close()  # some boards' ports go and come back with a reset
        return serial_port.SerialPort(*place, values["port_wait_s"])

    def _flasher(self, values: Mapping[str, Any]) -> flasher.Flasher:
        board = self.board_facts()
        return flasher.Flasher(board["name"], board["flashing"], values["flasher"], values["probe"], self.home)


def _setup_header(steps: Sequence[Mapping[str, int]]) -> str:
    """``board_setup.h``: what serial.c does before it opens the port; a step without address ends it."""
    keys = ("address", "clear", "set", "wait")
    rows = [f"{{{', '.join(f'{step[key]:#x}u' for key in keys)}}}" for step in steps]
    return (
        "struct board_step {\n  uint32_t address, clear, set, wait;\n};\n"
        f"#define BOARD_STEPS {{{', '.join([*rows, '{0, 0, 0, 0}'])}}}\n"
    )


if __name__ == "__main__":
    server.main(BoardHandler(HERE))
