"""The convolutional networks of Yann LeCun and his colleagues, in the form of their time and in today's."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.nn.activation import ReLU, Tanh
from tinytorch.nn.containers import Sequential
from tinytorch.nn.convolution import AvgPool2d, Conv2d, Flatten, MaxPool2d, check_images
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.validation import checked_sizes
from tinytorch.tensor import Tensor

Image = tuple[int, int, int]  #: (C, H, W)

_KERNEL = 5
_PADDING = 2  # keeps a map's size


class _LeNet(Module):
    """Two convolutions with 5x5 filters, each followed by 2x2 pooling, and dense layers.

    The classic form has tanh and average pooling, the modern one rectifiers and max pooling. What is left out of the papers' networks in
    both: the coefficients by which their pooling is scaled, and the tables of which map is connected to which (here all are).
    """

    batch_independent = True

    def __init__(self, image: Image, made_for: int, maps: tuple[int, int], dense: Sequence[int], classes: int, classic: bool) -> None:
        super().__init__()
        name = type(self).__name__
        if len(image) != 3 or min(image[1:]) < 4:
            raise ValueError(f"{name} needs image=(channels, height, width) of at least 4 x 4 pixels, got {image}")
        checked_sizes(name, channels=image[0], classes=classes)
        self.image = tuple(image)
        channels, *size = image
        layers: list[Module] = []
        # images that are smaller than those the network was made for are padded, and so are maps that 5x5 windows would leave nothing of
        for out_channels, enough in zip(maps, (made_for, _KERNEL + 1), strict=True):
            padding = _PADDING if min(size) < enough else 0
            layers += [Conv2d(channels, out_channels, _KERNEL, padding=padding), *_squash_and_pool(classic)]
            channels = out_channels
            size = [(n + 2 * padding - _KERNEL + 1) // 2 for n in size]
        self.features = Sequential(*layers)
        widths = [channels * size[0] * size[1], *dense]
        layers = [Flatten()]
        for i in range(len(dense)):
            layers += [Linear(widths[i], widths[i + 1]), Tanh() if classic else ReLU()]
        self.classifier = Sequential(*layers, Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        check_images(type(self).__name__, x)
        if tuple(x.shape[1:]) != self.image:
            raise ValueError(
                f"{type(self).__name__} was made for images of {self.image}, got {tuple(x.shape[1:])}; pass image= to make another"
            )
        return self.classifier(self.features(x))

    def extra_repr(self) -> str:
        return f"{self.count_parameters():,} parameters"


def _squash_and_pool(classic: bool) -> list[Module]:
    # max pooling and the rectifier give the same whichever comes first; this way round there is a quarter of the work for the rectifier
    return [Tanh(), AvgPool2d(2)] if classic else [MaxPool2d(2), ReLU()]


class LeNet1(_LeNet):
    """The first of them (LeCun et al. 1989, "Handwritten digit recognition with a back-propagation network", NIPS 2, section 3):
    4 and 12 maps, and one dense layer.

    Args:
        image: channels, height and width. The paper's are (1, 28, 28), and give maps of 24x24, 12x12, 8x8 and 4x4. The first convolution
            pads smaller images by 2, and the second maps of less than 6x6, so (1, 8, 8) gives 8x8, 4x4, 4x4 and 2x2.
        classes: how many classes there are.
        classic: whether with tanh and average pooling, as in the paper, or with rectifiers and max pooling.

    Shape:
        images (N, C, H, W) -> logits (N, classes).

    Raises:
        ValueError: ``image`` is not three numbers, or less than 4x4 pixels.
    """

    def __init__(self, image: Image = (1, 28, 28), classes: int = 10, classic: bool = False) -> None:
        super().__init__(image, 28, (4, 12), (), classes, classic)


class LeNet5(_LeNet):
    """The best known (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B): 6 and 16 maps, and
    dense layers of 120 and 84.

    The layer of 120, which the paper calls a convolution with 5x5 filters on maps of 5x5, is the dense layer that this is. The last
    layer gives logits for the cross-entropy in place of distances to drawn digits.

    Args:
        image: channels, height and width. The paper's are (1, 32, 32), and give maps of 28x28, 14x14, 10x10 and 5x5. The first
            convolution pads smaller images by 2, as the paper does with digits of 28x28, and the second maps of less than 6x6, so
            (1, 8, 8) gives 8x8, 4x4, 4x4 and 2x2.
        classes: how many classes there are.
        classic: whether with tanh and average pooling, close to the paper, or with rectifiers and max pooling.

    Shape:
        images (N, C, H, W) -> logits (N, classes).

    Raises:
        ValueError: ``image`` is not three numbers, or less than 4x4 pixels.
    """

    def __init__(self, image: Image = (3, 32, 32), classes: int = 10, classic: bool = False) -> None:
        super().__init__(image, 32, (6, 16), (120, 84), classes, classic)
