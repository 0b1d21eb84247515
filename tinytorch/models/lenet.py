"""LeNet-1 and LeNet-5, the convolutional networks of LeCun et al., in their original form and in a modern one."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.nn.activation import ReLU, Tanh
from tinytorch.nn.containers import Sequential
from tinytorch.nn.convolution import AvgPool2d, Conv2d, Flatten, MaxPool2d, check_images
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.validation import check_positive
from tinytorch.tensor import Tensor

Image = tuple[int, int, int]  #: (C, H, W)

_KERNEL = 5
_PADDING = 2  # keeps height and width


class _LeNet(Module):
    """Two 5x5 convolutions, each followed by 2x2 pooling, and dense layers.

    The classic form uses tanh and average pooling, the modern form ReLU and max pooling. Unlike in the papers, pooling has no
    trainable coefficients in either form, and every feature map is connected to all maps of the previous layer.
    """

    batch_independent = True
    data_arguments = 1

    def __init__(
        self, image: Image, native_size: int, channels: tuple[int, int], dense: Sequence[int], classes: int, classic: bool
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if len(image) != 3 or min(image[1:]) < 4:
            raise ValueError(f"{name}: image must be (channels, height, width) with at least 4 x 4 pixels, got {image}")
        check_positive(name, channels=image[0], classes=classes)
        self.image = tuple(image)
        in_channels, *size = image
        layers: list[Module] = []
        # pad images that are smaller than the paper's, and maps that would be empty after convolution and pooling
        for out_channels, min_size in zip(channels, (native_size, _KERNEL + 1), strict=True):
            padding = _PADDING if min(size) < min_size else 0
            layers += [Conv2d(in_channels, out_channels, _KERNEL, padding=padding), *_activation_and_pooling(classic)]
            in_channels = out_channels
            size = [(n + 2 * padding - _KERNEL + 1) // 2 for n in size]
        self.features = Sequential(*layers)
        widths = [in_channels * size[0] * size[1], *dense]
        layers = [Flatten()]
        for i in range(len(dense)):
            layers += [Linear(widths[i], widths[i + 1]), Tanh() if classic else ReLU()]
        self.classifier = Sequential(*layers, Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits (N, classes) of images (N, C, H, W)."""
        check_images(type(self).__name__, x)
        if tuple(x.shape[1:]) != self.image:
            raise ValueError(
                f"this {type(self).__name__} expects images of shape {self.image}, got {tuple(x.shape[1:])}; "
                f"create the model with image={tuple(x.shape[1:])}"
            )
        return self.classifier(self.features(x))

    def extra_repr(self) -> str:
        return f"{self.count_parameters():,} parameters"


def _activation_and_pooling(classic: bool) -> list[Module]:
    # ReLU and max pooling commute; pooling first leaves ReLU a quarter of the elements
    return [Tanh(), AvgPool2d(2)] if classic else [MaxPool2d(2), ReLU()]


class LeNet1(_LeNet):
    """LeNet-1: two convolutions with 4 and 12 filters, and one dense layer.

    See LeCun et al. 1989, "Handwritten digit recognition with a back-propagation network", NIPS 2, section 3.

    Args:
        image: channels, height and width. The paper uses (1, 28, 28), which gives maps of 24x24, 12x12, 8x8 and 4x4. The first convolution
            pads smaller images by 2, and the second one pads maps below 6x6, so (1, 8, 8) gives 8x8, 4x4, 4x4 and 2x2.
        classes: number of classes.
        classic: tanh and average pooling, as in the paper, instead of ReLU and max pooling.

    Shape:
        images (N, C, H, W) -> logits (N, classes).

    Raises:
        ValueError: ``image`` does not have three sizes, or has less than 4x4 pixels.

    Example:
        >>> tt.models.LeNet1()(tt.zeros((2, 1, 28, 28))).shape
        (2, 10)
    """

    def __init__(self, image: Image = (1, 28, 28), classes: int = 10, classic: bool = False) -> None:
        super().__init__(image, 28, (4, 12), (), classes, classic)


class LeNet5(_LeNet):
    """LeNet-5: two convolutions with 6 and 16 filters, and dense layers of 120 and 84 units.

    See LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B. The paper describes the layer of 120
    units as a convolution with 5x5 filters on 5x5 maps, which is the same as a dense layer. The output is logits for the cross-entropy
    instead of the paper's radial basis functions.

    Args:
        image: channels, height and width. The paper uses (1, 32, 32), which gives maps of 28x28, 14x14, 10x10 and 5x5. The first
            convolution pads smaller images by 2, as the paper does with 28x28 digits, and the second one pads maps below 6x6, so
            (1, 8, 8) gives 8x8, 4x4, 4x4 and 2x2.
        classes: number of classes.
        classic: tanh and average pooling, close to the paper, instead of ReLU and max pooling.

    Shape:
        images (N, C, H, W) -> logits (N, classes).

    Raises:
        ValueError: ``image`` does not have three sizes, or has less than 4x4 pixels.

    Example:
        >>> tt.models.LeNet5(image=(1, 28, 28))(tt.zeros((2, 1, 28, 28))).shape
        (2, 10)
    """

    def __init__(self, image: Image = (3, 32, 32), classes: int = 10, classic: bool = False) -> None:
        super().__init__(image, 32, (6, 16), (120, 84), classes, classic)
