"""Small data sets in the official file formats."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_records(labels: list[int], seed: int = 0) -> tuple[bytes, numpy.ndarray[Any, Any]]:
    """CIFAR-10 records with the given labels, and their images (N, 3, 32, 32)."""
    images = numpy.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), dtype=numpy.uint8)
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)), images


def write_cifar(folder: Path) -> Path:
    """Two training files of three and two images, and a test file of two."""
    folder.mkdir(exist_ok=True)
    (folder / "data_batch_1.bin").write_bytes(cifar_records([3, 0, 9], seed=1)[0])
    (folder / "data_batch_3.bin").write_bytes(cifar_records([1, 1], seed=3)[0])
    (folder / "test_batch.bin").write_bytes(cifar_records([5, 7], seed=9)[0])
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n", encoding="utf-8")
    return folder


def idx(values: numpy.ndarray[Any, Any]) -> bytes:
    """An array of uint8 in the IDX format."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.astype(numpy.uint8).tobytes()


def mnist_arrays() -> dict[str, numpy.ndarray[Any, Any]]:
    """The arrays that `write_mnist` writes, by file name."""
    random = numpy.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": random.integers(0, 256, (4, 28, 28)),
        "train-labels-idx1-ubyte": numpy.array([7, 0, 9, 0]),
        "t10k-images-idx3-ubyte": random.integers(0, 256, (2, 28, 28)),
        "t10k-labels-idx1-ubyte": numpy.array([1, 2]),
    }


def write_mnist(folder: Path, suffix: str = "", dotted: bool = False) -> Path:
    """Four training images and two test images; compressed with the suffix ``.gz``."""
    folder.mkdir(exist_ok=True)
    for name, values in mnist_arrays().items():
        data = gzip.compress(idx(values)) if suffix else idx(values)
        (folder / ((name.replace("-idx", ".idx") if dotted else name) + suffix)).write_bytes(data)
    return folder
