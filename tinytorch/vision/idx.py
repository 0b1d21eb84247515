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
from math import prod
from pathlib import Path

import numpy
from numpy.typing import NDArray

from tinytorch.errors import InputError
from tinytorch.vision.images import ImageData
from tinytorch.vision.reading import checked_directory, read_bytes

#: Names of the classes by data set.
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
}
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
    data = _decompressed(path)
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise InputError(f"{path} is no idx{dimensions}-ubyte file: {_MEND}")
    shape = tuple(numpy.frombuffer(data[4:start], dtype=">u4").tolist())
    if len(data) - start != prod(shape):
        raise InputError(f"{path} is damaged: {prod(shape)} values should follow its header, and {len(data) - start} do; {_MEND}")
    return numpy.frombuffer(data, dtype=numpy.uint8, offset=start).reshape(shape)


def _images(folder: Path, part: str, name: str) -> ImageData:
    images_path, labels_path = _find(folder, f"{part}-images", "idx3"), _find(folder, f"{part}-labels", "idx1")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)  # (N, 28, 28), (N)
    classes = CLASSES[name]
    if images.shape[1:] != (28, 28) or not len(images):
        raise InputError(f"{images_path} should hold images of 28x28, and its shape is {images.shape}: give the files of {name}")
    if len(labels) != len(images):
        raise InputError(f"{labels_path} has {len(labels)} labels for the {len(images)} images of {images_path}: copy both from one source")
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
        f"there is no {names[0]} in {folder}, compressed or not: give the directory with the four idx files as --data-dir, or leave "
        "--data-dir out to have them downloaded"
    )


def _decompressed(path: Path) -> bytes:
    """The file's content. Whether it is compressed shows in its first bytes, since browsers unpack and keep the name."""
    data = read_bytes(path)
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}): {_MEND}") from error
