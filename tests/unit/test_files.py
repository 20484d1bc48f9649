"""Files and folders that appear as a whole or not at all, whatever ends the process that makes them."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import full_disk
from tvm_tiny import files

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

_CONTENTS = [bytes([letter]) * 500_000 for letter in b"ab"]


def _in_process(work: Callable[[], object]) -> int:
    """The exit code of a process that does ``work``; minus the signal that ended it."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def _killed_before(name: str, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do ``work`` in a process that is killed where it would call ``Path.<name>``."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert _in_process(work) == -signal.SIGKILL


def test_a_file_is_new_or_old(tmp_path: Path) -> None:
    path = tmp_path / "model.tar"
    files.write_file(path, b"old")
    files.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tar"
    files.write_file(path, b"old")
    with full_disk(1000), pytest.raises(OSError, match="File too large") as caught:
        files.write_file(path, bytes(100_000))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.tar"
    files.write_file(path, b"old")
    _killed_before("replace", monkeypatch, lambda: files.write_file(path, b"new"))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    files.write_file(tmp_path / "another", b"")
    assert {p.name for p in tmp_path.iterdir()} == {"model.tar", "another"}


def test_what_others_are_making_stays(tmp_path: Path) -> None:
    with files.partial_folder(tmp_path) as one:
        (one / "file").touch()
        with files.partial_folder(tmp_path) as two:
            files.write_file(tmp_path / "a", b"")
            assert (one / "file").exists()
            assert two.exists()
        assert not two.exists()
        assert (one / "file").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_left_over_names_that_are_no_files(tmp_path: Path) -> None:
    """Links are removed, never followed; what cannot be opened does not make anybody wait."""
    (tmp_path / "keep").write_bytes(b"keep")
    (tmp_path / ".tvm-tiny-link.partial").symlink_to("keep")
    os.mkfifo(tmp_path / ".tvm-tiny-pipe.partial")
    files.write_file(tmp_path / "a", b"")
    assert (tmp_path / "keep").read_bytes() == b"keep"


def test_a_folder_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "p"
    for content, exchange in ((b"1", True), (b"2", True), (b"3", False)):
        if not exchange:
            monkeypatch.setattr(files, "_exchange", lambda *_: False)
        with files.partial_folder(tmp_path) as folder:
            (folder / "file").write_bytes(content)
            files.replace_folder(folder, place)
        assert (place / "file").read_bytes() == content
        assert list(tmp_path.iterdir()) == [place]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """What is there is one of theirs, whole, at any time."""
    path = tmp_path / "model.tar"
    context = multiprocessing.get_context("fork")

    def write(content: bytes) -> None:
        for _ in range(20):
            files.write_file(path, content)

    writers = [context.Process(target=write, args=(content,)) for content in _CONTENTS]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not path.exists() or path.read_bytes() in _CONTENTS
        writers[0].join(0.001)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_keeps_others_out_and_ends_with_its_process(tmp_path: Path) -> None:
    with files.locked(tmp_path, 0.0):
        with pytest.raises(files.InUseError), files.locked(tmp_path, 0.1):
            pass
        with pytest.raises(files.InUseError), files.locked(tmp_path, 0.0, shared=True):
            pass
    with files.locked(tmp_path, 0.0, shared=True), files.locked(tmp_path, 0.0, shared=True):
        pass

    def killed() -> None:
        with files.locked(tmp_path, 0.0):
            os.kill(os.getpid(), signal.SIGKILL)

    assert _in_process(killed) == -signal.SIGKILL
    with files.locked(tmp_path, 0.0):
        assert list(tmp_path.iterdir()) == []


def test_without_locks_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with files.locked(tmp_path, 0.0), files.locked(tmp_path, 0.0):
        files.write_file(tmp_path / "a", b"a")
    # Nor is anything taken for a left-over.
    with files.partial_folder(tmp_path) as one, files.partial_folder(tmp_path):
        assert one.exists()
