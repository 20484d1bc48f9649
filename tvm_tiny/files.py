"""Files and folders that appear as a whole or not at all, and folders that one process has to itself.

Standard library only, and no import of the package: every generated project gets a copy for its server.

What is being made has a name of its own, ``.tvm-tiny-*.partial``, beside its place, and is locked (``flock``) by the
process that makes it. So a lock that can be had tells what a killed process has left behind, whatever its number was:
whoever makes something in that folder next removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX, _SUFFIX = ".tvm-tiny-", ".partial"
_POLL_S = 0.05
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class InUseError(OSError):
    """Another process has the folder."""


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole, or leave what is there.

    Raises
    ------
    OSError : it cannot be written, the disk is full, say; nothing is left of it
    """
    _remove_left_over(path.parent)
    while True:
        partial = _new_name(path.parent)
        try:
            with partial.open("xb") as file:
                _try_lock(file.fileno(), fcntl.LOCK_EX)
                if not partial.exists():  # taken for a left-over before it was locked
                    continue
                file.write(content)
                file.flush()
                partial.replace(path)
                return
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """A folder in ``parent`` to make something in that is moved from there when it is complete; gone at the end.

    Raises
    ------
    OSError : it cannot be made
    """
    _remove_left_over(parent)
    while True:
        folder = _new_name(parent)
        try:
            folder.mkdir()
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                _try_lock(descriptor, fcntl.LOCK_EX)
                if not folder.exists():  # as above
                    continue
                yield folder
                return
            finally:
                os.close(descriptor)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def replace_folder(made: Path, place: Path) -> None:
    """Move ``made`` to ``place``; a folder that is there is where ``made`` was, if anywhere, afterwards.

    Where the system can exchange names (Linux, most file systems), there is a whole folder at ``place`` all the time.

    Raises
    ------
    OSError : it cannot be moved
    """
    if not place.exists():
        made.rename(place)
    elif not _exchange(made, place):
        old = made.with_name(made.name + ".old")
        place.rename(old)
        try:
            made.rename(place)
        except BaseException:
            old.rename(place)
            raise
        old.rename(made)


@contextlib.contextmanager
def locked(folder: Path, timeout_s: float, *, shared: bool = False) -> Iterator[None]:
    """Have a folder to oneself, or share it with others who do; the lock ends with the process, however that ends.

    Where the file system has no locks, nobody is kept out.

    Parameters
    ----------
    timeout_s : longest wait for others
    shared : others may have it, too, if all say so

    Raises
    ------
    InUseError : another process has it for too long
    OSError : there is no such folder
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise InUseError(errno.EBUSY, "another process is at work in it", str(folder))
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _new_name(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"


def _try_lock(descriptor: int, how: int) -> bool:
    """Whether nobody else has a lock on it; True where there are no locks."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_left_over(folder: Path) -> None:
    """Remove what processes that are no more were making in ``folder``."""
    with contextlib.suppress(OSError):
        for path in list(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                finally:
                    os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths exchange what they name; False where that is not possible."""
    import ctypes  # takes longer than all the rest, and few get here

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done: int = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0
