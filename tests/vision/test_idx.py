"""MNIST and Fashion-MNIST in IDX files, compressed or not, and the errors for invalid ones."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy
import pytest

from tests.vision.layouts import idx, mnist_arrays, write_mnist
from tinytorch.io.errors import InputError
from tinytorch.vision import load_images, read_idx, read_mnist


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_files_with_either_name_are_read_compressed_or_not(tmp_path: Path, suffix: str, dotted: bool) -> None:
    train, test = read_mnist(write_mnist(tmp_path, suffix, dotted))
    written = mnist_arrays()
    assert (train.images.dtype, train.labels.dtype) == (numpy.uint8, numpy.int64)
    numpy.testing.assert_array_equal(train.images, written["train-images-idx3-ubyte"][:, None])
    numpy.testing.assert_array_equal(train.labels, written["train-labels-idx1-ubyte"])
    numpy.testing.assert_array_equal(test.images, written["t10k-images-idx3-ubyte"][:, None])
    assert test.labels.tolist() == [1, 2]
    assert train.classes == tuple("0123456789")


def test_a_decompressed_file_with_the_suffix_gz_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(idx(numpy.array([3, 1])))
    assert read_idx(path, 1).tolist() == [3, 1]


def test_the_header_is_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "two.idx"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]))
    assert read_idx(path, 2).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_fashion_mnist_has_its_own_class_names(tmp_path: Path) -> None:
    train, _ = load_images("fashion", write_mnist(tmp_path))
    assert train.name == "fashion"
    assert train.classes[9] == "Ankle boot"


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BAD = {
    "truncated": (IMAGES, lambda data: data[:-1], "is damaged: its header declares 3136 values, and the file has 3135"),
    "too long": (LABELS, lambda data: data + b"\0", "is damaged: its header declares 4 values, and the file has more"),
    "truncated header": (IMAGES, lambda data: data[:10], "is not an idx3-ubyte file"),
    "empty": (IMAGES, lambda data: b"", "is empty"),
    "a web page": (LABELS, lambda data: b"<html>404</html>", "is not an idx1-ubyte file"),
    "another dtype": (LABELS, lambda data: b"\0\0\x0b\1" + data[4:], "is not an idx1-ubyte file"),
    "other dimensions": (IMAGES, lambda data: idx(numpy.zeros((4, 784))), "is not an idx3-ubyte file"),
    "other image size": (IMAGES, lambda data: idx(numpy.zeros((4, 20, 20))), r"must have images of 28x28 pixels, got shape \(4, 20, 20\)"),
    "no images": (IMAGES, lambda data: idx(numpy.zeros((0, 28, 28))), "must have images"),
    "compressed and truncated": (IMAGES, lambda data: gzip.compress(data)[:-20], "is truncated or damaged"),
    "compressed and damaged": (IMAGES, lambda data: gzip.compress(data)[:40] + bytes(100), "is truncated or damaged"),
    "a label over nine": (LABELS, lambda data: data[:-1] + b"\x0a", "has the label 10, larger than 9"),
    "fewer labels": (LABELS, lambda data: idx(numpy.zeros(3)), "has 3 labels for the 4 images"),
}


@pytest.mark.parametrize("damage", BAD)
def test_an_invalid_file_raises_an_error_with_its_path_and_a_suggestion(tmp_path: Path, damage: str) -> None:
    name, change, message = BAD[damage]
    path = write_mnist(tmp_path) / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        read_mnist(tmp_path)
    assert str(path) in str(caught.value)
    assert any(suggestion in str(caught.value) for suggestion in ("copy it", "copy both", "pass the files"))


@pytest.mark.parametrize("name", mnist_arrays())
def test_the_error_for_a_missing_file_has_its_name(tmp_path: Path, name: str) -> None:
    (write_mnist(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"there is no {name} in .*`data_dir`"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("huge_header", [True, False])
def test_a_damaged_compressed_file_does_not_exhaust_the_memory(tmp_path: Path, huge_header: bool) -> None:
    """A small file may decompress to gigabytes, or its header may declare gigabytes."""
    size = 64 * 2**20
    path = tmp_path / "bomb.gz"
    data = bytes([0, 0, 8, 1]) + (2**32 - 1 if huge_header else 4).to_bytes(4, "big")
    with gzip.open(path, "wb") as file:
        file.write(data)
        for _ in range(size // 2**20 if not huge_header else 1):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(InputError, match="its header declares"):
        read_idx(path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


def test_the_error_for_a_missing_directory_has_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none does not exist.*`data_dir`"):
        load_images("mnist", tmp_path / "none")
