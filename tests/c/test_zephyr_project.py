"""Platform zephyr without Zephyr: what is in a project, how it is built, and its application against stub headers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.c.test_usage_example import check_fake_outputs, code_blocks
from tests.fake_archive import archive_files, expected_outputs, write_archive
from tests.unit.project.test_zephyr_tree import DEVICETREE
from tvm_tiny.errors import DeviceTimeoutError, MemoryBudgetError, OptionError, ProjectError, ToolError
from tvm_tiny.project import GeneratedProject, Session, generate_project_from_mlf
from tvm_tiny.project.platforms.zephyr.qemu_console import QemuConsole
from tvm_tiny.project.server import IoTimeoutError, TransportClosedError

STUB = Path(__file__).resolve().parents[1] / "zephyr_stub"
# Stands in for west: notes its arguments, and leaves what a configured build has.
WEST = """#!/bin/sh
echo "$ZEPHYR_BASE: $*" >> "$LOG"
mkdir -p build/zephyr/include/generated
cp "$(dirname "$0")/devicetree_generated.h" build/zephyr/include/generated
echo 'CONFIG_X=y' > build/zephyr/.config
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "model.tar", archive_files())


@pytest.fixture
def west(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A west and a Zephyr that are made up."""
    (tmp_path / "VERSION").write_text("VERSION_MAJOR = 4\nVERSION_MINOR = 1\n")
    (tmp_path / "devicetree_generated.h").write_text(DEVICETREE)
    (tmp_path / "west").write_text(WEST)
    (tmp_path / "west").chmod(0o755)
    monkeypatch.setenv("ZEPHYR_BASE", str(tmp_path))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "west"


def make(archive: Path, **options: str) -> Path:
    project = archive.parent / "project"
    generate_project_from_mlf("zephyr", project, archive, options).close()
    return project


@pytest.mark.parametrize("kind", ["host_driven", "standalone", "library"])
def test_what_a_project_is_made_of(archive: Path, kind: str) -> None:
    project = make(archive, project_type=kind)
    module = project / "module"
    assert {p.name for p in (module / "src").iterdir()} == {"default_lib0.c", "default_lib1.c"}
    assert {p.name for p in (module / "include").iterdir()} == {"tvmgen_default.h", "tvm_tiny_kernels.h"}
    assert (module / "zephyr/module.yml").read_text().startswith("name: tvm_tiny_default\nbuild:\n  cmake: .\n")
    assert "config TVM_TINY_DEFAULT\n" in (module / "Kconfig").read_text()
    assert "if(CONFIG_TVM_TINY_DEFAULT)" in (module / "CMakeLists.txt").read_text()
    application = {"CMakeLists.txt", "prj.conf", "src"}
    assert application & {p.name for p in project.iterdir()} == (set() if kind == "library" else application)
    (program,) = code_blocks(project / "README.md", "c")
    if kind == "standalone":
        assert (project / "src/main.c").read_text() == program
        assert "CONFIG_MAIN_STACK_SIZE=4096\n" in (project / "prj.conf").read_text()
    if kind == "host_driven":
        assert "src/main.c src/fault.c model_io.c common/link.c" in (project / "CMakeLists.txt").read_text()
        assert "section(" not in (project / "model_io.c").read_text()
    for file in project.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc", ".tar", ".json"):
            assert "@MODULE@" not in file.read_text(), file


def test_built_with_west(archive: Path, west: Path) -> None:
    project = make(archive, board="mps2/an385", stack_bytes="2048", west_cmd=str(west))
    options = {"cmake_args": "-DSHIELD=x", "optimization": "-Os", "warning_as_error": "1", "west_runner": "openocd"}
    with GeneratedProject.from_directory(project, {**options, "serial_number": "42"}) as opened:
        opened.build()
        opened.flash()
    configure, build, flash = (west.parent / "log").read_text().splitlines()
    base, place = f"{west.parent}:", f"-d {project}/build"
    assert configure == (
        f"{base} build --no-sysbuild --cmake-only -b mps2/an385 {place} {project} -- "
        "-DCONFIG_TVM_TINY_STACK_BYTES=2048 -DSHIELD=x -DCONFIG_COMPILER_WARNINGS_AS_ERRORS=y -DTVM_TINY_FLAGS=-Os"
    )
    assert build == f"{base} build {place}"
    assert flash == f"{base} flash --skip-rebuild {place} --runner openocd --dev-id 42"


def test_where_there_is_no_west(archive: Path, west: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = west.parent / "bin"
    programs.mkdir()
    (programs / "cmake").write_text(WEST.replace("$(dirname", "$(dirname $(dirname").replace('$0")/', '$0"))/'))
    (programs / "cmake").chmod(0o755)
    (programs / "ninja").symlink_to(programs / "cmake")
    (programs / "arm-none-eabi-gcc").symlink_to(programs / "cmake")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    project = make(archive, board="mps2/an385", west_cmd="", toolchain="arm-none-eabi-")
    with GeneratedProject.from_directory(project, {}) as opened:
        opened.build()
        opened.flash()
    configure, build, flash = (west.parent / "log").read_text().splitlines()
    start = f"{west.parent}: -GNinja -S {project} -B {project}/build -DBOARD=mps2/an385"
    assert configure == f"{start} -DCONFIG_TVM_TINY_STACK_BYTES=4096"
    assert (build, flash) == tuple(f"{west.parent}: --build {project}/build{end}" for end in ("", " --target flash"))
    with GeneratedProject.from_directory(project, {"west_cmd": "no-such-west"}) as opened:
        with pytest.raises(ToolError, match="'no-such-west' not found") as caught:
            opened.build()
        assert caught.value.hints[0] == "install it: python3 -m pip install west"


def test_memory_is_checked_before_anything_is_compiled(archive: Path, west: Path) -> None:
    # The arena has 64 bytes, inputs and outputs 52.
    project = make(archive, board="small", stack_bytes="65421", west_cmd=str(west))
    with GeneratedProject.from_directory(project, {}) as opened:
        with pytest.raises(MemoryBudgetError, match="needs 65,537 bytes of RAM, board 'small' has 65,536") as caught:
            opened.build()
        assert caught.value.hints[0] == "a board with more memory: --project-option board=NAME"
    assert len((west.parent / "log").read_text().splitlines()) == 1
    with GeneratedProject.from_directory(project, {"stack_bytes": "65420"}) as opened:
        opened.build()
    (west.parent / "devicetree_generated.h").write_text(DEVICETREE.replace("SIZE 262144", "SIZE 63"))
    with (
        GeneratedProject.from_directory(project, {"stack_bytes": "1024"}) as opened,
        pytest.raises(MemoryBudgetError, match="needs 64 bytes of flash, board 'small' has 63"),
    ):
        opened.build()


def test_what_cannot_be_built(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEPHYR_BASE", raising=False)
    with (
        generate_project_from_mlf("zephyr", tmp_path / "a", archive, {"project_type": "library"}) as project,
        pytest.raises(ProjectError, match="is a module: there is nothing to build"),
    ):
        project.build()
    with generate_project_from_mlf("zephyr", tmp_path / "b", archive, {"project_type": "standalone"}) as project:
        with pytest.raises(ToolError, match="ZEPHYR_BASE is not set"):
            project.build()
        with pytest.raises(ProjectError, match="'standalone' takes no inputs from the host"):
            project.transport()
    with generate_project_from_mlf("zephyr", tmp_path / "c", archive, {"toolchain": "no-such-"}) as project:
        with pytest.raises(ToolError, match="ZEPHYR_BASE is not set"):
            project.build()
        with pytest.raises(ProjectError, match="is not built"):
            project.transport()
    with pytest.raises(OptionError, match="'project_type' is 'demo', expected host_driven or standalone or library"):
        generate_project_from_mlf("zephyr", tmp_path / "d", archive, {"project_type": "demo"})


def compile_stub(project: Path, gcc: str) -> Path:
    sources = [*(project / "module/src").glob("*.c"), project / "src/main.c", project / "model_io.c"]
    sources += [project / "common/link.c", project / "src/fault.c", STUB / "stub.c"]
    folders = [STUB, project / "common", project / "module/include"]
    flags = [
        "-DCONFIG_CPU_CORTEX_M",
        "-std=gnu99",
        "-Wall",
        "-Wextra",
        "-Werror",
        *(f"-I{folder}" for folder in folders),
    ]
    subprocess.run([gcc, *flags, *map(str, sources), "-o", "firmware"], cwd=project, check=True, timeout=60)
    return project / "firmware"


class _Adapter:
    """A device's stream as the session wants it: a request whose answer is late is repeated."""

    def __init__(self, stream: QemuConsole) -> None:
        self._stream = stream
        self.write, self.close = stream.write, stream.close

    def read(self, n: int, timeout_s: float | None) -> bytes:
        try:
            return self._stream.read(n, timeout_s)
        except IoTimeoutError as error:
            raise DeviceTimeoutError(error.message) from error


def test_the_host_driven_application(archive: Path, tool: Callable[[str], str]) -> None:
    firmware = compile_stub(make(archive), tool("gcc"))
    command = [sys.executable, str(STUB / "console.py"), str(firmware)]
    rng = np.random.default_rng(3)
    with Session(_Adapter(QemuConsole(command, archive.parent))) as session:
        for first in (1, -1, 0):  # 1: the console's escape
            x = rng.integers(-128, 120, (1, 16)).astype(np.int8)
            x[0, :3] = first
            bias = np.array([[1, 1, 120, 1]], np.int8)
            y, totals = session.run([x.tobytes(), bias.tobytes()])
            expected_y, expected_totals = expected_outputs(x, bias)
            assert (y, totals) == (expected_y.tobytes(), expected_totals.tobytes())
    assert [s.stack_bytes for s in session.stats] == [600] * 3
    assert session.stats[0].seconds == 5e-6


def test_a_machine_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(TransportClosedError, match=r"(?s)process ended: exit code 1.*no such machine"):
        QemuConsole(["sh", "-c", "echo no such machine >&2; exit 1"], tmp_path)


def test_the_standalone_application(archive: Path, tool: Callable[[str], str]) -> None:
    project = make(archive, project_type="standalone")
    sources = [project / "src/main.c", *(project / "module/src").glob("*.c")]
    command = [tool("gcc"), f"-I{project / 'module/include'}", *map(str, sources), "-o", "example"]
    subprocess.run(command, cwd=project, check=True, timeout=60)
    done = subprocess.run(["./example"], cwd=project, check=True, timeout=60, capture_output=True, text=True)
    check_fake_outputs(done.stdout)
