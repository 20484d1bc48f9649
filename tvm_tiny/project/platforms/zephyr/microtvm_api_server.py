"""Project API server: the model as a Zephyr module, in an application that Zephyr's own tools build, run and flash."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, compiler, handler, options, serial_port, template
    from tvm_tiny.project.platforms.zephyr import qemu_console, zephyr_tree
else:
    import qemu_console
    import server
    import zephyr_tree
    from common import archive, compiler, handler, options, serial_port, template

_HOST_DRIVEN, _STANDALONE, _LIBRARY = "host_driven", "standalone", "library"
_SOURCES = {
    _HOST_DRIVEN: "src/main.c src/fault.c model_io.c common/link.c",
    _STANDALONE: "src/main.c",
    _LIBRARY: "",
}
_RUN = {
    _HOST_DRIVEN: """## Run

`tvmc run . --device micro --fill-mode random --outputs outputs.npz` runs it in QEMU, or on a board that was flashed
with `west flash`: inputs and outputs go through the console's UART.""",
    _STANDALONE: """## Run

`west build -d build -t run` (`ninja -C build run`) runs it in QEMU, `west flash` on a board. It prints its outputs.""",
    _LIBRARY: "",
}
_STACK_BYTES = 4096
_WEST = "west"
_BAUD = 115200


class ZephyrHandler(handler.PlatformHandler):
    """Builds with west, or CMake and Ninja, in ``build``."""

    platform_name = "zephyr"
    builds_in_place = True
    sources = ("zephyr_tree.py", "qemu_console.py")
    source_dir, include_dir = "module/src", "module/include"

    def declared_options(self) -> list[server.ProjectOption]:
        build, flash, run = handler.BUILD_OPTIONS, ["flash"], ["open_transport"]
        tools = [*build, *flash, *run]
        option = server.ProjectOption
        return [
            *handler.common_options(_HOST_DRIVEN, _STANDALONE, _LIBRARY),
            option("board", type="str", optional=build, default="", help="Zephyr's name; the model's own board."),
            option("zephyr_base", type="str", optional=tools, default="", help="Zephyr's folder; $ZEPHYR_BASE."),
            option(
                "west_cmd",
                type="str",
                optional=tools,
                default=_WEST,
                help="west; empty: build with cmake and ninja alone.",
            ),
            option("cmake_args", type="str", optional=build, default="", help="More arguments, like -DSHIELD=x."),
            option(
                "toolchain",
                type="str",
                optional=build,
                default="",
                help="Prefix of a compiler, like arm-none-eabi-; else what ZEPHYR_TOOLCHAIN_VARIANT says.",
            ),
            option("stack_bytes", type="int", optional=build, default=_STACK_BYTES, help="Stack of the model."),
            option("west_runner", type="str", optional=flash, default="", help="Runner that flashes, like openocd."),
            option("serial_number", type="str", optional=flash, default="", help="Of the board's debugger."),
            option("port", type="str", optional=run, default="", help="Serial port; the only one of a USB device."),
            option("port_wait_s", type="int", optional=run, default=30, help="How long a port may be gone."),
        ]

    def template_dirs(self, values: dict[str, Any]) -> list[Path]:
        kind = values["project_type"]
        names = ["module", kind] if kind == _LIBRARY else ["module", "application", kind]
        return [self.home / name for name in names]

    def words(self, model: archive.Model, values: dict[str, Any]) -> dict[str, str]:
        kind = values["project_type"]
        names = [] if kind == _LIBRARY else zephyr_tree.board_names(values["board"], _model_board(model))
        words = {
            **super().words(model, values),
            "SYMBOL": model.module.upper(),
            "PROJECT_TYPE": kind,
            "APPLICATION_SOURCES": _SOURCES[kind],
            "STACK_BYTES": str(_stack_bytes(values)),
            "BOARD": names[0] if names else "",
            "READY": qemu_console.READY,
            "RUN": _RUN[kind],
        }
        use_module = (self.home / "use_module.in").read_text(encoding="utf-8")
        return {**words, "USE_MODULE": template.fill(use_module, words, "use_module.in")}

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        if values["project_type"] == _HOST_DRIVEN:
            # Zephyr's linker script has no sections for inputs and outputs.
            (project / "model_io.c").write_text(archive.io_source(model, in_sections=False), encoding="utf-8")

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        kind = values["project_type"]
        if kind == _LIBRARY:
            raise server.ServerError(
                "a Zephyr project of type 'library' is a module: there is nothing to build",
                hints=["its README says how to add it to an application", "--project-option project_type=standalone"],
            )
        base = zephyr_tree.zephyr_base(values["zephyr_base"])
        os.environ["ZEPHYR_BASE"] = str(base)
        if values["toolchain"]:
            gcc = compiler.find_program([values["toolchain"] + "gcc"], "gcc-arm-none-eabi")
            os.environ.update(ZEPHYR_TOOLCHAIN_VARIANT="cross-compile", CROSS_COMPILE=gcc.removesuffix("gcc"))
        board = zephyr_tree.board_in_tree(base, zephyr_tree.board_names(values["board"], _model_board(model)))
        stack = "CONFIG_TVM_TINY_STACK_BYTES" if kind == _HOST_DRIVEN else "CONFIG_MAIN_STACK_SIZE"
        defines = [f"-D{stack}={_stack_bytes(values)}", *shlex.split(values["cmake_args"])]
        defines += ["-DCONFIG_COMPILER_WARNINGS_AS_ERRORS=y"] if values["warning_as_error"] else []
        flags = options.definitions(values["compile_definitions"])
        if values["optimization"] != "auto":
            flags.append(options.optimization(values["optimization"]))
        defines += [f"-DTVM_TINY_FLAGS={';'.join(flags)}"] if flags else []
        build, home = str(self.build_dir), str(self.home)
        west = self._west(values)
        if west:
            # Configured first: memory is checked before anything is compiled.
            start = [west, "build", "--no-sysbuild", "--cmake-only", "-b", board, "-d", build, home, "--", *defines]
        else:
            compiler.find_program(["ninja"], "ninja-build")
            start = [_cmake(), "-GNinja", "-S", home, "-B", build, f"-DBOARD={board}", *defines]
        compiler.run_tool(start, cwd=self.home)
        _check_memory(model, _stack_bytes(values), zephyr_tree.read_devicetree(self.build_dir), board)
        compiler.run_tool([west, "build", "-d", build] if west else [_cmake(), "--build", build], cwd=self.home)

    def flash(self, options: dict[str, Any]) -> None:
        values = self._options(options)
        self.require_built(self.build_dir / "zephyr")
        if zephyr_tree.is_emulated(self.build_dir):
            return
        os.environ["ZEPHYR_BASE"] = str(zephyr_tree.zephyr_base(values["zephyr_base"]))
        west = self._west(values)
        if west is None:
            compiler.run_tool([_cmake(), "--build", str(self.build_dir), "--target", "flash"], cwd=self.home)
            return
        command = [west, "flash", "--skip-rebuild", "-d", str(self.build_dir)]
        command += ["--runner", values["west_runner"]] if values["west_runner"] else []
        command += ["--dev-id", values["serial_number"]] if values["serial_number"] else []
        compiler.run_tool(command, cwd=self.home)

    def start(self, values: dict[str, Any]) -> handler.Stream:
        if values["project_type"] != _HOST_DRIVEN:
            raise server.ServerError(
                f"a Zephyr project of type '{values['project_type']}' takes no inputs from the host",
                hints=["make one that does: --project-option project_type=host_driven"],
            )
        self.require_built(self.build_dir / "zephyr" / "zephyr.elf")
        if not zephyr_tree.is_emulated(self.build_dir):
            baud = zephyr_tree.read_devicetree(self.build_dir).baud or _BAUD
            return serial_port.SerialPort(serial_port.choose_port(values["port"]), baud, values["port_wait_s"])
        os.environ["ZEPHYR_BASE"] = str(zephyr_tree.zephyr_base(values["zephyr_base"]))
        ninja = compiler.find_program(["ninja"], "ninja-build")
        return qemu_console.QemuConsole([ninja, "-C", str(self.build_dir), "run"], self.build_dir)

    def _west(self, values: dict[str, Any]) -> str | None:
        """Path of west; None to go without: the user wants that, or there is none."""
        if not values["west_cmd"]:
            return None
        try:
            return compiler.find_program([values["west_cmd"]], "west", "python3 -m pip install")
        except server.ToolMissingError:
            if values["west_cmd"] == _WEST:
                return None
            raise


def _cmake() -> str:
    return compiler.find_program(["cmake"], "cmake")


def _stack_bytes(values: dict[str, Any]) -> int:
    return max(0, values["stack_bytes"]) or _STACK_BYTES


def _model_board(model: archive.Model) -> str:
    return str(model.tinyml.get("board"))


def _check_memory(model: archive.Model, stack_bytes: int, tree: zephyr_tree.Devicetree, board: str) -> None:
    """Hold the plan against the devicetree's memories, Zephyr's own needs left out."""
    tensors = (*model.tinyml["inputs"], *model.tinyml["outputs"])
    own = sum(t["size_bytes"] for t in tensors if t.get("arena_offset") is None)
    weights = sum(w["bytes"] for w in model.tinyml.get("weights", ()) if w["in_ram"])
    arena = sum(m["arena_bytes"] for m in model.tinyml.get("memories", ())) or model.tinyml["arena_bytes"]
    needs = (
        ("RAM", tree.ram_bytes, arena + own + weights + stack_bytes),
        ("flash", tree.flash_bytes, model.tinyml["constants_bytes"]),
    )
    overflows = {word: need - size for word, size, need in needs if size is not None and need > size}
    if not overflows:
        return
    parts = [
        f"{need:,} bytes of {word}, board '{board}' has {size:,}" for word, size, need in needs if word in overflows
    ]
    raise server.MemoryOverflowError(
        f"the model needs {'; '.join(parts)}",
        hints=["a board with more memory: --project-option board=NAME", "tvmc compile --ram"],
        overflows=overflows,
    )


if __name__ == "__main__":
    server.main(ZephyrHandler(HERE))
