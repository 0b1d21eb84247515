"""The perceptron, and the multi-layer perceptron that followed it."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.nn.activation import ReLU
from tinytorch.nn.containers import Sequential
from tinytorch.nn.convolution import Flatten
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.normalization import BatchNorm1d
from tinytorch.nn.validation import checked_sizes
from tinytorch.tensor import Tensor


class Perceptron(Module):
    """One layer from pixels to classes (Rosenblatt 1958, "The perceptron: a probabilistic model for information storage and
    organization in the brain"). It is trained by gradient descent like the models after it, not by the rule of its time.

    Args:
        in_features: pixels of an image, in all channels.
        classes: how many classes there are.

    Shape:
        (N, in_features), or images (N, C, H, W) of as many pixels -> logits (N, classes).
    """

    batch_independent = True

    def __init__(self, in_features: int = 3072, classes: int = 10) -> None:
        super().__init__()
        checked_sizes("Perceptron", in_features=in_features, classes=classes)
        self.flatten = Flatten()
        self.head = Linear(in_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(x))


class MLP(Module):
    """Dense layers with rectifiers between them, trained by backpropagation (Rumelhart, Hinton and Williams 1986, "Learning
    representations by back-propagating errors"; rectifiers are of a later time).

    Args:
        in_features: pixels of an image, in all channels.
        hidden: widths of the layers between pixels and classes.
        classes: how many classes there are.
        dropout: share dropped after each hidden layer.
        batch_norm: whether to normalise before each rectifier (Ioffe and Szegedy 2015), which the MLPs of its time did not.

    Shape:
        (N, in_features), or images (N, C, H, W) of as many pixels -> logits (N, classes).
    """

    batch_independent = True

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
        checked_sizes("MLP", in_features=in_features, classes=classes, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.flatten = Flatten()
        layers: list[Module] = []
        for i in range(len(hidden)):
            normal = [BatchNorm1d(widths[i + 1])] if batch_norm else []
            # normalisation takes away what a bias would add
            layers += [Linear(widths[i], widths[i + 1], bias=not batch_norm), *normal, ReLU(), Dropout(dropout)]
        self.layers = Sequential(*layers)
        self.head = Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.flatten(x)))
