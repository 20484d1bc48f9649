"""Project API server: the model as firmware on an emulated Cortex-M, within the memory sizes of its board."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, child, compiler, firmware, handler, memory_map
else:
    import server
    from common import archive, child, compiler, firmware, handler, memory_map

_QEMU_PACKAGE = "qemu-system-arm"
# The host's memory for the harness is large, and a system call for each piece is what costs.
_PAYLOAD_BYTES = 32768


class QemuHandler(handler.PlatformHandler):
    """Builds ``build/firmware.elf`` and runs it in QEMU; bytes go through named pipes by semihosting."""

    platform_name = "qemu"
    sources = ("semihost.c", "guard.c", "firmware.ld")

    def declared_options(self) -> list[server.ProjectOption]:
        run = ["open_transport"]
        option = server.ProjectOption
        return [
            *handler.common_options("host_driven"),
            *firmware.build_options(),
            option(
                "trap_unaligned",
                type="bool",
                optional=handler.BUILD_OPTIONS,
                help="Fault on unaligned accesses; on by default for boards whose core has no unaligned accesses.",
            ),
            option(
                "memory_guard",
                type="bool",
                optional=handler.BUILD_OPTIONS,
                default=True,
                help="Fault on writes beside the model's memory, by the core's memory protection unit.",
            ),
            option("qemu", type="str", optional=run, default="qemu-system-arm", help="Emulator."),
            option("qemu_plugin", type="str", optional=run, default="", help="TCG plugin and its arguments."),
        ]

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        self.write_board_facts(project, values["board"] or model.tinyml.get("board"), emulated=True)

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        board = self.board_facts()
        trap = board["no_unaligned"] if values["trap_unaligned"] is None else values["trap_unaligned"]
        defines: dict[str, int | str] = {
            "TRAP_UNALIGNED": int(trap),
            "LINK_PAYLOAD_BYTES": _PAYLOAD_BYTES,
            "CORE_CLOCK_HZ": 0,
        }
        sources = ["semihost.c"]
        # Observed layers call the harness, which has memory of its own.
        if values["memory_guard"] and "TINYML_OBSERVED" not in (values["compile_definitions"] or ""):
            regions = memory_map.memory_map(board, model.tinyml).regions
            writable = (f"{{{r.origin:#x}u,{r.origin + r.size_bytes:#x}u}}" for r in regions if not r.constants)
            defines |= {"MEMORY_GUARD": 1, "WRITABLE_MEMORIES": ",".join(writable)}
            sources.append("guard.c")
        harness = firmware.Harness(self.home, sources, defines, profile=True)
        firmware.build_firmware(self.build_dir, model, board, values, harness)

    def start(self, values: dict[str, Any]) -> child.Child:
        elf = self.require_built(self.build_dir / "firmware.elf")
        qemu = compiler.find_program([values["qemu"]], _QEMU_PACKAGE)
        command = [qemu, "-M", self.board_facts()["machine"], "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native"]
        # Started at the ELF's entry point: the harness needs no vector table in the board's flash.
        name = str(elf).replace(",", ",,")  # QEMU's way to write a comma in a value
        command += ["-device", f"loader,file={name},cpu-num=0"]
        if values["qemu_plugin"]:
            command += ["-plugin", values["qemu_plugin"]]
        folder = Path(tempfile.mkdtemp(prefix="tvm-tiny-qemu-"))
        return child.Child(command, folder, "named", lambda: shutil.rmtree(folder, ignore_errors=True))


if __name__ == "__main__":
    server.main(QemuHandler(HERE))
