"""Projects of the hand-written models, built once per board and session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_archive import DEFAULT, HAND, archive_files, write_archive
from tvm_tiny.project import generate_project_from_mlf

ProjectDir = Callable[[str], Path]


@pytest.fixture(scope="session")
def fake_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the model "default"."""
    return write_archive(tmp_path_factory.mktemp("fake") / "model.tar", archive_files("default", DEFAULT))


@pytest.fixture(scope="session")
def hand_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the model "hand", whose instructions are counted by hand."""
    return write_archive(tmp_path_factory.mktemp("hand") / "model.tar", archive_files("hand", HAND))


@pytest.fixture(scope="session")
def build_project(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """``build_project(archive, board)`` is the folder of a built project of platform qemu."""
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    built: dict[tuple[Path, str], Path] = {}

    def build(archive: Path, board: str) -> Path:
        if (archive, board) not in built:
            folder = tmp_path_factory.mktemp("project") / board
            options = {"board": board, "warning_as_error": "true"}
            with generate_project_from_mlf("qemu", folder, archive, options) as project:
                project.build()
            built[archive, board] = folder
        return built[archive, board]

    return build


@pytest.fixture(scope="session")
def fake_project(build_project: Callable[[Path, str], Path], fake_archive: Path) -> ProjectDir:
    """``fake_project(board)``: the model "default" for a board."""
    return lambda board: build_project(fake_archive, board)


@pytest.fixture(scope="session")
def hand_project(build_project: Callable[[Path, str], Path], hand_archive: Path) -> ProjectDir:
    """``hand_project(board)``: the model "hand" for a board."""
    return lambda board: build_project(hand_archive, board)
