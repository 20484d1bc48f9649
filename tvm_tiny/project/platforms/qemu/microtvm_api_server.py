"""Project API server: the model as firmware on an emulated Cortex-M, within the memory sizes of its board."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, child, compiler, handler, memory_map, options
else:
    import server
    from common import archive, child, compiler, handler, memory_map, options

_BOARD_FILE = "board.json"
_STACK_BYTES, _LEAST_STACK_BYTES = 4096, 1024
_GCC_PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi"
_QEMU_PACKAGE = "qemu-system-arm"


class QemuHandler(handler.PlatformHandler):
    """Builds ``build/firmware.elf`` and runs it in QEMU; bytes go through named pipes by semihosting."""

    platform_name = "qemu"
    sources = ("startup.c", "semihost.c", "semihost.h", "firmware.ld")

    def declared_options(self) -> list[server.ProjectOption]:
        build, run = handler.BUILD_OPTIONS, ["open_transport"]
        option = server.ProjectOption
        return [
            *handler.common_options(),
            option(
                "board",
                type="str",
                optional=["generate_project"],
                default="",
                help="Board to emulate; the model's own when not given.",
            ),
            option("toolchain", type="str", optional=build, default="arm-none-eabi-", help="Prefix of the compiler."),
            option(
                "stack_bytes",
                type="int",
                optional=build,
                default=0,
                help=f"Stack of the model, in the board's RAM; 0: {_STACK_BYTES}, less where RAM is full.",
            ),
            option(
                "trap_unaligned",
                type="bool",
                optional=build,
                help="Fault on unaligned accesses; on by default for boards whose core has no unaligned accesses.",
            ),
            option("qemu", type="str", optional=run, default="qemu-system-arm", help="Emulator."),
            option("qemu_plugin", type="str", optional=run, default="", help="TCG plugin and its arguments."),
        ]

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        # Only a template is asked to generate, and a template is part of the installed package.
        from tvm_tiny.errors import TargetError
        from tvm_tiny.project.boards import board_facts

        try:
            facts = board_facts(values["board"] or model.tinyml.get("board"))
        except TargetError as error:
            raise server.OptionValueError(error.message, hints=error.hints) from error
        (project / _BOARD_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        board = self._board()
        cc = compiler.find_program([values["toolchain"] + "gcc"], _GCC_PACKAGES)
        core = [*board["gcc_flags"], *self._libc_flags(cc)]
        trap = board["no_unaligned"] if values["trap_unaligned"] is None else values["trap_unaligned"]
        warnings = [*handler.WARNINGS, *(["-Werror"] if values["warning_as_error"] else [])]
        command = [cc, *core, "-g", "-ffunction-sections", "-fdata-sections", *warnings]
        command += ["-DTINYML_PROFILE=1", f"-I{model.include_dir}"]
        level = options.optimization(values["optimization"], model.tinyml)
        defined = options.definitions(values["compile_definitions"])
        objects = compiler.compile_all(
            [*command, level, *defined], {f"model_{s.stem}.o": s for s in model.sources}, self.build_dir
        )
        # The harness must not pull in library code: what is linked from libraries is the model's.
        own = [
            "-O2",
            "-masm-syntax-unified",
            "-ffreestanding",
            "-fno-tree-loop-distribute-patterns",
            f"-DTRAP_UNALIGNED={int(trap)}",
        ]
        own += [f"-I{self.home / 'common'}", f"-I{self.home}"]
        sources = [self.home / name for name in ("startup.c", "semihost.c", "model_io.c", "common/link.c")]
        objects += compiler.compile_all([*command, *own], {f"harness_{s.stem}.o": s for s in sources}, self.build_dir)
        memories = memory_map.memory_map(board, model.tinyml)
        for name, text in memories.files().items():
            (self.build_dir / name).write_text(text, encoding="utf-8")
        regions = {**board["regions"], "ram_bytes": memories.ram_bytes}
        link = [cc, *core, "-nostartfiles", "-Wl,--gc-sections", "-Wl,--build-id=none"]
        end = [f"-T{self.home / 'firmware.ld'}", *objects, "-lm", "-Wl,-Map=firmware.map", "-o", "firmware.elf"]
        asked = max(0, values["stack_bytes"]) + 7 & ~7

        def link_with(stack_bytes: int) -> None:
            symbols = {**regions, "stack_bytes": stack_bytes}
            compiler.run_tool(
                [*link, *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()), *end],
                cwd=self.build_dir,
            )

        try:
            link_with(asked or _STACK_BYTES)
        except server.MemoryOverflowError as error:
            overflows = error.details["overflows"]
            left = _STACK_BYTES - (overflows.get("RAM", 0) + 7 & ~7)
            if asked or overflows.keys() != {"RAM"} or left < _LEAST_STACK_BYTES:
                raise self._too_large(overflows, board["name"], regions, memories) from error
            link_with(left)

    def start(self, values: dict[str, Any]) -> child.Child:
        firmware = self.require_built(self.build_dir / "firmware.elf")
        qemu = compiler.find_program([values["qemu"]], _QEMU_PACKAGE)
        command = [qemu, "-M", self._board()["machine"], "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native"]
        # Started at the ELF's entry point: the harness needs no vector table in the board's flash.
        elf = str(firmware).replace(",", ",,")  # QEMU's way to write a comma in a value
        command += ["-device", f"loader,file={elf},cpu-num=0"]
        if values["qemu_plugin"]:
            command += ["-plugin", values["qemu_plugin"]]
        folder = Path(tempfile.mkdtemp(prefix="tvm-tiny-qemu-"))
        return child.Child(command, folder, "named", lambda: shutil.rmtree(folder, ignore_errors=True))

    def _board(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.home / _BOARD_FILE).read_text(encoding="utf-8"))
        return facts

    def _libc_flags(self, cc: str) -> list[str]:
        """Flags of the C library that is there: the model's C includes <string.h> and may call memcpy.

        Newlib first: its memcpy moves words, Debian's picolibc is built for size and moves bytes.
        """
        probe = self.build_dir / "probe.c"
        probe.write_text("#include <string.h>\n", encoding="utf-8")
        for flags in (["--specs=nano.specs"], ["--specs=picolibc.specs"], []):
            try:
                compiler.run_tool([cc, *flags, "-fsyntax-only", str(probe)], cwd=self.build_dir)
                return flags
            except server.BuildFailedError:
                continue
        raise server.ToolMissingError(
            f"{cc} has no C library", hints=["install one: sudo apt-get install libnewlib-arm-none-eabi"]
        )

    @staticmethod
    def _too_large(
        overflows: dict[str, int], board: str, regions: dict[str, Any], memories: memory_map.MemoryMap
    ) -> server.MemoryOverflowError:
        known = {"FLASH": ("flash", regions["flash_bytes"]), "RAM": ("RAM", regions["ram_bytes"])}
        known.update({r.name: (r.memory, r.size_bytes) for r in memories.regions})
        parts = []
        for name, extra in sorted(overflows.items()):
            word, size = known.get(name, (name, 0))
            parts.append(f"{size + extra:,} bytes of {word}, board '{board}' has {size:,}")
        return server.MemoryOverflowError(
            f"the model needs {'; '.join(parts)}",
            hints=["a board with more memory: tvmc targets", "less stack: --project-option stack_bytes=N"],
            overflows=overflows,
        )


if __name__ == "__main__":
    server.main(QemuHandler(HERE))
