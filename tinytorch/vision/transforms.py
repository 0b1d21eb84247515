"""Image transforms: normalization and data augmentation of whole batches, on the device.

A transform is the first module of a model, ``nn.Sequential(Augment(...), network)``. So it is moved to devices, saved in checkpoints and
compiled with the model, and `Module.eval` turns augmentation off. Transforms have no gradient with respect to
the images, so use them only on the model's input.
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

#: The values of ``padding`` in `shift_and_flip`.
PADDINGS = ("zeros", "reflect")


class Normalize(Module):
    """Normalizes the channels of uint8 images to mean 0 and standard deviation 1: ``(x / 255 - mean) / std``.

    Args:
        mean, std: mean and standard deviation of each channel, scaled to [0, 1], such as those of `ImageData.statistics`.

    Shape:
        uint8 (B, C, H, W) -> float32 (B, C, H, W); ``mean`` and ``std`` are buffers of shape (C).

    Raises:
        TypeError: the images are not uint8.
        ValueError: the images have another number of channels, or ``std`` is not positive.

    Example:
        >>> from tinytorch.vision import Normalize
        >>> normalize = Normalize(mean=[0.5], std=[0.25])
        >>> normalize(tt.asarray([[[[0, 255]]]], dtype="uint8"))
        Tensor([[[[-2.,  2.]]]], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(f"{type(self).__name__} needs a mean and a std for each channel, got {len(mean)} and {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"{type(self).__name__} needs std above 0, got {list(std)}: a constant channel cannot be normalized")
        self.register_buffer("mean", asarray([float(m) for m in mean], dtype="float32"))
        self.register_buffer("std", asarray([float(s) for s in std], dtype="float32"))

    def forward(self, images: Tensor) -> Tensor:
        channels = self.mean.shape[0]
        if images.dtype.name != "uint8":
            raise TypeError(f"{type(self).__name__} expects images of dtype uint8, got {images.dtype.name}")
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(f"{type(self).__name__} expects images of shape (B, {channels}, H, W), got {tuple(images.shape)}")
        scale = 1.0 / (255.0 * self.std)
        offset = self.mean / self.std
        x = astype(self.augment(images), self.mean.dtype)
        return x * reshape(scale, (channels, 1, 1)) - reshape(offset, (channels, 1, 1))

    def augment(self, images: Tensor) -> Tensor:
        """Augment images before normalization; the default returns them unchanged."""
        return images

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={[round(v, 4) for v in getattr(self, name).tolist()]}" for name in ("mean", "std"))


class Augment(Normalize):
    """`Normalize` with data augmentation: in training mode each image is first shifted and flipped at random.

    The random numbers are the same on every backend; in a training step they depend on the step's key, see `tinytorch.ops.random.draws`.

    Args:
        mean, std: see `Normalize`.
        flip: whether to flip each image horizontally with probability 1/2.
        shift: maximum shift along each axis, in pixels; all shifts are equally likely.
        padding: pixels outside the image: ``"zeros"``, or ``"reflect"`` for the image reflected at its outermost pixels.

    Shape:
        uint8 (B, C, H, W) -> float32 (B, C, H, W).

    Raises:
        ValueError: ``shift`` is negative, ``padding`` is unknown, or as in `Normalize`.

    Source: He et al. 2015, arXiv:1512.03385, section 4.2, with ``shift=4`` and zeros on CIFAR-10.

    Example:
        >>> from tinytorch.vision import Augment
        >>> model = nn.Sequential(Augment(mean=[0.5], std=[0.25], shift=1), nn.Flatten(), nn.Linear(64, 10))
        >>> model(tt.zeros((4, 1, 8, 8), dtype="uint8")).shape
        (4, 10)
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], flip: bool = True, shift: int = 4, padding: str = "zeros") -> None:
        super().__init__(mean, std)
        if shift < 0:
            raise ValueError(f"shift must be at least 0, got {shift}")
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
        self.flip = flip
        self.shift = shift
        self.padding = padding

    def augment(self, images: Tensor) -> Tensor:
        if not self.training or not (self.flip or self.shift):
            return images
        draws = random.draws(images.backend)
        shard = draws.shard.scale(images.shape[0]) if draws.shard else None
        position = (shard.offset, shard.total) if shard else None
        return shift_and_flip(
            images, draws.key, site=draws.next_site(), shift=self.shift, flip=self.flip, padding=self.padding, shard=position
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
    shard: tuple[int, int] | None = None,
) -> Tensor:
    """Shift each image by up to ``shift`` pixels along each axis, and flip it horizontally with probability 1/2.

    Implemented as one gather for the whole batch, at indices that are computed from the random source row and column of each pixel.

    Args:
        images: (B, C, H, W), any dtype.
        key, site: see `tinytorch.ops.random_bits.random_bits`; uses 3 B numbers: vertical shifts, horizontal shifts and flips.
        shift: maximum shift, in pixels.
        flip: whether to flip images.
        padding: pixels outside the image, ``"zeros"`` or ``"reflect"``.
        shard: for a shard of a batch: the offset of its first image in the batch, and the batch size. Defaults to a whole batch.

    Returns:
        (B, C, H, W), of the same dtype.

    Raises:
        ValueError: ``padding`` is ``"reflect"`` and ``shift`` is not less than the height and the width.

    Example:
        >>> from tinytorch.vision import shift_and_flip
        >>> images = tt.reshape(tt.arange(6), (1, 1, 2, 3))
        >>> shift_and_flip(images, tt.asarray([0, 1], dtype="int32"), site=0, shift=1).shape
        (1, 1, 2, 3)
    """
    b, c, height, width = images.shape
    if padding == "reflect" and shift >= min(height, width):
        raise ValueError(f"images of {height}x{width} pixels are too small for a reflected shift of {shift} pixels: use a smaller shift")
    first, total = (0, b) if shard is None else shard
    bits = random_bits(xp, key, site, (3, total))[:, first : first + b]
    rows = xp.arange(height)[None, :] + (bits[0, :] % (2 * shift + 1) - shift)[:, None]  # (B, H)
    columns = xp.arange(width)[None, :]
    if flip:
        columns = xp.where((bits[2, :] >= 2**30)[:, None], width - 1 - columns, columns)
    columns = columns + (bits[1, :] % (2 * shift + 1) - shift)[:, None]  # (B, W)
    if padding == "reflect" or shift == 0:
        rows, columns = _reflect(xp, rows, height), _reflect(xp, columns, width)
    else:  # pad by one pixel only, and clip indices farther outside to it
        images = _pad_with_zeros(xp, images)
        rows, columns = xp.clip(rows + 1, 0, height + 1), xp.clip(columns + 1, 0, width + 1)
    padded_height, padded_width = images.shape[2:]
    indices = rows[:, :, None] * padded_width + columns[:, None, :]  # (B, H, W), within a channel
    offsets = xp.reshape(xp.arange(b * c) * (padded_height * padded_width), (b, c, 1, 1))
    indices = xp.reshape(offsets + indices[:, None, :, :], (-1,))
    return xp.reshape(xp.take(xp.reshape(images, (-1,)), indices, axis=0), (b, c, height, width))


shift_and_flip.no_derivative("it augments input images; apply it before all layers with parameters")


def _reflect(xp: Any, indices: Any, size: int) -> Any:
    """Reflect out-of-bounds indices, by up to ``size - 1``, at 0 and ``size - 1``."""
    indices = xp.abs(indices)
    return xp.where(indices >= size, 2 * (size - 1) - indices, indices)


def _pad_with_zeros(xp: Any, images: Any) -> Any:
    """The images with one pixel of zeros on each side: (B, C, H + 2, W + 2)."""
    b, c, height, width = images.shape
    zeros = xp.zeros((b, c, 1, width), dtype=images.dtype)
    images = xp.concat([zeros, images, zeros], axis=2)
    zeros = xp.zeros((b, c, height + 2, 1), dtype=images.dtype)
    return xp.concat([zeros, images, zeros], axis=3)
