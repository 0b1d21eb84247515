"""Locks between processes that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinytorch.errors import InputError

#: What a lock raises where another process holds it: by `flock`, by NFS, by Windows.
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 2**30, os.SEEK_SET)  # far behind the content: a locked byte cannot be read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(file: Path, what: Path) -> Iterator[str | None]:
    """Keep other processes from ``what`` by a lock on ``file``, which is created and says who holds it; both end with the block.

    The system ends the lock with the process, so that a file which a killed process left locks nothing.

    Yields:
        None, or where the file system has no locks, so that nothing is kept from anybody, the reason that the system gave.

    Raises:
        InputError: another process holds the lock.
        OSError: the file cannot be created.
    """
    descriptor, reason = _open_locked(file, what)
    try:
        with suppress(OSError):  # the lock holds without it
            os.truncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield reason
    finally:
        with suppress(OSError):  # Windows removes no open file
            file.unlink()
        os.close(descriptor)


def _open_locked(file: Path, what: Path) -> tuple[int, str | None]:
    """A descriptor of the locked file, and why it is not locked where the file system has no locks."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(what)) from error
        try:
            reason = None
            try:
                _lock(descriptor)
            except OSError as error:
                if error.errno in _HELD:
                    raise InputError(f"{what} is in use by {_holder(file)}; wait until it ends, or stop it") from error
                reason = error.strerror or str(error)
            if _is(descriptor, file):  # and not a file that its holder removed since it was opened here
                return descriptor, reason
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    """Who holds a lock, as far as its file says."""
    with suppress(OSError):
        found = re.fullmatch(r"process \d+ on [\w.-]+\n", file.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0].strip()
    return "another process"
