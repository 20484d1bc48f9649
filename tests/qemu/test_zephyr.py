"""Platform zephyr with the user's Zephyr: built by its own tools, run in its QEMU machine, bytes compared."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.c.test_usage_example import check_fake_outputs, code_blocks
from tests.fake_archive import archive_files, write_archive
from tvm_tiny.compiler import compile_model
from tvm_tiny.demo import demo
from tvm_tiny.errors import MemoryBudgetError
from tvm_tiny.measure import run_model
from tvm_tiny.project import FaultError, GeneratedProject, Session, generate_project_from_mlf

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("ZEPHYR_BASE"), reason="ZEPHYR_BASE is not set: no Zephyr to build with"),
]
# Without a toolchain of Zephyr's, the distribution's.
OPTIONS = {} if os.environ.get("ZEPHYR_TOOLCHAIN_VARIANT") else {"toolchain": "arm-none-eabi-"}


def make(folder: Path, archive: Path, **options: str) -> GeneratedProject:
    return generate_project_from_mlf("zephyr", folder, archive, {**OPTIONS, **options})


@pytest.mark.parametrize("board", ["qemu-m3", "qemu_cortex_m3", "qemu-m33", "qemu-m55"])
def test_every_byte_on_a_board(board: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    target = "qemu-m3" if board == "qemu_cortex_m3" else board
    archive = compile_model(demo.TFLITE, f"tinyml/{target}").export(tmp_path / "model.tar")
    with make(tmp_path / "project", archive, board=board) as project:
        project.build()
        project.flash()
    with np.load(demo.TEST_SET) as tests:
        result = run_model(
            None, device="micro", project_dir=tmp_path / "project", inputs={"inputs": tests["inputs"][:10]}
        )
        np.testing.assert_array_equal(result.outputs["probabilities"], tests["outputs"][:10])
    assert result.report.ram.stack_bytes in range(100, 1500)


def toolchain(tool: Callable[[str], str]) -> dict[str, str]:
    """Environment for commands that are run without the project's server."""
    cross = {
        "ZEPHYR_TOOLCHAIN_VARIANT": "cross-compile",
        "CROSS_COMPILE": tool("arm-none-eabi-gcc").removesuffix("gcc"),
    }
    return {**os.environ, **(cross if OPTIONS else {})}


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_builds_as_its_readme_says_and_runs_standalone(tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("west")
    archive = write_archive(tmp_path / "model.tar", archive_files())
    make(tmp_path / "project", archive, board="mps2/an385", project_type="standalone").close()
    with_west, without = (b for b in code_blocks(tmp_path / "project/README.md", "sh") if "build" in b)
    assert without == "cmake -GNinja -S . -B build -DBOARD=mps2/an385\nninja -C build\n"
    run(with_west, tmp_path / "project", toolchain(tool))
    command = [tool("ninja"), "-C", str(tmp_path / "project/build"), "run"]
    lines: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for line in process.stdout:
            lines += [line.strip()] if re.search(r"\] = .* / 1000", line) else []
            if len(lines) == 20:
                process.stdin.write("\x01x")
                process.stdin.close()
                break
        process.stdout.read()
    check_fake_outputs("\n".join(lines))


def test_the_module_in_an_application_of_ones_own(tmp_path: Path, tool: Callable[[str], str]) -> None:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    make(tmp_path / "project", archive, project_type="library").close()
    (text,) = code_blocks(tmp_path / "project/README.md", "c")
    application = tmp_path / "application"
    application.mkdir()
    (application / "main.c").write_text(text)
    (application / "prj.conf").write_text("CONFIG_TVM_TINY_DEFAULT=y\n")
    (application / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20.0)\nlist(APPEND ZEPHYR_EXTRA_MODULES {tmp_path}/project/module)\n"
        "find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})\nproject(own C)\ntarget_sources(app PRIVATE main.c)\n"
    )
    run("cmake -GNinja -B build -DBOARD=mps2/an385 && ninja -C build", application, toolchain(tool))
    symbols = run("arm-none-eabi-nm build/zephyr/zephyr.elf", application, toolchain(tool))
    assert " T tvmgen_default_run\n" in symbols


def test_faults_are_told(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    with make(tmp_path / "project", archive, board="mps2/an385") as project:
        project.build()
        for first, words in ((120, "firmware faulted: HardFault"), (122, "stack overflow")):
            with pytest.raises(FaultError, match=words), Session(project.transport()) as session:
                session.run([bytes([first, *[0] * 15]), bytes(4)])


def test_a_model_too_large_for_the_board(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "model.tar", archive_files())
    with (
        make(tmp_path / "project", archive, board="qemu_cortex_m3", stack_bytes="70000") as project,
        pytest.raises(MemoryBudgetError, match=r"needs 70,116 bytes of RAM, board 'qemu_cortex_m3' has 65,536"),
    ):
        project.build()
    assert not (tmp_path / "project/build/zephyr/zephyr.elf").exists()
    with (
        GeneratedProject.from_directory(tmp_path / "project", {"stack_bytes": "64000"}) as project,
        pytest.raises(MemoryBudgetError, match=r"overflows RAM by \d"),
    ):
        project.build()
