"""Vision: image data sets, a data loader and transforms."""

from tinytorch.vision.cifar import read_cifar10
from tinytorch.vision.datasets import DATASETS, load_images
from tinytorch.vision.digits import read_digits
from tinytorch.vision.idx import read_idx, read_mnist
from tinytorch.vision.images import ImageData
from tinytorch.vision.loader import Batch, DataLoader
from tinytorch.vision.transforms import Augment, Normalize, shift_and_flip

__all__ = [
    "DATASETS",
    "Augment",
    "Batch",
    "DataLoader",
    "ImageData",
    "Normalize",
    "load_images",
    "read_cifar10",
    "read_digits",
    "read_idx",
    "read_mnist",
    "shift_and_flip",
]
