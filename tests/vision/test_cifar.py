"""CIFAR-10's binary files, and the errors for invalid ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from tests.vision.layouts import CLASSES, cifar_records, write_cifar
from tinytorch.io.errors import InputError
from tinytorch.vision import load_images, read_cifar10


def test_the_existing_training_files_are_read_in_order(tmp_path: Path) -> None:
    train, test = read_cifar10(write_cifar(tmp_path))
    assert train.images.shape == (5, 3, 32, 32)
    assert train.images.dtype == numpy.uint8
    assert train.labels.dtype == numpy.int64
    assert train.labels.tolist() == [3, 0, 9, 1, 1]
    numpy.testing.assert_array_equal(train.images[:3], cifar_records([3, 0, 9], seed=1)[1])
    numpy.testing.assert_array_equal(train.images[3:], cifar_records([1, 1], seed=3)[1])
    numpy.testing.assert_array_equal(test.images, cifar_records([5, 7], seed=9)[1])
    assert test.labels.tolist() == [5, 7]
    assert train.classes == test.classes == tuple(CLASSES)
    assert train.name == "cifar10"


def test_a_record_is_the_label_then_red_green_and_blue_row_by_row(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    record = bytearray(3073)
    record[0], record[1 + 1], record[1 + 1024 + 32], record[1 + 2048 + 1023] = 8, 10, 20, 30
    (folder / "test_batch.bin").write_bytes(record)
    _, test = read_cifar10(folder)
    assert test.labels.tolist() == [8]
    assert test.images[0, 0, 0, 1] == 10
    assert test.images[0, 1, 1, 0] == 20
    assert test.images[0, 2, 31, 31] == 30
    assert test.images.sum() == 60


def test_load_images_reads_cifar10(tmp_path: Path) -> None:
    train, test = load_images("cifar10", write_cifar(tmp_path))
    assert (len(train), len(test)) == (5, 2)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def write_invalid_label(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3073] = 10
    path.write_bytes(data)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write_text(path: Path) -> None:
    path.write_text("<html>404</html>", encoding="utf-8")


BAD = {
    "truncated": ("data_batch_3.bin", shorten, r"is truncated or not a CIFAR-10 file: 6145 bytes.*copy it again"),
    "truncated test": ("test_batch.bin", shorten, "is truncated"),
    "empty": ("data_batch_1.bin", empty, "is empty: copy it"),
    "a label over nine": ("data_batch_3.bin", write_invalid_label, "record 1 has the label 10, larger than 9; copy it again"),
    "a web page": ("test_batch.bin", write_text, "not a CIFAR-10 file: 16 bytes"),
    "a directory": ("data_batch_1.bin", make_directory, "is not a regular file.*`data_dir`"),
    "no test file": ("test_batch.bin", remove, "there is no file.*`data_dir`"),
    "no class names": ("batches.meta.txt", remove, "there is no file.*`data_dir`"),
    "too few class names": ("batches.meta.txt", write_text, "must have 10 class names, one per line, got 1"),
}


@pytest.mark.parametrize("damage", BAD)
def test_an_invalid_file_raises_an_error_with_its_path(tmp_path: Path, damage: str) -> None:
    name, change, message = BAD[damage]
    folder = write_cifar(tmp_path)
    change(folder / name)
    with pytest.raises(InputError, match=message) as caught:
        read_cifar10(folder)
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.mkdir(), r"there is no data_batch_1\.bin in .*`data_dir`"),
        (lambda path: path.write_bytes(b"x"), "is a file, not a directory.*`data_dir`"),
        (lambda path: None, "does not exist.*`data_dir`"),
    ],
    ids=["an empty directory", "a file", "nothing"],
)
def test_a_path_without_the_data_raises_an_error_with_it(tmp_path: Path, prepare: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "data"
    prepare(path)
    with pytest.raises(InputError, match=message) as caught:
        read_cifar10(path)
    assert str(path) in str(caught.value)
