"""Output paths: refused before work starts, written as a whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tvm_tiny.cli.output import check_output, write_output
from tvm_tiny.errors import OutputError


def test_a_good_path_is_left_untouched(tmp_path: Path) -> None:
    check_output(tmp_path / "new.tar", "-o")
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / "old.tar"
    old.write_bytes(b"old")
    check_output(old, "-o")
    assert old.read_bytes() == b"old"


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder, expected a file") as raised:
        check_output(tmp_path, "-o")
    assert raised.value.hints == (f"try -o {tmp_path}/FILE",)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder '.*/none' does not exist"):
        check_output(tmp_path / "none" / "model.tar", "-o")


def test_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"folder '.*/file' does not exist"):
        check_output(tmp_path / "file" / "model.tar", "-o")


def test_a_device() -> None:
    with pytest.raises(OutputError, match="'/dev/null' is not a regular file"):
        check_output(Path("/dev/null"), "-o")


def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tar"
    path.write_bytes(b"keep")
    path.chmod(0o444)
    with pytest.raises(OutputError, match="is read-only"):
        check_output(path, "-o")


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(OutputError, match=r"cannot write into folder '.*/folder': read-only"):
        check_output(folder / "model.tar", "-o")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    write_output(path, b"old", "--json")

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"--json: '.*' cannot be written: No space left on device"):
        write_output(path, b"new", "--json")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
