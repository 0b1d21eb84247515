"""What is done to images on their way into a model: whole batches at a time, on the device.

A transform is the first module of a model, ``nn.Sequential(Augment(...), network)``, so it goes along to a device, into checkpoints, and
into a compiled step, and `Module.eval` turns its random part off. Images are data: no gradient goes through a transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api import asarray, astype, reshape
from tinytorch.autograd.operation import operation
from tinytorch.nn.module import Module
from tinytorch.ops import random
from tinytorch.ops.random_bits import random_bits
from tinytorch.tensor import Tensor

#: What may take the place of pixels that a shift brings in from outside.
PADDINGS = ("zeros", "reflect")


class Normalise(Module):
    """Turns bytes into numbers of mean 0 and standard deviation 1, channel by channel: ``(x / 255 - mean) / std``.

    Args:
        mean, std: of each channel, as shares of full light, such as `ImageData.statistics` gives.

    Shape:
        uint8 (B, C, H, W) -> float32 (B, C, H, W); ``mean`` and ``std`` are buffers of shape (C).

    Raises ``TypeError`` for images that are not uint8, and ``ValueError`` for another number of channels or a ``std`` of 0.
    """

    batch_independent = True

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(f"{type(self).__name__} needs a mean and a std for each channel, got {len(mean)} and {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"{type(self).__name__} needs std above 0, got {list(std)}: a channel that never changes says nothing")
        self.register_buffer("mean", asarray([float(m) for m in mean], dtype="float32"))
        self.register_buffer("std", asarray([float(s) for s in std], dtype="float32"))

    def forward(self, images: Tensor) -> Tensor:
        channels = self.mean.shape[0]
        if images.dtype.name != "uint8":
            raise TypeError(f"{type(self).__name__} expects images of bytes (uint8), got {images.dtype.name}")
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(f"{type(self).__name__} expects images of shape (B, {channels}, H, W), got {tuple(images.shape)}")
        scale = 1.0 / (255.0 * self.std)
        offset = self.mean / self.std
        x = astype(self.moved(images), self.mean.dtype)
        return x * reshape(scale, (channels, 1, 1)) - reshape(offset, (channels, 1, 1))

    def moved(self, images: Tensor) -> Tensor:
        """The images before they are normalised; here as they are."""
        return images

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={[round(v, 4) for v in getattr(self, name).tolist()]}" for name in ("mean", "std"))


class Augment(Normalise):
    """`Normalise`, and in training first moves each image a little at random, so that a model sees more than there is.

    Args:
        mean, std: as in `Normalise`.
        flip: whether half of the images, at random, are mirrored left to right.
        shift: how many pixels at most an image is moved along each side; every move is equally likely.
        padding: what comes in from outside: ``"zeros"``, no light, or ``"reflect"``, the image mirrored at its outermost pixels.

    Shape:
        uint8 (B, C, H, W) -> float32 (B, C, H, W).

    The same draws are made on every backend, and in a training step they are those of the step's key; see `tinytorch.ops.random.draws`.

    Source: He et al. 2015, arXiv:1512.03385, section 4.2, with ``shift=4`` and zeros on CIFAR-10.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], flip: bool = True, shift: int = 4, padding: str = "zeros") -> None:
        super().__init__(mean, std)
        if shift < 0:
            raise ValueError(f"shift must be 0 pixels or more, got {shift}")
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
        self.flip = flip
        self.shift = shift
        self.padding = padding

    def moved(self, images: Tensor) -> Tensor:
        if not self.training or not (self.flip or self.shift):
            return images
        draws = random.draws(images.backend)
        shard = draws.shard.scale(images.shape[0]) if draws.shard else None
        among = (shard.offset, shard.total) if shard else None
        return shift_and_flip(
            images, draws.key, site=draws.next_site(), shift=self.shift, flip=self.flip, padding=self.padding, among=among
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, flip={self.flip}, shift={self.shift}, padding={self.padding!r}"


@operation
def shift_and_flip(
    xp: Any,
    images: Tensor,
    key: Tensor,
    /,
    *,
    site: int,
    shift: int = 0,
    flip: bool = False,
    padding: str = "zeros",
    among: tuple[int, int] | None = None,
) -> Tensor:
    """Each image moved by up to ``shift`` pixels along each side, then mirrored left to right or not, all at random.

    One gather for the whole batch: which row and which column a pixel comes from is drawn for each image, and their sum is its place.

    Args:
        images: (B, C, H, W), of any type.
        key, site: see `tinytorch.ops.random_bits.random_bits`; draws 3 B numbers: rows, columns, mirrors.
        among: how many images come before these in the batch that they are a part of, and how many there are in all.

    Raises:
        ValueError: ``"reflect"`` with a shift as large as the image.
    """
    b, c, height, width = images.shape
    if padding == "reflect" and shift >= min(height, width):
        raise ValueError(f"an image of {height}x{width} cannot be reflected over {shift} pixels: use a smaller shift")
    before, whole = (0, b) if among is None else among
    bits = random_bits(xp, key, site, (3, whole))[:, before : before + b]
    rows = xp.arange(height)[None, :] + (bits[0, :] % (2 * shift + 1) - shift)[:, None]  # (B, H)
    columns = xp.arange(width)[None, :]
    if flip:
        columns = xp.where((bits[2, :] >= 2**30)[:, None], width - 1 - columns, columns)
    columns = columns + (bits[1, :] % (2 * shift + 1) - shift)[:, None]  # (B, W)
    if padding == "reflect" or shift == 0:
        rows, columns = _reflected(xp, rows, height), _reflected(xp, columns, width)
    else:  # one line of zeros around the image is enough: what lies farther out is read there too
        images = _framed(xp, images)
        rows, columns = xp.clip(rows + 1, 0, height + 1), xp.clip(columns + 1, 0, width + 1)
    framed_height, framed_width = images.shape[2:]
    places = rows[:, :, None] * framed_width + columns[:, None, :]  # (B, H, W), within a plane
    planes = xp.reshape(xp.arange(b * c) * (framed_height * framed_width), (b, c, 1, 1))
    places = xp.reshape(planes + places[:, None, :, :], (-1,))
    return xp.reshape(xp.take(xp.reshape(images, (-1,)), places, axis=0), (b, c, height, width))


shift_and_flip.no_derivative("images are data, and nothing before them learns")


def _reflected(xp: Any, places: Any, size: int) -> Any:
    """Places up to ``size - 1`` outside of 0 to size - 1, mirrored at the first and the last."""
    places = xp.abs(places)
    return xp.where(places >= size, 2 * (size - 1) - places, places)


def _framed(xp: Any, images: Any) -> Any:
    """The images with a line of zeros on each side: (B, C, H + 2, W + 2)."""
    b, c, height, width = images.shape
    line = xp.zeros((b, c, 1, width), dtype=images.dtype)
    images = xp.concat([line, images, line], axis=2)
    line = xp.zeros((b, c, height + 2, 1), dtype=images.dtype)
    return xp.concat([line, images, line], axis=3)
