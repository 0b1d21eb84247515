"""Files that are written whole or not at all.

A host module: it works on paths, bytes and numpy arrays. Every write goes to a temporary file beside the target, is flushed to the
disk, and is then renamed onto the target, so that a crash at any moment leaves either the old file or the new one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.io.locking import locked

HostArray = NDArray[Any]


@contextmanager
def atomic_path(path: str | os.PathLike[str], permissions_of: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, what was written there replaces `path`.

    The temporary file lies in the target's directory (a rename cannot cross file systems) and keeps its suffix (writers such as
    matplotlib choose the format by it). A symbolic link is followed: the file it points to is replaced. When the block raises, the
    temporary file is removed and the target is left as it was.

    Args:
        path: the file. If it exists its permissions are kept; otherwise they follow the umask.
        permissions_of: a file whose permissions to use instead, if it exists.

    Raises:
        OSError: the directory is missing or cannot be written, the disk is full, or the block wrote no file.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    mode = _permissions(target if permissions_of is None else permissions_of)
    try:
        if mode is not None:
            _create_private(temporary)
        yield temporary
        written = temporary.stat()
        if mode is not None and written.st_mtime == 0:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", os.fspath(path))
        _flush_file(temporary)
        if mode not in (None, stat.S_IMODE(written.st_mode)):
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:  # Ctrl-C too must leave nothing behind
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # not the temporary name
        raise
    _flush_directory(target.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files of killed writes to `path`. No process may be writing it."""
    target = Path(os.path.realpath(path))
    pattern = re.compile(rf"\.{re.escape(target.stem)}-[0-9a-f]{{8}}{re.escape(target.suffix)}")
    for name in os.listdir(target.parent):
        if pattern.fullmatch(name):
            (target.parent / name).unlink(missing_ok=True)


@contextmanager
def sole_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let no other process write `path` until the block ends, and remove the temporary files of writes that were killed.

    On a file system without locks it does neither.

    Raises:
        InputError: another process is writing it.
        OSError: the directory cannot be written.
    """
    target = Path(path)
    with locked(target.with_name(f".{target.name}.lock"), target) as unlocked:
        if unlocked is None:
            remove_leftovers(target)
        yield


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises OSError where it cannot."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8 with its newlines as they are, whole or not at all. Raises OSError where it cannot."""
    atomic_write_bytes(path, text.encode("utf-8"))


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, if it is a regular one: a pipe or a device might never end. Raises OSError, whose strerror says why not."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a directory the system says so itself
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return Path(path).read_bytes()


#: What ``config.json`` of a training run says it is.
RUN_FORMAT = "tinytorch-run"


def refuse_run(directory: str | os.PathLike[str]) -> None:
    """Raise `InputError` where a directory holds a training run, whose files something else would replace."""
    try:
        config = json.loads(read_regular(Path(directory) / "config.json"))
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("format") == RUN_FORMAT:
        raise InputError(f"{os.fspath(directory)} holds a training run, which this would replace; choose another directory")


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, HostArray],
    metadata: Mapping[str, str] | None = None,
    permissions_of: str | os.PathLike[str] | None = None,
) -> None:
    """Write named host arrays and text metadata to a safetensors file, whole or not at all.

    Args:
        path: the file.
        arrays: host arrays of any shape and memory layout; boolean, integer or floating point.
        metadata: text by name, kept in the file's header.
        permissions_of: as for `atomic_path`.

    Raises:
        OSError: the file cannot be written.

    Source: https://github.com/huggingface/safetensors (format description).
    """
    from safetensors.numpy import save

    rows = {name: _plain_layout(array) for name, array in arrays.items()}
    # not its save_file, which hides why a disk refuses behind an error of its own, and lets nobody else read the file
    with atomic_path(path, permissions_of) as temporary:
        temporary.write_bytes(save(rows, metadata=dict(metadata or {})))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, HostArray], dict[str, str]]:
    """Read what `save_arrays` wrote.

    Returns:
        The arrays by name (copies, writable) and the metadata.

    Raises:
        InputError: the file is missing, cannot be read, is truncated, or is not a safetensors file.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return arrays, dict(file.metadata() or {})


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays in a safetensors file. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return list(file.keys())


def array_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a safetensors file by name; none is read. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def load_array(path: str | os.PathLike[str], name: str) -> HostArray:
    """One of the arrays in a safetensors file; no other is read into memory. bfloat16, which numpy lacks, comes as float32.

    The file is opened for this one, since what stays open keeps every page that was read mapped, and counted as memory.

    Raises:
        InputError: as `load_arrays`, or the array is of a type that numpy lacks.
    """
    with _opened(path) as file:
        kind = file.get_slice(name).get_dtype()
        if kind != "BF16":
            try:
                array: HostArray = file.get_tensor(name)
            except TypeError as error:
                raise InputError(f"{path} holds {name} as {kind}, which cannot be read: save it as float32, float16 or bfloat16") from error
            return array
    # a bfloat16 is the upper half of a float32
    return (map_array(path, name).astype(numpy.uint32) << 16).view(numpy.float32)


#: How `map_array` sees arrays of these types; bfloat16 as its bits.
_MAPPED = {"U16": "<u2", "BF16": "<u2", "U32": "<u4"}


def map_array(path: str | os.PathLike[str], name: str) -> HostArray:
    """One of the arrays in a safetensors file, of 16 or 32 bit numbers without sign, read from the disk where and when it is looked at.

    Raises `InputError` as `load_arrays` does.
    """
    with _opened(path):  # whole and well formed
        pass
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    return numpy.memmap(path, _MAPPED[entry["dtype"]], "r", offset=8 + length + entry["data_offsets"][0], shape=tuple(entry["shape"]))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text by name in a safetensors file's header. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


class StoredArrays(Mapping[str, HostArray]):
    """The arrays in a safetensors file by name, each read when it is asked for and not kept. Raises `InputError` as `load_arrays` does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._names = array_names(path)

    def __getitem__(self, name: str) -> HostArray:
        if name not in self._names:
            raise KeyError(name)
        return load_array(self._path, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A safetensors file to read from, with its errors as `InputError`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a regular file: name a safetensors file")
        path.open("rb").close()  # `safe_open` reports every failure to open as a missing file
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            f"{path} is truncated or is not a safetensors file ({error}): restore it from a copy, or train again in a new directory"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: check the directory, or train again to write one") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from error


def _plain_layout(array: HostArray) -> HostArray:
    """The same values in C order and the machine's byte order.

    safetensors writes an array's memory as it lies there: 0.8.0 stores the transpose of a transposed view, and strided views worse,
    without a word. `ascontiguousarray` makes a 0-d array 1-d, hence the reshape.
    """
    return numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _permissions(path: str | os.PathLike[str]) -> int | None:
    """The mode bits of a file; None if there is no file."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def _create_private(path: Path) -> None:
    """Create an empty file that only its owner may read; its modification time is 0 until something is written."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with suppress(OSError):
        os.utime(path, (0, 0))


def _flush_file(path: Path) -> None:
    """Have the disk hold the file's content before its name says so."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    """Have the disk hold the rename, where the system can open directories (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
