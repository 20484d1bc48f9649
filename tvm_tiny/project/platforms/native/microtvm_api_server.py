"""Project API server: the model in a process of the host, the same C with the plain-C twin of the intrinsics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, child, compiler, handler, options
else:
    import server
    from common import archive, child, compiler, handler, options


class NativeHandler(handler.PlatformHandler):
    """Builds ``build/main`` and talks to it through its standard input and output."""

    platform_name = "native"
    sources = ("main.c",)

    def declared_options(self) -> list[server.ProjectOption]:
        build = handler.BUILD_OPTIONS
        return [
            *handler.common_options("host_driven"),
            server.ProjectOption(
                "board", type="str", optional=["generate_project"], default="", help="Not used: the host is the board."
            ),
            server.ProjectOption("cc", type="str", optional=build, default="", help="C compiler of the host."),
            server.ProjectOption(
                "sanitize",
                type="bool",
                optional=build,
                default=False,
                help="Find memory errors and undefined behaviour.",
            ),
        ]

    def prepare(self, project: Path, model: archive.Model, options: dict[str, Any]) -> None:
        pass

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        cc = compiler.find_program([values["cc"]] if values["cc"] else ["gcc", "clang", "cc"], "gcc")
        sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if values["sanitize"] else []
        command = [
            cc,
            options.optimization(values["optimization"], model.tinyml),
            *handler.WARNINGS,
            *(["-Werror"] if values["warning_as_error"] else []),
            *sanitize,
            *options.definitions(values["compile_definitions"]),
            "-DLINK_PAYLOAD_BYTES=32768",
            f"-I{model.include_dir}",
            f"-I{self.home / 'common'}",
        ]
        sources = {f"model_{source.stem}.o": source for source in model.sources}
        for source in (self.home / "main.c", self.home / "model_io.c", self.home / "common" / "link.c"):
            sources[f"harness_{source.stem}.o"] = source
        objects = compiler.compile_all(command, sources, self.build_dir)
        compiler.run_tool([cc, *sanitize, *objects, "-lm", "-o", "main"], cwd=self.build_dir)

    def start(self, values: dict[str, Any]) -> child.Child:
        program = self.require_built(self.build_dir / "main")
        return child.Child([str(program)], self.build_dir, "standard", lambda: None)


if __name__ == "__main__":
    server.main(NativeHandler(HERE))
