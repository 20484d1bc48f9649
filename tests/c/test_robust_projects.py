"""Projects whose making or building is broken off, watched, or done twice at a time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fake_archive import archive_files, write_archive
from tests.processes import descendants, start, tvmc, wait_for_end, wait_until
from tvm_tiny import files
from tvm_tiny.cli.main import main
from tvm_tiny.errors import ProjectError, ToolError
from tvm_tiny.project import GeneratedProject, generate_project_from_mlf
from tvm_tiny.project.platforms.common import handler
from tvm_tiny.project.platforms.native.microtvm_api_server import NativeHandler
from tvm_tiny.project.server import ServerError

# As gcc does: a driver, and what it has started.
_SLOW = """#!/bin/sh
echo half > "$(pwd)/half.o"
sleep 600 &
echo $! > "$PIDS/tmp$!"
mv "$PIDS/tmp$!" "$PIDS/$!"
wait
"""
_QUICK = """#!/bin/sh
for name; do :; done
echo done > "$name"
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "model.tar", archive_files())


def _compiler(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def built(archive: Path, tmp_path: Path) -> Path:
    """A native project that a quick "compiler" has built."""
    cc = _compiler(tmp_path / "cc", _QUICK)
    (tmp_path / "projects").mkdir()
    with generate_project_from_mlf("native", tmp_path / "projects" / "p", archive, {"cc": str(cc)}) as project:
        project.build()
    return project.directory


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _while_it_builds(arguments: list[object], folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start tvmc and wait until its compiler is at work; tvmc, and all it has started."""
    pids, temporary = folder / "pids", folder / "tmp"
    pids.mkdir()
    temporary.mkdir()
    user = start(tvmc(arguments), {"PIDS": str(pids), "TMPDIR": str(temporary)}, folder)
    wait_until(lambda: user.poll() is not None or any(p.name.isdigit() for p in pids.iterdir()), "no compiler")
    assert user.poll() is None, user.communicate(timeout=60)
    below = descendants(user.pid)
    assert len(below) >= 3  # server, compiler, what that has started
    return user, below


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_broken_off(number: signal.Signals, built: Path, tmp_path: Path) -> None:
    before = _tree(built)
    slow = _compiler(tmp_path / "slow", _SLOW)
    command = ["micro", "build", "--force", built, "--project-option", f"cc={slow}"]
    user, below = _while_it_builds(command, tmp_path)
    user.send_signal(number)
    _, err = user.communicate(timeout=60)
    wait_for_end(below)
    if number == signal.SIGKILL:
        assert user.returncode == -number
    else:
        assert user.returncode == 128 + number, err
        assert "Traceback" not in err
        assert list((tmp_path / "tmp").iterdir()) == []
        assert [p for p in built.iterdir() if p.name.startswith(".")] == []
    assert {k: v for k, v in _tree(built).items() if not k.startswith(".")} == before


def test_a_server_and_its_user_killed_at_once(built: Path, tmp_path: Path) -> None:
    """What they leave, the next build removes."""
    before = _tree(built)
    slow = _compiler(tmp_path / "slow", _SLOW)
    user, below = _while_it_builds(["micro", "build", "--force", built, "--project-option", f"cc={slow}"], tmp_path)
    server = below[0]
    for pid in (user.pid, server):
        os.kill(pid, signal.SIGKILL)
    user.communicate(timeout=60)
    drivers = [pid for pid in below[1:] if pid not in {int(p.name) for p in (tmp_path / "pids").iterdir()}]
    wait_for_end(drivers)
    for pid in below:  # the sleeping ones, which no compiler would be
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    left = [p for p in built.iterdir() if p.name.startswith(".")]
    assert len(left) == 1
    assert {k: v for k, v in _tree(built).items() if not k.startswith(".")} == before
    assert main(["micro", "build", "--force", str(built)]) == 0
    assert [p for p in built.iterdir() if p.name.startswith(".")] == []
    assert _tree(built) == before


def test_a_failed_build_keeps_the_one_before(built: Path, tmp_path: Path) -> None:
    before = _tree(built)
    failing = _compiler(tmp_path / "failing", "#!/bin/sh\necho no space left on device; exit 1\n")
    with (
        GeneratedProject.from_directory(built, {"cc": str(failing)}) as project,
        pytest.raises(ToolError, match="no space left on device"),
    ):
        project.build()
    assert _tree(built) == before


def test_a_tool_that_takes_too_long(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _tree(built)
    (tmp_path / "pids").mkdir()
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("TVM_TINY_TOOL_TIMEOUT", "0.5")
    with (
        GeneratedProject.from_directory(built, {"cc": str(_compiler(tmp_path / "slow", _SLOW))}) as project,
        pytest.raises((ToolError, ProjectError), match="did not (finish|answer)"),
    ):
        project.build()
    wait_for_end(int(p.name) for p in (tmp_path / "pids").iterdir())
    assert _tree(built) == before


def test_one_builds_at_a_time(built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(handler, "_LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr("tvm_tiny.cli.micro._LOCK_TIMEOUT_S", 0.1)
    before = _tree(built)
    here = NativeHandler(built)
    with files.locked(built, 0.0):
        with pytest.raises(ServerError, match=f"project '{built}' is in use: another process builds or runs it"):
            here.build({})
        assert main(["micro", "create-project", "--force", str(built), str(built / "model.tar"), "native"]) == 1
        assert "is in use: another process" in capsys.readouterr().err
    assert _tree(built) == before


def test_nobody_builds_what_runs(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "_LOCK_TIMEOUT_S", 0.1)
    _compiler(built / "build" / "main", "#!/bin/sh\ncat\n")
    with GeneratedProject.from_directory(built, {}) as one, GeneratedProject.from_directory(built, {}) as two:
        transports = one.transport(), two.transport()  # any number may run it
        with pytest.raises(ServerError, match="is in use"):
            NativeHandler(built).build({})
        del transports


def test_tools_that_build_in_place(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CMake's files name their folder: there is no moving it."""
    here = NativeHandler(built)
    here.builds_in_place = True

    def killed(*_: object) -> None:
        (here.build_dir / "half").touch()
        assert (here.build_dir / handler.UNFINISHED).exists()
        with pytest.raises(ServerError, match="is not built"):
            here.require_built(here.build_dir / "half")
        raise OSError(28, "No space left on device", "half")

    monkeypatch.setattr(here, "build_model", killed)
    with pytest.raises(ServerError, match=r"cannot build project .*No space left on device: 'half'"):
        here.build({})
    assert not (built / "build").exists()


def test_an_unfinished_build_does_not_count(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["micro", "build", str(built)]) == 1
    assert "is built already" in capsys.readouterr().err
    (built / "build" / handler.UNFINISHED).touch()
    assert main(["micro", "build", str(built)]) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_broken_off(number: signal.Signals, archive: Path, tmp_path: Path) -> None:
    slow = _compiler(tmp_path / "slow", _SLOW)
    arguments = ["run", archive, "--device", "native", "--fill-mode", "zeros", "--project-option", f"cc={slow}"]
    user, below = _while_it_builds(arguments, tmp_path)
    user.send_signal(number)
    user.communicate(timeout=60)
    wait_for_end(below)
    if number != signal.SIGKILL:
        assert list((tmp_path / "tmp").iterdir()) == []
