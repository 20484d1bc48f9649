"""Platform native: projects from the hand-written model, built by the host's compiler, run as a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fake_archive import archive_files, expected_outputs, write_archive
from tests.native import SANITIZED
from tvm_tiny.errors import ArtifactError, OptionError, ProjectError, RunError, ToolError
from tvm_tiny.project import (
    PLATFORMS,
    GeneratedProject,
    Session,
    TemplateProject,
    generate_project,
    generate_project_from_mlf,
    template_dir,
)

FAULT, HANG, UNALIGNED = 120, 121, 124


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "model.tar", archive_files())


@pytest.fixture(scope="module")
def project_dir(archive: Path, tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Path:
    tool("gcc")
    folder = tmp_path_factory.mktemp("native") / "project"
    with generate_project_from_mlf("native", folder, archive, {"warning_as_error": "true"}) as project:
        project.build()
        project.flash()
    return folder


def infer(folder: Path, first: int, timeout_s: float = 20.0) -> None:
    with (
        GeneratedProject.from_directory(folder, {}) as project,
        Session(project.transport(), run_timeout_s=timeout_s) as session,
    ):
        session.run([bytes([first, *[0] * 15]), bytes(4)])


def test_outputs(project_dir: Path) -> None:
    rng = np.random.default_rng(5)
    with GeneratedProject.from_directory(project_dir, {}) as project:
        for _ in range(2):  # a transport can be opened again
            with Session(project.transport()) as session:
                x = rng.integers(-128, 120, (1, 16)).astype(np.int8)
                bias = rng.integers(-128, 128, (1, 4)).astype(np.int8)
                y, totals = session.run([x.tobytes(), bias.tobytes()])
            expected_y, expected_totals = expected_outputs(x, bias)
            assert (y, totals) == (expected_y.tobytes(), expected_totals.tobytes())


def test_what_a_project_is_made_of(project_dir: Path, archive: Path) -> None:
    assert (project_dir / "model.tar").read_bytes() == archive.read_bytes()
    assert (project_dir / "model/metadata.json").is_file()
    assert (project_dir / "microtvm_api_server.py").is_file()
    assert (project_dir / "server.py").is_file()
    with GeneratedProject.from_directory(project_dir, {}) as project:
        info = project.info()
    assert (info.platform_name, info.is_template) == ("native", False)
    assert info.model_library_format_path == str(project_dir / "model.tar")


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer, in all processes then, takes the signal first")
def test_a_crash_is_named(project_dir: Path) -> None:
    with pytest.raises(RunError, match="the model's process ended: SIGSEGV"):
        infer(project_dir, FAULT)


def test_a_model_that_hangs(project_dir: Path) -> None:
    start = time.monotonic()
    with pytest.raises(RunError, match="device did not answer in time"):
        infer(project_dir, HANG, timeout_s=0.3)
    assert time.monotonic() - start < 10


def test_sanitizers(archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("gcc")
    with generate_project_from_mlf("native", tmp_path / "p", archive, {"sanitize": "true"}) as project:
        project.build()
        with Session(project.transport()) as session:
            session.run([bytes(16), bytes(4)])
        with (
            pytest.raises(RunError, match=r"(?s)process ended: exit code 1.*AddressSanitizer"),
            Session(project.transport()) as session,
        ):
            session.run([bytes([FAULT, *[0] * 15]), bytes(4)])


def test_build_errors(archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("gcc")
    with (
        generate_project_from_mlf("native", tmp_path / "a", archive, {"cc": "no-such-cc"}) as project,
        pytest.raises(ToolError, match="'no-such-cc' not found") as caught,
    ):
        project.build()
    assert caught.value.hints[0] == "install it: sudo apt-get install gcc"
    with (
        generate_project_from_mlf("native", tmp_path / "b", archive, {"optimization": "-Ofaster"}) as project,
        pytest.raises(OptionError, match="'optimization' is '-Ofaster'"),
    ):
        project.build()


def test_nothing_is_left_of_a_project_that_cannot_be_made(tmp_path: Path) -> None:
    evil = write_archive(tmp_path / "evil.tar", {"../../evil": b"x"})
    with pytest.raises(ArtifactError, match="may not be unpacked"):
        generate_project_from_mlf("native", tmp_path / "p", evil, {})
    assert [p.name for p in tmp_path.iterdir()] == ["evil.tar"]


def test_where_a_project_cannot_go(archive: Path, project_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="exists already"):
        generate_project_from_mlf("native", project_dir, archive, {})
    with pytest.raises(ProjectError, match="is not a directory"):
        generate_project_from_mlf("native", tmp_path / "no/such/place", archive, {})
    with pytest.raises(ArtifactError, match="does not exist"):
        generate_project_from_mlf("native", tmp_path / "p", tmp_path / "none.tar", {})


def test_from_a_compiled_model(archive: Path, tmp_path: Path) -> None:
    class Compiled:
        def export(self, path: Path) -> None:
            path.write_bytes(archive.read_bytes())

    with generate_project("native", Compiled(), tmp_path / "p", {}) as project:
        assert not project.info().is_template
    assert (tmp_path / "p/model.tar").read_bytes() == archive.read_bytes()


def test_templates() -> None:
    for platform in PLATFORMS:
        with TemplateProject.from_directory(template_dir(platform)) as template:
            assert (template.info().platform_name, template.info().is_template) == (platform, True)
    with pytest.raises(ProjectError, match="unknown platform 'zephir'; known: native, qemu"):
        template_dir("zephir")


def test_an_unknown_option(project_dir: Path) -> None:
    with pytest.raises(OptionError, match="platform 'native' has no project option 'boord'"):
        GeneratedProject.from_directory(project_dir, {"boord": "x"})
