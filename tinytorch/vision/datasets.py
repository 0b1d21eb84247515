"""Loads image data sets by name, from a directory or by download."""

from __future__ import annotations

import os

from tinytorch.io.cache import cache_directory
from tinytorch.io.errors import InputError
from tinytorch.vision import cifar
from tinytorch.vision.cifar import read_cifar10
from tinytorch.vision.digits import read_digits
from tinytorch.vision.download import Remote, fetch_archive, fetch_files
from tinytorch.vision.idx import read_mnist
from tinytorch.vision.images import ImageData

#: The names of the data sets of `load_images`.
DATASETS = ("digits", "mnist", "fashion", "cifar10")

#: The checksum is that of https://www.cs.toronto.edu/~kriz/cifar.html.
_CIFAR10 = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
_MNIST_SITE = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # PyTorch's mirror
_FASHION_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

#: Fashion-MNIST's checksums are those of https://github.com/zalandoresearch/fashion-mnist, MNIST's are torchvision's.
_IDX_FILES = {
    "mnist": (
        Remote(_MNIST_SITE + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Remote(_MNIST_SITE + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        Remote(_MNIST_SITE + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        Remote(_MNIST_SITE + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "fashion": (
        Remote(_FASHION_SITE + "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Remote(_FASHION_SITE + "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        Remote(_FASHION_SITE + "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        Remote(_FASHION_SITE + "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}


def load_images(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[ImageData, ImageData]:
    """Load the training and test images of a data set.

    Args:
        name: ``"digits"`` (8x8, comes with scikit-learn), ``"mnist"`` or ``"fashion"`` (28x28, grayscale), or ``"cifar10"`` (32x32, color).
        data_dir: the directory with the data set's files. Without it they are downloaded once and cached; see `cache_directory`.

    Returns:
        The training images and the test images.

    Raises:
        InputError: the name is unknown, a file is missing, truncated or not in the right format, a package is not installed, or the
            download fails.

    Example:
        >>> from tinytorch.vision import load_images
        >>> train, test = load_images("digits")
        >>> train
        ImageData('digits', 1438 images of shape (1, 8, 8), 10 classes)
    """
    if name not in DATASETS:
        raise InputError(f"there is no data set {name!r}: choose one of {', '.join(DATASETS)}")
    if name == "digits":
        if data_dir is not None:
            raise InputError("the digits come with scikit-learn and not from files: leave `data_dir` out")
        return read_digits()
    if name == "cifar10":
        return read_cifar10(_download_cifar10() if data_dir is None else data_dir)
    return read_mnist(fetch_files(_IDX_FILES[name], cache_directory() / name) if data_dir is None else data_dir, name)


def _download_cifar10() -> os.PathLike[str]:
    return fetch_archive(_CIFAR10, [*cifar.TRAINING, cifar.TEST, cifar.META], cache_directory() / "cifar-10-batches-bin")
