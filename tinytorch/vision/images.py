"""Labeled images in CPU memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labeled images.

    Attributes:
        images: uint8 (N, C, H, W), from 0 (black) to 255 (maximum intensity).
        labels: int64 (N), the class index of each image.
        classes: the class names.
        name: the name of the data set.

    Raises:
        ValueError: a shape or dtype is different, or a label is not a class index.

    Example:
        >>> from tinytorch.vision import ImageData
        >>> data = ImageData(numpy.zeros((10, 1, 8, 8), dtype="uint8"), numpy.arange(10) % 2, ("even", "odd"), "black")
        >>> train, test = data.split(0.2)
        >>> train
        ImageData('black', 8 images of shape (1, 8, 8), 2 classes)
    """

    images: NDArray[numpy.uint8]
    labels: NDArray[numpy.int64]
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.dtype != numpy.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 of shape (N, C, H, W), got {self.images.dtype} of shape {self.images.shape}")
        if self.labels.dtype != numpy.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 of shape ({len(self.images)},), got {self.labels.dtype} of shape {self.labels.shape}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must be between 0 and {len(self.classes) - 1}, got {self.labels.min()} to {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageData({self.name!r}, {len(self)} images of shape {self.images.shape[1:]}, {len(self.classes)} classes)"

    def subset(self, indices: Sequence[int] | slice | NDArray[Any]) -> ImageData:
        """The images at ``indices``, in that order."""
        return ImageData(self.images[indices], self.labels[indices], self.classes, self.name)

    def split(self, fraction: float, seed: int = 0) -> tuple[ImageData, ImageData]:
        """Hold out a random fraction of the images, stratified by class.

        The number of images of each class is exact to within one image. The images of each split keep their order. The split depends on
        ``seed`` only, not on `tinytorch.seed`, so that runs with different seeds are evaluated on the same images.

        Args:
            fraction: the fraction to hold out, between 0 and 1, both excluded: floor(N * fraction) images.
            seed: the seed of the random choice.

        Returns:
            The remaining images, and the held-out images.

        Raises:
            InputError: ``fraction`` is out of range, or a split is empty.
        """
        if not 0 < fraction < 1:
            raise InputError(f"`fraction` must be greater than 0 and less than 1, got {fraction}")
        exact = Fraction(str(fraction)).limit_denominator(10**6)
        order = numpy.random.default_rng(seed).permutation(len(self))
        order = order[numpy.argsort(self.labels[order], kind="stable")]  # shuffled within each class
        quota = numpy.arange(len(self) + 1) * exact.numerator // exact.denominator  # how many of the first k are held out
        held_out = numpy.zeros(len(self), dtype=bool)
        held_out[order] = numpy.diff(quota) == 1
        if not held_out.any() or held_out.all():
            raise InputError(
                f"{len(self)} images of {self.name} are too few for `fraction={fraction}`: use more images or another fraction"
            )
        return self.subset(~held_out), self.subset(held_out)

    def statistics(self) -> tuple[list[float], list[float]]:
        """The mean and standard deviation of each channel over all images, scaled to [0, 1], for `Normalize`."""
        values = numpy.arange(256) / 255
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            counts = numpy.zeros(256, dtype=numpy.int64)
            for start in range(0, len(self), 1024):  # in parts, because bincount copies to int64
                counts += numpy.bincount(self.images[start : start + 1024, channel].reshape(-1), minlength=256)
            mean = float(counts @ values / counts.sum())
            means.append(mean)
            deviations.append(float(numpy.sqrt(counts @ (values - mean) ** 2 / counts.sum())))
        return means, deviations
