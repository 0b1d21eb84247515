"""File locks between processes. The operating system releases a lock when its process ends, even if it is killed."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinytorch.io.errors import InputError

#: Error numbers if another process holds the lock, on POSIX, NFS and Windows.
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 2**30, os.SEEK_SET)  # beyond the content, since Windows does not allow other processes to read a locked byte
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(file: Path, what: Path) -> Iterator[str | None]:
    """Lock ``what`` for this process until the block ends, without waiting.

    The lock is on ``file``, which is created, contains the id of the process, and is removed at the end. If the process is killed, the file
    remains, and the next process can lock it.

    Args:
        file: the lock file.
        what: the path to name in errors.

    Yields:
        None; or the error message of the system if the file system does not support locks, in which case nothing is locked.

    Raises:
        InputError: another process holds the lock.
        OSError: the file cannot be created.
    """
    descriptor, reason = _open_locked(file, what)
    try:
        with suppress(OSError):  # the content is for error messages only
            os.truncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield reason
    finally:
        with suppress(OSError):  # Windows does not remove an open file
            file.unlink()
        os.close(descriptor)


def _open_locked(file: Path, what: Path) -> tuple[int, str | None]:
    """A descriptor of the locked file, and the error message of the system if the file system does not support locks."""
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
            if _is_same_file(descriptor, file):  # otherwise the previous holder removed the file after it was opened here
                return descriptor, reason
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    """The process that holds a lock, as written in the lock file, for error messages."""
    with suppress(OSError):
        found = re.fullmatch(r"process \d+ on [\w.-]+\n", file.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0].strip()
    return "another process"
