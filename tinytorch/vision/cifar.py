"""Reads CIFAR-10 in its binary version. Runs on the CPU.

Each file is a sequence of records of 3073 bytes: the label, then 1024 bytes each of red, green and blue, row by row.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.vision.images import ImageData
from tinytorch.vision.reading import checked_directory, read_bytes

SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
#: All training files.
TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
META = "batches.meta.txt"
_HINT = "copy it again from the official cifar-10-binary.tar.gz"


def read_cifar10(directory: str | os.PathLike[str]) -> tuple[ImageData, ImageData]:
    """Read CIFAR-10 from a directory with the files of ``cifar-10-binary.tar.gz``.

    Training files, ``data_batch_1.bin`` to ``data_batch_5.bin``, may be missing except for one; ``test_batch.bin`` and
    ``batches.meta.txt`` are required.

    Args:
        directory: the directory.

    Returns:
        The training images and the test images.

    Raises:
        InputError: a file is missing, truncated or not in this format.

    Example:
        >>> import pathlib, tempfile
        >>> from tinytorch.vision import read_cifar10
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     for name in ("data_batch_1.bin", "test_batch.bin"):
        ...         _ = (pathlib.Path(directory) / name).write_bytes(bytes(3073))
        ...     _ = (pathlib.Path(directory) / "batches.meta.txt").write_text("\\n".join("abcdefghij"))
        ...     train, test = read_cifar10(directory)
        >>> train
        ImageData('cifar10', 1 images of shape (3, 32, 32), 10 classes)
    """
    folder = checked_directory(Path(directory))
    training = [folder / name for name in TRAINING if (folder / name).exists()]
    if not training:
        raise InputError(
            f"there is no {TRAINING[0]} in {folder}: pass the directory of CIFAR-10's binary version as `data_dir`, often "
            "called cifar-10-batches-bin, or leave `data_dir` out to have it downloaded"
        )
    classes = _classes(folder / META)
    return _images(training, classes), _images([folder / TEST], classes)


def _images(paths: list[Path], classes: tuple[str, ...]) -> ImageData:
    """The concatenated images of several files."""
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for path in paths:
        records = _records(path, len(classes))  # (N, 3073)
        labels.append(records[:, 0])
        images.append(records[:, 1:].reshape(-1, *SHAPE))
    return ImageData(numpy.concatenate(images), numpy.concatenate(labels).astype(numpy.int64), classes, "cifar10")


def _records(path: Path, classes: int) -> NDArray[numpy.uint8]:
    data = numpy.frombuffer(read_bytes(path), dtype=numpy.uint8)
    if data.size % _RECORD:
        raise InputError(f"{path} is truncated or not a CIFAR-10 file: {data.size} bytes are not a multiple of {_RECORD}; {_HINT}")
    records = data.reshape(-1, _RECORD)
    bad = numpy.flatnonzero(records[:, 0] >= classes)
    if bad.size:
        label = records[bad[0], 0]
        raise InputError(f"{path} is not a CIFAR-10 file: record {bad[0]} has the label {label}, larger than {classes - 1}; {_HINT}")
    return records


def _classes(path: Path) -> tuple[str, ...]:
    """The ten class names in ``batches.meta.txt``."""
    names = tuple(line.strip() for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != 10:
        raise InputError(f"{path} must have 10 class names, one per line, got {len(names)}: {_HINT}")
    return names
