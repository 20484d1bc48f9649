"""Project API server: the model as a static library with an example, built by CMake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, child, compiler, handler, options
else:
    import server
    from common import archive, child, compiler, handler, options

_TOOLCHAIN = "arm-none-eabi.cmake"


class CMakeHandler(handler.PlatformHandler):
    """Builds the library, and the example where it can run, in ``build``."""

    platform_name = "cmake"
    builds_in_place = True
    source_dir, include_dir = "src", "include"
    has_link = False

    def declared_options(self) -> list[server.ProjectOption]:
        build = handler.BUILD_OPTIONS
        option = server.ProjectOption
        return [
            *handler.common_options("library"),
            option(
                "board",
                type="str",
                optional=["generate_project"],
                default="",
                help="Board of the toolchain file; the model's own when not given.",
            ),
            option(
                "toolchain_file",
                type="str",
                optional=build,
                default="",
                help=f"CMake toolchain file, like {_TOOLCHAIN}; this machine's compiler when not given.",
            ),
            option("generator", type="str", optional=build, default="", help="CMake generator, like Ninja."),
        ]

    def words(self, model: archive.Model, values: dict[str, Any]) -> dict[str, str]:
        board = self.look_up_board(values["board"] or model.tinyml.get("board"), emulated=True)
        cpu_flags = " ".join(board["gcc_flags"])
        return {**super().words(model, values), "BOARD": board["name"], "CPU": board["cpu"], "CPU_FLAGS": cpu_flags}

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        pass

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        cmake = compiler.find_program(["cmake"], "cmake")
        flags = [*options.definitions(values["compile_definitions"])]
        flags += ["-Wall", "-Wextra", "-Werror"] if values["warning_as_error"] else []
        if values["optimization"] != "auto":
            flags.append(options.optimization(values["optimization"]))
        configure = [cmake, "-S", str(self.home), "-B", str(self.build_dir)]
        configure += ["-G", values["generator"]] if values["generator"] else []
        if values["toolchain_file"]:
            configure.append(f"-DCMAKE_TOOLCHAIN_FILE={self.home / values['toolchain_file']}")
        configure += [f"-DTVM_TINY_FLAGS={';'.join(flags)}"] if flags else []
        compiler.run_tool(configure, cwd=self.home)
        compiler.run_tool([cmake, "--build", str(self.build_dir), "--parallel", str(os.cpu_count())], cwd=self.home)

    def start(self, values: dict[str, Any]) -> child.Child:
        raise server.ServerError(
            "a project of platform 'cmake' is a library: there is no device to talk to",
            hints=["run its example: build/example", "run the model: tvmc run model.tar --device native"],
        )


if __name__ == "__main__":
    server.main(CMakeHandler(HERE))
