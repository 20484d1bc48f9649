"""Platform arduino: the layout of the library and its zip, the sketch compiled against a stub of Arduino's core."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.c.test_usage_example import check_fake_values, code_blocks
from tests.fake_archive import archive_files, write_archive
from tvm_tiny.errors import OptionError, ProjectError, ToolError
from tvm_tiny.project import GeneratedProject, generate_project_from_mlf

STUB = Path(__file__).resolve().parents[1] / "arduino_stub"
NANO = "arduino:mbed_nano:nano33ble"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "model.tar", archive_files())


@pytest.fixture
def project_dir(archive: Path, tmp_path: Path) -> Path:
    generate_project_from_mlf("arduino", tmp_path / "project", archive, {}).close()
    return tmp_path / "project"


def test_the_zip_is_a_library(project_dir: Path) -> None:
    with zipfile.ZipFile(project_dir / "tvm_tiny_default.zip") as packed:
        names = set(packed.namelist())
        properties = dict(
            line.split("=", 1) for line in packed.read("tvm_tiny_default/library.properties").decode().splitlines()
        )
    assert names == {
        "tvm_tiny_default/library.properties",
        "tvm_tiny_default/examples/Run/Run.ino",
        *(f"tvm_tiny_default/src/default_lib{i}.c" for i in (0, 1)),
        *(f"tvm_tiny_default/src/{name}.h" for name in ("tvmgen_default", "tvm_tiny_kernels")),
    }
    # Those that arduino-cli's library specification asks for.
    fields = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert fields <= properties.keys()
    assert (properties["name"], properties["includes"]) == ("tvm_tiny_default", "tvmgen_default.h")
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])


def test_equal_projects_are_equal_bytes(project_dir: Path, archive: Path, tmp_path: Path) -> None:
    generate_project_from_mlf("arduino", tmp_path / "again", archive, {}).close()
    name = "tvm_tiny_default.zip"
    assert (tmp_path / "again" / name).read_bytes() == (project_dir / name).read_bytes()


def test_the_sketch(project_dir: Path, tool: Callable[[str], str]) -> None:
    sketch = project_dir / "library/examples/Run/Run.ino"
    assert code_blocks(project_dir / "README.md", "cpp") == [sketch.read_text()]
    # As the IDE does: the core's header in front, the library's folder among the include paths.
    (project_dir / "Run.cpp").write_text(f'#include <Arduino.h>\n#line 1 "Run.ino"\n{sketch.read_text()}')
    (project_dir / "main.cpp").write_text("#include <Arduino.h>\nint main() {\n  setup();\n  loop();\n  loop();\n}\n")
    source = project_dir / "library/src"
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{STUB}", f"-I{source}"]
    objects = []
    for file in (*source.glob("*.c"), project_dir / "Run.cpp", project_dir / "main.cpp"):
        objects.append(f"{file.stem}.o")
        command = [tool("gcc"), "-std=gnu11"] if file.suffix == ".c" else [tool("g++"), "-std=gnu++17"]
        subprocess.run([*command, *flags, "-c", str(file), "-o", objects[-1]], cwd=project_dir, check=True, timeout=60)
    subprocess.run([tool("g++"), *objects, "-o", "sketch"], cwd=project_dir, check=True, timeout=60)
    done = subprocess.run(["./sketch"], cwd=project_dir, check=True, timeout=60, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[:20] == lines[20:]
    found = [re.fullmatch(r"(\w+) (-?\d+) is (-?\d+\.\d{3})", line) for line in lines[:20]]
    check_fake_values([(m[1], int(m[2]), round(1000 * float(m[3]))) for m in found if m])


def test_built_and_flashed_with_arduino_cli(project_dir: Path, tmp_path: Path) -> None:
    cli = tmp_path / "arduino-cli"
    cli.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/log\n')
    cli.chmod(0o755)
    options = {"arduino_cli_cmd": str(cli), "board": NANO, "port": "/dev/ttyACM0", "warning_as_error": "1"}
    with GeneratedProject.from_directory(project_dir, {**options, "optimization": "O3"}) as project:
        project.build()
        project.flash()
    compiled, uploaded = (tmp_path / "log").read_text().splitlines()
    # Built beside the old build, which stays until the new one is there.
    assert re.sub(r"/\.tvm-tiny-\w+\.partial ", "/build ", compiled) == (
        f"compile --fqbn {NANO} --library {project_dir}/library --warnings all --build-property "
        f"compiler.c.extra_flags=-O3 -Werror --output-dir {project_dir}/build {project_dir}/library/examples/Run"
    )
    assert (project_dir / "build").is_dir()
    assert uploaded == f"upload --fqbn {NANO} --input-dir {project_dir}/build --port /dev/ttyACM0"


def test_what_cannot_be_done(project_dir: Path) -> None:
    with GeneratedProject.from_directory(project_dir, {"arduino_cli_cmd": "no-such-cli"}) as project:
        with pytest.raises(ToolError, match="'no-such-cli' not found") as caught:
            project.build()
        assert caught.value.hints[0] == "install it: see https://arduino.github.io/arduino-cli"
        with pytest.raises(ProjectError, match="takes no inputs from the host"):
            project.transport()
    with (
        GeneratedProject.from_directory(project_dir, {"arduino_cli_cmd": "true", "board": "nano"}) as project,
        pytest.raises(OptionError, match="'board' is 'nano', expected the board's FQBN"),
    ):
        project.build()
