"""Metrics: quantities measured in addition to the loss. Like a loss, a metric is a mean: its `total` divided by its `count`."""

from __future__ import annotations

from typing import Protocol

from tinytorch.array_api import argmax, astype, sum
from tinytorch.tensor import Tensor


class Metric(Protocol):
    """The interface of a metric: a mean over a data set, with a ``name``.

    Example:
        >>> from tinytorch.training import Metric
        >>> class AbsoluteError:
        ...     name = "absolute_error"
        ...     def total(self, outputs, targets): return tt.sum(tt.abs(outputs - targets))
        ...     def count(self, targets): return float(targets.size)
        >>> metric: Metric = AbsoluteError()
        >>> float(metric.total(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0])))
        2.0
    """

    name: str

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over a batch."""

    def count(self, targets: Tensor) -> Tensor | float:
        """The number of terms in the sum."""


class LanguageModelAccuracy:
    """Fraction of next tokens that equal the argmax of the logits.

    Args:
        ignore_index: target value that is not counted.

    Shape:
        logits (B, T, V) and tokens (B, T + 1), or (B, T), as in `tinytorch.nn.LanguageModelLoss`.

    Example:
        >>> from tinytorch.training import LanguageModelAccuracy
        >>> logits = tt.asarray([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # argmax 1, 2
        >>> LanguageModelAccuracy()(logits, tt.asarray([[0, 1, 0]]))
        0.5
    """

    name = "accuracy"

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = ignore_index

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        predictions = argmax(outputs[:, : targets.shape[1] - 1, :], axis=-1)
        return sum(astype((predictions == targets[:, 1:]) & (targets[:, 1:] != self.ignore_index), "float32"))

    def count(self, targets: Tensor) -> Tensor:
        return sum(astype(targets[:, 1:] != self.ignore_index, "float32"))

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The accuracy, from 0 to 1."""
        return float(self.total(outputs, targets) / self.count(targets))


class Accuracy:
    """Fraction of inputs whose label equals the argmax of the logits.

    Shape:
        logits (N, V) and labels (N).

    Example:
        >>> from tinytorch.training import Accuracy
        >>> Accuracy()(tt.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), tt.asarray([0, 1, 0, 0]))
        0.75
    """

    name = "accuracy"

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 2 or outputs.shape[:1] != targets.shape:
            raise ValueError(
                f"expected logits of shape (N, V) and labels of shape (N), got {tuple(outputs.shape)} and {tuple(targets.shape)}"
            )
        return sum(astype(argmax(outputs, axis=-1) == targets, "float32"))

    def count(self, targets: Tensor) -> float:
        return float(targets.shape[0])

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The accuracy, from 0 to 1."""
        return float(self.total(outputs, targets)) / self.count(targets)
