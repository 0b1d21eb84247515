"""MNIST and Fashion-MNIST in idx files, compressed or not, and every way in which they can be bad."""

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
def test_both_spellings_are_read_compressed_or_not(tmp_path: Path, suffix: str, dotted: bool) -> None:
    train, test = read_mnist(write_mnist(tmp_path, suffix, dotted))
    written = mnist_arrays()
    assert (train.images.dtype, train.labels.dtype) == (numpy.uint8, numpy.int64)
    numpy.testing.assert_array_equal(train.images, written["train-images-idx3-ubyte"][:, None])
    numpy.testing.assert_array_equal(train.labels, written["train-labels-idx1-ubyte"])
    numpy.testing.assert_array_equal(test.images, written["t10k-images-idx3-ubyte"][:, None])
    assert test.labels.tolist() == [1, 2]
    assert train.classes == tuple("0123456789")


def test_a_file_that_a_browser_unpacked_under_its_old_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(idx(numpy.array([3, 1])))
    assert read_idx(path, 1).tolist() == [3, 1]


def test_the_header_is_read_most_significant_byte_first(tmp_path: Path) -> None:
    path = tmp_path / "two.idx"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]))
    assert read_idx(path, 2).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_fashion_has_classes_of_its_own(tmp_path: Path) -> None:
    train, _ = load_images("fashion", write_mnist(tmp_path))
    assert train.name == "fashion"
    assert train.classes[9] == "Ankle boot"


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BAD = {
    "truncated": (IMAGES, lambda data: data[:-1], "is damaged: 3136 values should follow its header, and 3135 do"),
    "too long": (LABELS, lambda data: data + b"\0", "is damaged: 4 values should follow its header, and more do"),
    "cut in the header": (IMAGES, lambda data: data[:10], "is no idx3-ubyte file"),
    "empty": (IMAGES, lambda data: b"", "is empty"),
    "a web page": (LABELS, lambda data: b"<html>404</html>", "is no idx1-ubyte file"),
    "another type": (LABELS, lambda data: b"\0\0\x0b\1" + data[4:], "is no idx1-ubyte file"),
    "other dimensions": (IMAGES, lambda data: idx(numpy.zeros((4, 784))), "is no idx3-ubyte file"),
    "other images": (IMAGES, lambda data: idx(numpy.zeros((4, 20, 20))), r"should hold images of 28x28, and its shape is \(4, 20, 20\)"),
    "no images": (IMAGES, lambda data: idx(numpy.zeros((0, 28, 28))), "should hold images"),
    "compressed and truncated": (IMAGES, lambda data: gzip.compress(data)[:-20], "is truncated or damaged"),
    "compressed and damaged": (IMAGES, lambda data: gzip.compress(data)[:40] + bytes(100), "is truncated or damaged"),
    "a label over nine": (LABELS, lambda data: data[:-1] + b"\x0a", "has the label 10, over 9"),
    "fewer labels": (LABELS, lambda data: idx(numpy.zeros(3)), "has 3 labels for the 4 images"),
}


@pytest.mark.parametrize("damage", BAD)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    name, spoil, message = BAD[damage]
    path = write_mnist(tmp_path) / name
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        read_mnist(tmp_path)
    assert str(path) in str(caught.value)
    assert any(mend in str(caught.value) for mend in ("copy it", "copy both", "give the files"))


@pytest.mark.parametrize("name", mnist_arrays())
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_mnist(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"there is no {name} in .*`data_dir`"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("honest", [True, False])
def test_what_is_packed_is_unpacked_no_further_than_the_header_says(tmp_path: Path, honest: bool) -> None:
    """A few kilobytes may be unpacked to gigabytes, and a header may promise them."""
    size = 64 * 2**20
    path = tmp_path / "bomb.gz"
    data = bytes([0, 0, 8, 1]) + (2**32 - 1 if honest else 4).to_bytes(4, "big")
    with gzip.open(path, "wb") as file:
        file.write(data)
        for _ in range(size // 2**20 if not honest else 1):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(InputError, match="should follow its header"):
        read_idx(path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none does not exist.*`data_dir`"):
        load_images("mnist", tmp_path / "none")
