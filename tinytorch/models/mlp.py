"""The perceptron and the multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.nn.activation import ReLU
from tinytorch.nn.containers import Sequential
from tinytorch.nn.convolution import Flatten
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.normalization import BatchNorm1d
from tinytorch.nn.validation import check_positive
from tinytorch.tensor import Tensor


class Perceptron(Module):
    """A perceptron: one linear layer from pixels to classes.

    See Rosenblatt 1958, "The perceptron: a probabilistic model for information storage and organization in the brain". It is trained by
    gradient descent, like the other models, and not by the perceptron rule of the paper.

    Args:
        in_features: number of input features: pixels times channels of an image.
        classes: number of classes.

    Shape:
        (N, in_features), or images (N, C, H, W) with C H W = in_features -> logits (N, classes).

    Raises:
        ValueError: a size is not positive, or the input has another number of features.

    Example:
        >>> tt.models.Perceptron(in_features=784)(tt.zeros((2, 1, 28, 28))).shape
        (2, 10)
    """

    batch_independent = True
    data_arguments = 1

    def __init__(self, in_features: int = 3072, classes: int = 10) -> None:
        super().__init__()
        check_positive("Perceptron", in_features=in_features, classes=classes)
        self.flatten = Flatten()
        self.head = Linear(in_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(x))


class MLP(Module):
    """A multi-layer perceptron: linear layers with ReLU between them.

    See Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors". ReLU, dropout and batch normalization
    are later additions.

    Args:
        in_features: number of input features: pixels times channels of an image.
        hidden: widths of the hidden layers.
        classes: number of classes.
        dropout: dropout probability after each hidden layer.
        batch_norm: whether to apply batch normalization before each ReLU (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Shape:
        (N, in_features), or images (N, C, H, W) with C H W = in_features -> logits (N, classes).

    Raises:
        ValueError: a size is not positive, ``dropout`` is not in [0, 1], or the input has another number of features.

    Example:
        >>> tt.models.MLP(in_features=784, hidden=(32,))(tt.zeros((2, 1, 28, 28))).shape
        (2, 10)
    """

    batch_independent = True
    data_arguments = 1

    def __init__(
        self,
        in_features: int = 3072,
        hidden: Sequence[int] = (1024, 512),
        classes: int = 10,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        check_positive("MLP", in_features=in_features, classes=classes, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.flatten = Flatten()
        layers: list[Module] = []
        for i in range(len(hidden)):
            norm = [BatchNorm1d(widths[i + 1])] if batch_norm else []
            # batch normalization would cancel a bias of the linear layer
            layers += [Linear(widths[i], widths[i + 1], bias=not batch_norm), *norm, ReLU(), Dropout(dropout)]
        self.layers = Sequential(*layers)
        self.head = Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.flatten(x)))
