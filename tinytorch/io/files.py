"""Atomic file writes, and safetensors files.

A host module: it works on paths, bytes and NumPy arrays. A write goes to a temporary file in the same directory, is flushed to disk, and is
then renamed to the target, so that after a crash either the old or the new file exists.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping
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
    """Yield a temporary path to write to; when the block ends without an error, this file replaces `path`.

    The temporary file is in the directory of the target (a rename cannot cross file systems) and has the same suffix (writers such as
    matplotlib choose the format by it). A symbolic link is followed: the file that it points to is replaced. If the block raises, the
    temporary file is removed and the target is unchanged.

    Args:
        path: the target. If it exists, its permissions are kept; otherwise they follow the umask.
        permissions_of: use the permissions of this file instead, if it exists.

    Raises:
        OSError: the directory is missing or not writable, the disk is full, or the block wrote no file.
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
    except BaseException as error:  # also on Ctrl-C, remove the temporary file
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # name the target, not the temporary file
        raise
    _flush_directory(target.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove temporary files that killed processes left while writing `path`. No process may be writing it now."""
    target = Path(os.path.realpath(path))
    pattern = re.compile(rf"\.{re.escape(target.stem)}-[0-9a-f]{{8}}{re.escape(target.suffix)}")
    for name in os.listdir(target.parent):
        if pattern.fullmatch(name):
            (target.parent / name).unlink(missing_ok=True)


@contextmanager
def sole_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lock `path` against writes by other processes until the block ends, and remove temporary files of killed processes.

    Does nothing on a file system without locks.

    Raises:
        InputError: another process is writing it.
        OSError: the directory is not writable.
    """
    target = Path(path)
    with locked(target.with_name(f".{target.name}.lock"), target) as unlocked:
        if unlocked is None:
            remove_leftovers(target)
        yield


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically. Raises OSError if the file cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 and without newline conversion. Raises OSError if the file cannot be written."""
    atomic_write_bytes(path, text.encode("utf-8"))


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file. Raises OSError for other files, since reading a pipe or a device might never end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # for a directory, read_bytes raises IsADirectoryError
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return Path(path).read_bytes()


#: The value of "format" in ``config.json`` of a training run.
RUN_FORMAT = "tinytorch-run"


def refuse_run(directory: str | os.PathLike[str]) -> None:
    """Raise `InputError` if a directory contains a training run, whose files must not be overwritten."""
    try:
        config = json.loads(read_regular(Path(directory) / "config.json"))
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("format") == RUN_FORMAT:
        raise InputError(f"{os.fspath(directory)} contains a training run, which would be overwritten; choose another directory")


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, HostArray],
    metadata: Mapping[str, str] | None = None,
    permissions_of: str | os.PathLike[str] | None = None,
    bfloat16: Collection[str] = (),
) -> None:
    """Write named host arrays and text metadata to a safetensors file atomically.

    Args:
        path: the file.
        arrays: host arrays of any shape and memory layout; boolean, integer or floating point.
        metadata: text by name, stored in the header of the file.
        permissions_of: as for `atomic_path`.
        bfloat16: names of the arrays to store as bfloat16; they contain its values, in float32 or a bfloat16 of another library.

    Raises:
        OSError: the file cannot be written.

    Source: https://github.com/huggingface/safetensors (format description).
    """
    from safetensors.numpy import save

    rows = {name: _plain_layout(_bfloat16_bits(array) if name in bfloat16 else array) for name, array in arrays.items()}
    content = save(rows, metadata=dict(metadata or {}))
    # not save_file of safetensors, which hides the reason of a disk error and creates a file that other users cannot read
    with atomic_path(path, permissions_of) as temporary:
        temporary.write_bytes(_declare_bfloat16(content, bfloat16) if bfloat16 else content)


def _bfloat16_bits(array: HostArray) -> HostArray:
    """The bits of bfloat16 values, uint16."""
    if array.dtype.itemsize == 2:  # a bfloat16 of ml_dtypes
        return array.view(numpy.uint16)
    return (array.astype(numpy.float32, copy=False).view(numpy.uint32) >> 16).astype(numpy.uint16)  # the lower half is 0


def _declare_bfloat16(content: bytes, names: Collection[str]) -> bytes:
    """A safetensors file in which the uint16 arrays with these names are declared as bfloat16, a dtype that numpy lacks."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name in names:
        header[name]["dtype"] = "BF16"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, HostArray], dict[str, str]]:
    """Read all arrays and the metadata of a safetensors file.

    Returns:
        The arrays by name (copies, writable) and the metadata.

    Raises:
        InputError: the file is missing, unreadable, truncated, or not a safetensors file.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return arrays, dict(file.metadata() or {})


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays in a safetensors file. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return list(file.keys())


def array_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a safetensors file by name, without reading the arrays. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def array_dtypes(path: str | os.PathLike[str]) -> dict[str, str]:
    """The dtypes of the arrays in a safetensors file by name, as the format names them, such as ``"BF16"``. Raises as `load_arrays`."""
    with _opened(path) as file:
        return {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def load_array(path: str | os.PathLike[str], name: str) -> HostArray:
    """Read one array of a safetensors file, without reading the others. bfloat16, which NumPy lacks, is converted to float32.

    The file is opened for each array, since the pages of an open file stay mapped and count as used memory.

    Raises:
        InputError: as `load_arrays`, or NumPy does not have the dtype of the array.
    """
    with _opened(path) as file:
        kind = file.get_slice(name).get_dtype()
        if kind != "BF16":
            try:
                array: HostArray = file.get_tensor(name)
            except TypeError as error:
                raise InputError(
                    f"{name} in {path} has dtype {kind}, which NumPy lacks: save it as float32, float16 or bfloat16"
                ) from error
            return array
    # a bfloat16 is the upper half of a float32
    return (map_array(path, name).astype(numpy.uint32) << 16).view(numpy.float32)


#: NumPy dtypes of the arrays that `map_array` supports; bfloat16 as its bits.
_MAPPED = {"U16": "<u2", "BF16": "<u2", "U32": "<u4"}


def map_array(path: str | os.PathLike[str], name: str) -> HostArray:
    """Memory-map one array of a safetensors file, of dtype uint16, uint32 or bfloat16 (as its bits).

    Raises `InputError` as `load_arrays` does.
    """
    with _opened(path):  # checks that the file is valid
        pass
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    return numpy.memmap(path, _MAPPED[entry["dtype"]], "r", offset=8 + length + entry["data_offsets"][0], shape=tuple(entry["shape"]))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file. Raises `InputError` as `load_arrays` does."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


class StoredArrays(Mapping[str, HostArray]):
    """A lazy mapping of the arrays in a safetensors file: each access reads the array. Raises `InputError` as `load_arrays` does."""

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
    """Open a safetensors file for reading; errors are raised as `InputError`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a regular file: pass the path of a safetensors file")
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
    """Convert an array to C order and native byte order.

    safetensors writes the memory of an array unchanged: version 0.8.0 stores wrong values for transposed and strided views, without an
    error. `ascontiguousarray` converts a 0-d array to 1-d, hence the reshape.
    """
    return numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _permissions(path: str | os.PathLike[str]) -> int | None:
    """The mode bits of a file; None if it does not exist."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def _create_private(path: Path) -> None:
    """Create an empty file that only its owner can read; its modification time is 0 until something is written."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with suppress(OSError):
        os.utime(path, (0, 0))


def _flush_file(path: Path) -> None:
    """Flush the content of a file to disk, before the rename."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    """Flush a rename to disk, if the system can open directories (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
