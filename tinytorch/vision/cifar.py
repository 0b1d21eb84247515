"""CIFAR-10 in its official binary layout. A host module.

Each file is a row of records of 3073 bytes: the label, then 1024 bytes each of red, green and blue, row by row.

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
#: A full set of training files.
TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
META = "batches.meta.txt"
_MEND = "copy it again from the official cifar-10-binary.tar.gz"


def read_cifar10(directory: str | os.PathLike[str]) -> tuple[ImageData, ImageData]:
    """The training and the test images in a directory that was unpacked from ``cifar-10-binary.tar.gz``.

    Those of ``data_batch_1.bin`` to ``data_batch_5.bin`` that are there are the training images; ``test_batch.bin`` and
    ``batches.meta.txt`` are needed.

    Raises:
        InputError: a file is missing, truncated or something else.
    """
    folder = checked_directory(Path(directory))
    training = [folder / name for name in TRAINING if (folder / name).exists()]
    if not training:
        raise InputError(
            f"there is no {TRAINING[0]} in {folder}: give the directory of CIFAR-10's binary version as `data_dir`, often "
            "called cifar-10-batches-bin, or leave `data_dir` out to have it downloaded"
        )
    classes = _classes(folder / META)
    return _images(training, classes), _images([folder / TEST], classes)


def _images(paths: list[Path], classes: tuple[str, ...]) -> ImageData:
    """The records of several files, one after another."""
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
        raise InputError(f"{path} is truncated or is no CIFAR-10 file: {data.size} bytes are not a multiple of {_RECORD}; {_MEND}")
    records = data.reshape(-1, _RECORD)
    bad = numpy.flatnonzero(records[:, 0] >= classes)
    if bad.size:
        raise InputError(f"{path} is no CIFAR-10 file: record {bad[0]} has the label {records[bad[0], 0]}, over {classes - 1}; {_MEND}")
    return records


def _classes(path: Path) -> tuple[str, ...]:
    """The ten names in ``batches.meta.txt``."""
    names = tuple(line.strip() for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != 10:
        raise InputError(f"{path} should name 10 classes, one a line, and has {len(names)}: {_MEND}")
    return names
