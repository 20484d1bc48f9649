"""Project API server: the model as an Arduino library with an example sketch, packed for arduino-cli and the IDE."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if TYPE_CHECKING or not (HERE / "server.py").exists():
    from tvm_tiny.project import server
    from tvm_tiny.project.platforms.common import archive, compiler, handler, options, usage
else:
    import server
    from common import archive, compiler, handler, options, usage

_EXAMPLE_BOARD = "arduino:mbed_nano:nano33ble"
_FQBN = re.compile(r"[\w.-]+(:[\w.,=-]+){2,3}")
_SKETCH = usage.Dialect(
    on_error="return;",
    show='Serial.print("{tensor} ");\nSerial.print((int){value});\nSerial.print(" is ");\nSerial.println({real}, 3);',
)


class ArduinoHandler(handler.PlatformHandler):
    """Packs the library when the project is made; building compiles the example with arduino-cli."""

    platform_name = "arduino"
    source_dir = include_dir = "library/src"
    has_link = False

    def declared_options(self) -> list[server.ProjectOption]:
        build = handler.BUILD_OPTIONS
        option = server.ProjectOption
        return [
            *handler.common_options("library"),
            option("board", type="str", optional=[*build, "flash"], default="", help=f"FQBN, like {_EXAMPLE_BOARD}."),
            option("arduino_cli_cmd", type="str", optional=[*build, "flash"], default="arduino-cli", help="Program."),
            option("port", type="str", optional=["flash"], default="", help="Port of the board, like /dev/ttyACM0."),
        ]

    def words(self, model: archive.Model, values: dict[str, Any]) -> dict[str, str]:
        fqbn = _fqbn(values) if values["board"] else _EXAMPLE_BOARD
        library = _library_name(model)
        return {**super().words(model, values), "LIBRARY": library, "FQBN": fqbn, "SKETCH": _sketch(model)}

    def prepare(self, project: Path, model: archive.Model, values: dict[str, Any]) -> None:
        name = _library_name(model)
        with zipfile.ZipFile(project / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted((project / "library").rglob("*")):
                if file.is_file():
                    # Equal projects are equal bytes: no time stamps.
                    entry = zipfile.ZipInfo(f"{name}/{file.relative_to(project / 'library').as_posix()}")
                    entry.external_attr = 0o644 << 16
                    packed.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)

    def build_model(self, model: archive.Model, values: dict[str, Any]) -> None:
        cli, fqbn = self._cli(values), _fqbn(values)
        flags = options.definitions(values["compile_definitions"])
        if values["optimization"] != "auto":
            flags.append(options.optimization(values["optimization"]))
        command = [cli, "compile", "--fqbn", fqbn, "--library", str(self.home / "library")]
        command += ["--warnings", "all"] if values["warning_as_error"] else []
        flags += ["-Werror"] if values["warning_as_error"] else []
        if flags:
            command += ["--build-property", f"compiler.c.extra_flags={' '.join(flags)}"]
        command += ["--output-dir", str(self.build_dir), str(self.home / "library" / "examples" / "Run")]
        compiler.run_tool(command, cwd=self.home)

    def flash(self, options: dict[str, Any]) -> None:
        values = self._options(options)
        self.require_built(self.build_dir)
        command = [self._cli(values), "upload", "--fqbn", _fqbn(values), "--input-dir", str(self.build_dir)]
        compiler.run_tool([*command, *(["--port", values["port"]] if values["port"] else [])], cwd=self.home)

    def start(self, values: dict[str, Any]) -> handler.Stream:
        raise server.ServerError(
            "a project of platform 'arduino' is a library: its sketch takes no inputs from the host",
            hints=["run the model: tvmc run model.tar --device native"],
        )

    def _cli(self, values: dict[str, Any]) -> str:
        return compiler.find_program([values["arduino_cli_cmd"]], "https://arduino.github.io/arduino-cli", "see")


def _library_name(model: archive.Model) -> str:
    return f"tvm_tiny_{model.module}"


def _fqbn(values: dict[str, Any]) -> str:
    fqbn = str(values["board"])
    if not _FQBN.fullmatch(fqbn):
        raise server.OptionValueError(
            f"project option 'board' is {fqbn!r}, expected the board's FQBN, like {_EXAMPLE_BOARD}",
            hints=["arduino-cli board listall"],
        )
    return fqbn


def _sketch(model: archive.Model) -> str:
    return (
        f"#include <tvmgen_{model.module}.h>\n\n"
        "void setup() {\n  Serial.begin(115200);\n}\n\n"
        f"void loop() {{\n{usage.usage(model, _SKETCH)}  delay(1000);\n}}\n"
    )


if __name__ == "__main__":
    server.main(ArduinoHandler(HERE))
