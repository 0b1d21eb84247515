"""Atomic file writes, and round trips of arrays through safetensors files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.io.files import (
    StoredArrays,
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    load_arrays,
    read_regular,
    remove_leftovers,
    save_arrays,
)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_bytes_and_text_are_written_unchanged(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a.bin", b"\x00\xff")
    atomic_write_text(tmp_path / "b.txt", "é\r\n\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b.txt").read_bytes() == b"\xc3\xa9\r\n\n"
    assert names(tmp_path) == ["a.bin", "b.txt"]


def test_the_old_file_exists_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "config.json"
    target.write_text("old", encoding="utf-8")
    with atomic_path(target) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert temporary.parent == target.parent
        assert target.read_text(encoding="utf-8") == "old"
    assert target.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["config.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "model.safetensors"
    target.write_text("good", encoding="utf-8")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n", encoding="utf-8")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text(encoding="utf-8") == "good"
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(("name", "kind"), [("none/a.txt", FileNotFoundError), ("folder", IsADirectoryError)])
def test_an_error_names_the_target_not_the_temporary_file(tmp_path: Path, name: str, kind: type[OSError]) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(kind) as caught:
        atomic_write_text(tmp_path / name, "a")
    assert str(caught.value).endswith(f": '{tmp_path / name}'")


def test_a_block_that_writes_nothing_raises_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "loss.svg"
    target.write_text("good", encoding="utf-8")
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert target.read_text(encoding="utf-8") == "good"


def test_the_temporary_file_has_the_suffix_of_the_target(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "loss.svg") as temporary:
        assert temporary.suffix == ".svg"
        temporary.write_text("<svg/>", encoding="utf-8")


def test_the_content_is_flushed_before_the_rename_and_the_directory_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        events.append("flush directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "flush file")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    atomic_write_text(tmp_path / "a.txt", "a")
    assert events == ["flush file", "rename", "flush directory"]


def test_a_new_file_has_the_default_permissions(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a.txt", "a")
    (tmp_path / "b.txt").write_text("b", encoding="utf-8")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    path.chmod(mode)
    atomic_write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    save_arrays(path, {"x": numpy.ones(2)})
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_permissions_of_another_file_can_be_used(tmp_path: Path) -> None:
    for like, mode in ((tmp_path / "none", 0o666 & ~umask()), (tmp_path / "private", 0o600)):
        if mode == 0o600:
            like.write_text("", encoding="utf-8")
            like.chmod(mode)
        with atomic_path(tmp_path / "a.txt", permissions_of=like) as temporary:
            temporary.write_text("a", encoding="utf-8")
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_temporary_file_for_a_private_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    (tmp_path / "a.txt").chmod(0o600)
    with atomic_path(tmp_path / "a.txt") as temporary, temporary.open("w") as file:
        file.write("secret")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_remove_leftovers_removes_only_temporary_files_of_the_target(tmp_path: Path) -> None:
    others = [".a-0123abcd.txt.bak", ".a-0123abcd.md", ".b-0123abcd.txt", ".a-notes.txt", "a.txt", "a-0123abcd.txt"]
    for name in (".a-0123abcd.txt", ".a-ffffffff.txt", *others):
        (tmp_path / name).write_text("", encoding="utf-8")
    remove_leftovers(tmp_path / "a.txt")
    assert names(tmp_path) == sorted(others)


def test_a_write_through_a_symbolic_link_replaces_its_target(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old", encoding="utf-8")
    link.symlink_to(real)
    atomic_write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "new"


ARRAYS: dict[str, NDArray[Any]] = {
    "C order": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
    "transposed": numpy.arange(6, dtype=numpy.float32).reshape(2, 3).T,
    "strided": numpy.arange(20, dtype=numpy.int64)[1::3],
    "reversed": numpy.arange(5, dtype=numpy.float64)[::-1],
    "broadcast": numpy.broadcast_to(numpy.float32(2.0), (3, 2)),
    "other byte order": numpy.arange(4, dtype=">f4"),
    "0-d": numpy.asarray(7, dtype=numpy.int64),
    "empty": numpy.zeros((0, 3), dtype=numpy.float32),
    "boolean": numpy.asarray([True, False]),
    "half": numpy.asarray([1.5, -2.0], dtype=numpy.float16),
}


@pytest.mark.parametrize("layout", ARRAYS)
def test_a_round_trip_keeps_values_shape_and_dtype_for_any_memory_layout(tmp_path: Path, layout: str) -> None:
    array = ARRAYS[layout]
    save_arrays(tmp_path / "a.safetensors", {"x": array})
    loaded, _ = load_arrays(tmp_path / "a.safetensors")
    assert loaded["x"].shape == array.shape
    assert loaded["x"].dtype == array.dtype.newbyteorder("=")
    numpy.testing.assert_array_equal(loaded["x"], array)


def test_a_round_trip_keeps_names_and_metadata_and_loaded_arrays_are_writable(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"layers.0.weight": numpy.ones(2), "step": numpy.asarray(3)}, {"step": "3", "café": "naïve"})
    arrays, metadata = load_arrays(path)
    assert sorted(arrays) == ["layers.0.weight", "step"]
    assert metadata == {"step": "3", "café": "naïve"}
    arrays["layers.0.weight"][0] = 5
    numpy.testing.assert_array_equal(load_arrays(path)[0]["layers.0.weight"], [1, 1])


def test_no_metadata_is_an_empty_mapping(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.safetensors", {"x": numpy.ones(2)})
    assert load_arrays(tmp_path / "a.safetensors")[1] == {}


def test_a_truncated_file_raises_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_arrays(path, {"x": numpy.arange(8.0)}, {"step": "3"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="truncated") as caught:
            load_arrays(path)
        assert str(path) in str(caught.value)


def test_a_file_of_another_format_raises(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"PK\x03\x04 this is a zip archive, but not really")
    with pytest.raises(InputError, match=r"model\.safetensors is truncated or is not a safetensors file"):
        load_arrays(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no file"),
        (Path.mkdir, "is not a regular file"),
        (os.mkfifo if hasattr(os, "mkfifo") else Path.mkdir, "is not a regular file"),
        (lambda path: path.symlink_to(path), r"cannot be read \(Too many levels of symbolic links\)"),
    ],
)
def test_an_unreadable_path_raises_with_the_reason(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_arrays(path)
    assert str(path) in str(caught.value)


def test_a_file_without_read_permission_raises_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": numpy.ones(2)})

    def forbidden(*args: Any, **kwargs: Any) -> Any:  # as after `chmod 0`, for users other than root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read \(Permission denied\)"):
        load_arrays(path)


def test_stored_arrays_are_read_on_access(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_arrays(path, {"a": numpy.arange(3.0), "b": numpy.ones((2, 2))})
    stored = StoredArrays(path)
    assert sorted(stored) == ["a", "b"]
    assert len(stored) == 2
    assert stored["a"].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(KeyError):
        stored["c"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_reading_a_pipe_raises(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        read_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    (tmp_path / "file").write_bytes(b"\0")
    assert read_regular(tmp_path / "file") == b"\0"
