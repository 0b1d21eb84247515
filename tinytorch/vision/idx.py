"""Reads the IDX format, and the data sets MNIST and Fashion-MNIST, which use it. Runs on the CPU.

A file has two zero bytes, a dtype (8 for uint8), the number of dimensions, each dimension as a big-endian 32-bit integer, then the values.
Files may be compressed with gzip.

Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist/; H. Xiao,
K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.vision.images import ImageData
from tinytorch.vision.reading import checked_directory, opened

#: Class names by data set.
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
}
#: Number of bytes to read at a time, because the size in a damaged header may be arbitrarily large.
_PART = 2**20
_HINT = "copy it here again from its source"


def read_mnist(directory: str | os.PathLike[str], name: str = "mnist") -> tuple[ImageData, ImageData]:
    """Read the training and test images of MNIST or Fashion-MNIST from a directory.

    The four files may be compressed or not, and may be named ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, with or without
    ``.gz``. The file names of both data sets are the same.

    Args:
        directory: the directory with the files.
        name: ``"mnist"`` or ``"fashion"``; selects the class names.

    Returns:
        The training images and the test images.

    Raises:
        InputError: a file is missing, truncated or not in this format.

    Example:
        >>> import pathlib, tempfile
        >>> from tinytorch.vision import read_mnist
        >>> images, labels = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28] + [0] * 784), bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     for part in ("train", "t10k"):
        ...         _ = (pathlib.Path(directory) / f"{part}-images-idx3-ubyte").write_bytes(images)
        ...         _ = (pathlib.Path(directory) / f"{part}-labels-idx1-ubyte").write_bytes(labels)
        ...     train, test = read_mnist(directory)
        >>> train
        ImageData('mnist', 1 images of shape (1, 28, 28), 10 classes)
    """
    folder = checked_directory(Path(directory))
    return _images(folder, "train", name), _images(folder, "t10k", name)


def read_idx(path: str | os.PathLike[str], dimensions: int) -> NDArray[numpy.uint8]:
    """Read the array in an IDX file of dtype uint8, compressed with gzip or not.

    Args:
        path: the file.
        dimensions: the required number of dimensions.

    Returns:
        A read-only array of uint8.

    Raises:
        InputError: the file is missing, truncated or not an IDX file, or has another dtype or number of dimensions.

    Example:
        >>> import pathlib, tempfile
        >>> from tinytorch.vision import read_idx
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory) / "labels-idx1-ubyte"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 9]))
        ...     read_idx(path, dimensions=1).tolist()
        [7, 0, 9]
    """
    path = Path(path)
    with _decompressed(path) as file:
        return _values(file, path, _shape(file, path, dimensions))


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, decompressed while reading. Its first bytes decide, because browsers may decompress a file and keep its name."""
    with opened(path) as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if compressed else file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged ({error}): {_HINT}") from error


def _shape(file: IO[bytes], path: Path, dimensions: int) -> tuple[int, ...]:
    """Read the header; returns the shape of the values."""
    start = 4 + 4 * dimensions
    header = file.read(start)
    if not header:
        raise InputError(f"{path} is empty: {_HINT}")
    if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) < start:
        raise InputError(f"{path} is not an idx{dimensions}-ubyte file: {_HINT}")
    return tuple(numpy.frombuffer(header[4:], dtype=">u4").tolist())


def _values(file: IO[bytes], path: Path, shape: tuple[int, ...]) -> NDArray[numpy.uint8]:
    """Read the values, at most one more than the header declares: a small compressed file may decompress to any size."""
    size = prod(shape)
    data = bytearray()
    while len(data) <= size:  # one more than declared, so that gzip reads to the end and verifies the checksum
        part = file.read(min(_PART, size + 1 - len(data)))
        if not part:
            break
        data += part
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data)}"
        raise InputError(f"{path} is damaged: its header declares {size} values, and the file has {found}; {_HINT}")
    values = numpy.frombuffer(data, dtype=numpy.uint8).reshape(shape)
    values.flags.writeable = False
    return values


def _images(folder: Path, part: str, name: str) -> ImageData:
    images_path, labels_path = _find(folder, f"{part}-images", "idx3"), _find(folder, f"{part}-labels", "idx1")
    with _decompressed(images_path) as file:
        shape = _shape(file, images_path, 3)
        if shape[1:] != (28, 28) or not shape[0]:
            raise InputError(f"{images_path} must have images of 28x28 pixels, got shape {shape}: pass the files of {name}")
        images = _values(file, images_path, shape)  # (N, 28, 28)
    with _decompressed(labels_path) as file:
        (count,) = _shape(file, labels_path, 1)
        if count != len(images):
            raise InputError(f"{labels_path} has {count} labels for the {len(images)} images of {images_path}: copy both from one source")
        labels = _values(file, labels_path, (count,))
    classes = CLASSES[name]
    if labels.max() >= len(classes):
        raise InputError(f"{labels_path} has the label {labels.max()}, larger than {len(classes) - 1}: pass the files of {name}")
    return ImageData(images[:, None], labels.astype(numpy.int64), classes, name)


def _find(folder: Path, stem: str, kind: str) -> Path:
    """The path of a file, which may have one of several names."""
    names = [f"{stem}{sign}{kind}-ubyte{suffix}" for suffix in ("", ".gz") for sign in ("-", ".")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"there is no {names[0]} in {folder}, compressed or not: pass the directory with the four IDX files as `data_dir`, or leave "
        "`data_dir` out to have them downloaded"
    )
