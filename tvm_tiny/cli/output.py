"""Output files: checked before any work starts, and written as a whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from tvm_tiny.errors import OutputError
from tvm_tiny.files import write_file

_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def check_output(path: Path, option: str) -> None:
    """Refuse a path that could not be written at the end.

    Parameters
    ----------
    option : the option that gave the path, for the message

    Raises
    ------
    OutputError : the path is a folder or no regular file, it or its folder is read-only, or the folder is missing
    """
    hints = [f"choose another path with {option}"]
    if path.is_dir():
        raise OutputError(f"{option}: '{path}' is a folder, expected a file", hints=[f"try {option} {path / 'FILE'}"])
    # Files are replaced, not written to: that would turn a device like /dev/null into a file.
    if path.exists() and not path.is_file():
        raise OutputError(f"{option}: '{path}' is not a regular file", hints=hints)
    if path.exists() and not _is_writable(path):
        raise OutputError(f"{option}: '{path}' is read-only", hints=[f"chmod u+w {path}", *hints])
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{option}: folder '{folder}' does not exist", hints=[f"mkdir -p {folder}", *hints])
    try:
        if not _is_writable(folder):
            raise PermissionError(0, "read-only")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{option}: cannot write into folder '{folder}': {error.strerror}", hints=hints) from error


def write_output(path: Path, content: bytes, option: str) -> None:
    """Write a whole file, or nothing.

    Raises
    ------
    OutputError : it cannot be written, the disk is full, say
    """
    try:
        write_file(path, content)
    except OSError as error:
        hints = [f"choose another path with {option}"]
        raise OutputError(f"{option}: '{path}' cannot be written: {error.strerror}", hints=hints) from error


def _is_writable(path: Path) -> bool:
    """Root may write anything; a file without any write permission is meant to stay, even so."""
    return os.access(path, os.W_OK) and bool(path.stat().st_mode & _WRITE_BITS)
