"""Labelled images in host memory. A host module."""

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
    """Images and what they show.

    Attributes:
        images: uint8 (N, C, H, W), from 0 for no light to 255 for full light.
        labels: int64 (N), the number of each image's class.
        classes: the names of the classes.
        name: of the data set.

    Raises ``ValueError`` where shapes, types or labels are not as said.
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
            raise ValueError(f"labels must lie between 0 and {len(self.classes) - 1}, got {self.labels.min()} to {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageData({self.name!r}, {len(self)} images of shape {self.images.shape[1:]}, {len(self.classes)} classes)"

    def subset(self, indices: Sequence[int] | slice | NDArray[Any]) -> ImageData:
        """The images at ``indices``, in that order."""
        return ImageData(self.images[indices], self.labels[indices], self.classes, self.name)

    def split(self, fraction: float, seed: int = 0) -> tuple[ImageData, ImageData]:
        """Hold out a share of the images, drawn at random and spread over the classes.

        Each class gives its share to within one image. Within a part the images keep their order. The split depends on ``seed`` alone,
        and not on `tinytorch.seed`, so that runs of different seeds are measured on the same images.

        Args:
            fraction: the share that is held out, over 0 and under 1; floor(N * fraction) images.
            seed: of the draw.

        Returns:
            The rest, and what is held out.

        Raises:
            InputError: the fraction is out of range, or a part comes out empty.
        """
        if not 0 < fraction < 1:
            raise InputError(f"the share to hold out must be over 0 and under 1, and it is {fraction}")
        share = Fraction(str(fraction)).limit_denominator(10**6)
        order = numpy.random.default_rng(seed).permutation(len(self))
        order = order[numpy.argsort(self.labels[order], kind="stable")]  # shuffled within each class
        quota = numpy.arange(len(self) + 1) * share.numerator // share.denominator  # how many of the first k are held out
        held = numpy.zeros(len(self), dtype=bool)
        held[order] = numpy.diff(quota) == 1
        if not held.any() or held.all():
            raise InputError(f"{len(self)} images of {self.name} cannot be split at {fraction}: give more images or another share")
        return self.subset(~held), self.subset(held)

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over all images, as shares of full light: what `Normalise` takes."""
        values = numpy.arange(256) / 255
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            counts = numpy.zeros(256, dtype=numpy.int64)
            for start in range(0, len(self), 1024):  # counting makes a wider copy, so a part at a time
                counts += numpy.bincount(self.images[start : start + 1024, channel].reshape(-1), minlength=256)
            mean = float(counts @ values / counts.sum())
            means.append(mean)
            deviations.append(float(numpy.sqrt(counts @ (values - mean) ** 2 / counts.sum())))
        return means, deviations
