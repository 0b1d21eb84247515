"""What is measured besides the loss. A metric is a mean, like a loss: `total` of something, divided by its `count`."""

from __future__ import annotations

from typing import Protocol

from tinytorch.array_api import argmax, astype, sum
from tinytorch.tensor import Tensor


class Metric(Protocol):
    """A mean over a data set, under a ``name``."""

    name: str

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over a batch."""

    def count(self, targets: Tensor) -> Tensor | float:
        """How many terms the sum has."""


class LanguageModelAccuracy:
    """Share of next tokens that the model thinks most likely.

    Shape:
        logits (B, T, V) and tokens (B, T + 1), or (B, T), as in `tinytorch.nn.LanguageModelLoss`.
    """

    name = "accuracy"

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = ignore_index

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        guesses = argmax(outputs[:, : targets.shape[1] - 1, :], axis=-1)
        return sum(astype((guesses == targets[:, 1:]) & (targets[:, 1:] != self.ignore_index), "float32"))

    def count(self, targets: Tensor) -> Tensor:
        return sum(astype(targets[:, 1:] != self.ignore_index, "float32"))

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The share, from 0 to 1."""
        return float(self.total(outputs, targets) / self.count(targets))


class Accuracy:
    """Share of inputs whose class the model thinks most likely.

    Shape:
        logits (N, V) and labels (N).
    """

    name = "accuracy"

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 2 or outputs.shape[:1] != targets.shape:
            raise ValueError(f"logits (N, V) need labels (N), got {tuple(outputs.shape)} and {tuple(targets.shape)}")
        return sum(astype(argmax(outputs, axis=-1) == targets, "float32"))

    def count(self, targets: Tensor) -> float:
        return float(targets.shape[0])

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The share, from 0 to 1."""
        return float(self.total(outputs, targets)) / self.count(targets)
