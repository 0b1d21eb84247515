"""The idx format of MNIST, and the data sets that come in it. A host module.

Two zero bytes, a type (8 for unsigned bytes), the number of dimensions, each dimension as four bytes, most significant first, then the
values. Files may be compressed with gzip.

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

#: Names of the classes by data set.
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
}
#: Bytes that are read at once: a header may say any number, of which none is there.
_PART = 2**20
_MEND = "copy it here again from its source"


def read_mnist(directory: str | os.PathLike[str], name: str = "mnist") -> tuple[ImageData, ImageData]:
    """The training and the test images of MNIST or Fashion-MNIST in a directory.

    The four files may be compressed or not, and be called ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, with or without
    ``.gz``. Both data sets use the same names, so the directory has to be the right one.

    Args:
        directory: where the files are.
        name: ``"mnist"`` or ``"fashion"``; chooses the names of the classes.

    Raises:
        InputError: a file is missing, truncated or something else.
    """
    folder = checked_directory(Path(directory))
    return _images(folder, "train", name), _images(folder, "t10k", name)


def read_idx(path: str | os.PathLike[str], dimensions: int) -> NDArray[numpy.uint8]:
    """The array of unsigned bytes in an idx file, compressed or not; read-only.

    Raises:
        InputError: the file is missing, truncated, is no idx file, or has another type or number of dimensions.
    """
    path = Path(path)
    with _unpacked(path) as file:
        return _values(file, path, _shape(file, path, dimensions))


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, unpacked as it is read. Whether it is packed shows in its first bytes, since browsers unpack and keep the name."""
    with opened(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged ({error}): {_MEND}") from error


def _shape(file: IO[bytes], path: Path, dimensions: int) -> tuple[int, ...]:
    """What the header says of the values that follow."""
    start = 4 + 4 * dimensions
    header = file.read(start)
    if not header:
        raise InputError(f"{path} is empty: {_MEND}")
    if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) < start:
        raise InputError(f"{path} is no idx{dimensions}-ubyte file: {_MEND}")
    return tuple(numpy.frombuffer(header[4:], dtype=">u4").tolist())


def _values(file: IO[bytes], path: Path, shape: tuple[int, ...]) -> NDArray[numpy.uint8]:
    """The values, read no further than the header says: a few bytes may be unpacked to any number."""
    size = prod(shape)
    data = bytearray()
    while len(data) <= size:  # one more than there should be, which also has the sum of what was unpacked checked
        part = file.read(min(_PART, size + 1 - len(data)))
        if not part:
            break
        data += part
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data)}"
        raise InputError(f"{path} is damaged: {size} values should follow its header, and {found} do; {_MEND}")
    values = numpy.frombuffer(data, dtype=numpy.uint8).reshape(shape)
    values.flags.writeable = False
    return values


def _images(folder: Path, part: str, name: str) -> ImageData:
    images_path, labels_path = _find(folder, f"{part}-images", "idx3"), _find(folder, f"{part}-labels", "idx1")
    with _unpacked(images_path) as file:
        shape = _shape(file, images_path, 3)
        if shape[1:] != (28, 28) or not shape[0]:
            raise InputError(f"{images_path} should hold images of 28x28, and its shape is {shape}: give the files of {name}")
        images = _values(file, images_path, shape)  # (N, 28, 28)
    with _unpacked(labels_path) as file:
        (count,) = _shape(file, labels_path, 1)
        if count != len(images):
            raise InputError(f"{labels_path} has {count} labels for the {len(images)} images of {images_path}: copy both from one source")
        labels = _values(file, labels_path, (count,))
    classes = CLASSES[name]
    if labels.max() >= len(classes):
        raise InputError(f"{labels_path} has the label {labels.max()}, over {len(classes) - 1}: give the files of {name}")
    return ImageData(images[:, None], labels.astype(numpy.int64), classes, name)


def _find(folder: Path, stem: str, kind: str) -> Path:
    """The file under one of its names."""
    names = [f"{stem}{sign}{kind}-ubyte{suffix}" for suffix in ("", ".gz") for sign in ("-", ".")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"there is no {names[0]} in {folder}, compressed or not: give the directory with the four idx files as `data_dir`, or leave "
        "`data_dir` out to have them downloaded"
    )
