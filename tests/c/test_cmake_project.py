"""Platform cmake: the generated folder builds as its README says, natively and for its board."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.c.test_usage_example import check_fake_outputs, code_blocks
from tests.fake_archive import archive_files, write_archive
from tvm_tiny.errors import OptionError, ProjectError, ToolError
from tvm_tiny.project import GeneratedProject, generate_project_from_mlf


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    generate_project_from_mlf("cmake", tmp_path / "project", archive, {}).close()
    return tmp_path / "project"


def run(command: list[str], folder: Path) -> str:
    # Under make, a make inside would say which folders it enters.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_folder_is_plain(project_dir: Path) -> None:
    assert {p.name for p in (project_dir / "src").iterdir()} == {"default_lib0.c", "default_lib1.c"}
    assert {p.name for p in (project_dir / "include").iterdir()} == {"tvmgen_default.h", "tvm_tiny_kernels.h"}
    assert not (project_dir / "model_io.c").exists()
    (program,) = code_blocks(project_dir / "README.md", "c")
    assert (project_dir / "example/main.c").read_text() == program


def test_it_builds_as_its_readme_says(project_dir: Path, tool: Callable[[str], str], arm_gcc: list[str]) -> None:
    tool("cmake")
    if arm_gcc[1:]:
        pytest.skip("the README's commands are for a compiler that has newlib")
    native, arm, make = code_blocks(project_dir / "README.md", "sh")
    check_fake_outputs(run(["sh", "-ec", native], project_dir).partition("Built target example\n")[2])
    run(["sh", "-ec", arm], project_dir)
    run(["sh", "-ec", make], project_dir)
    check_fake_outputs(run(["build/host/example"], project_dir))
    for library in ("build/arm/libtvm_tiny_default.a", "build/board/libtvm_tiny_default.a"):
        attributes = run([tool("arm-none-eabi-readelf"), "-A", library], project_dir)
        assert attributes.count('Tag_CPU_name: "7E-M"') == 2


def test_it_is_part_of_another_cmake_project(project_dir: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(firmware C)\nadd_subdirectory(project model)\n"
        "add_executable(firmware main.c)\ntarget_link_libraries(firmware PRIVATE tvm_tiny_default)\n"
    )
    shutil.copyfile(project_dir / "example/main.c", tmp_path / "main.c")
    run([tool("cmake"), "-S", ".", "-B", "out"], tmp_path)
    run([tool("cmake"), "--build", "out"], tmp_path)
    check_fake_outputs(run(["out/firmware"], tmp_path))


def test_built_by_its_server(project_dir: Path, tool: Callable[[str], str]) -> None:
    tool("cmake")
    options = {"warning_as_error": "true", "optimization": "-O1", "compile_definitions": "-DFAKE_ARENA_BYTES=96"}
    with GeneratedProject.from_directory(project_dir, options) as project:
        project.build()
        with pytest.raises(ProjectError, match="is a library: there is no device to talk to"):
            project.transport()
    check_fake_outputs(run(["build/example"], project_dir))
    commands = (project_dir / "build/CMakeFiles/tvm_tiny_default.dir/flags.make").read_text()
    assert "-DFAKE_ARENA_BYTES=96 -Wall -Wextra -Werror -O1" in commands
    options["toolchain_file"] = "none.cmake"
    with (
        GeneratedProject.from_directory(project_dir, options) as project,
        pytest.raises(ToolError, match=r"none\.cmake"),
    ):
        project.build()


def test_a_board_that_does_not_exist(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    with pytest.raises(OptionError, match="qemu-m99"):
        generate_project_from_mlf("cmake", tmp_path / "p", archive, {"board": "qemu-m99"})
