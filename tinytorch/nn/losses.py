"""Losses. Each is a mean, ``total / count``; `Trainer` adds the totals of the shards of a batch and divides by the count of the batch."""

from __future__ import annotations

from typing import Any

from tinytorch import ops
from tinytorch.array_api import asarray, astype, log, log_softmax, maximum, ones_like, reshape, square, sum, where, zeros_like
from tinytorch.array_api.precision import upcast
from tinytorch.nn.module import Module
from tinytorch.nn.validation import as_index
from tinytorch.tensor import Tensor


class Loss(Module):
    """Base class of losses: a mean, ``total / count``. Subclasses implement `total` and `count`.

    Example:
        >>> class L1Loss(nn.Loss):
        ...     def total(self, outputs, targets):
        ...         return tt.sum(tt.abs(outputs - targets))
        ...
        ...     def count(self, targets):
        ...         return float(targets.size)
        >>> L1Loss()(tt.asarray([1.0, 2.0]), tt.asarray([0.0, 5.0]))
        Tensor(2., dtype=float32, device='numpy:cpu')
    """

    data_arguments = 2

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the loss over all targets, a scalar Tensor."""
        raise NotImplementedError

    def count(self, targets: Tensor) -> Tensor | float:
        """Return the number of targets, or the sum of their weights."""
        raise NotImplementedError

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.total(outputs, targets) / self.count(targets)


def check_reduction(reduction: str) -> None:
    """Raise ``ValueError`` for an unknown reduction."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


class CrossEntropyLoss(Loss):
    """Cross-entropy between logits and target classes, ``-log softmax(logits)[target]``. Unlike in PyTorch, classes are the last axis.

    Args:
        weight: (V), a weight for each class: a Tensor, an array or a list.
        ignore_index: targets of this value are ignored.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. The mean divides by the sum of the weights of the targets that are not ignored, so
            it is NaN if all are ignored.
        label_smoothing: probability mass that is spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567, section 7). With
            ``weight``, the loss of each class is weighted, as in PyTorch.

    Shape:
        logits (..., V) and integer targets (...) -> scalar, or (...) with ``reduction="none"``. An out-of-bounds target gives NaN.

    Raises:
        TypeError: the targets are not integers.
        ValueError: an argument is not valid, or the shapes do not fit.

    Example:
        >>> loss = nn.CrossEntropyLoss()(tt.zeros((2, 4)), tt.asarray([1, 3]))
        >>> round(float(loss), 3)  # log(4)
        1.386
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_reduction(reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
        if weight is None:
            self.weight = None
        else:
            # a buffer, so that it moves with the module
            self.register_buffer("weight", weight if isinstance(weight, Tensor) else asarray(weight, dtype="float32"))
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.reduction == "none":
            return reshape(self._terms(outputs, targets), targets.shape)
        total = self.total(outputs, targets)
        return total if self.reduction == "sum" else total / self.count(targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return sum(self._terms(outputs, targets))

    def count(self, targets: Tensor) -> Tensor:
        """Return the number of targets that are not ignored, or the sum of their class weights."""
        return sum(self._weights(_flat(targets)))

    def _weights(self, targets: Tensor) -> Tensor:
        kept = targets != self.ignore_index
        if self.weight is None:
            return astype(kept, "float32")
        rows = ops.embedding(reshape(self.weight, (self.weight.shape[0], 1)), targets)  # NaN for an out-of-bounds target
        weights = reshape(rows, targets.shape)
        return where(kept, weights, zeros_like(weights))

    def _terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[:-1] != targets.shape:
            raise ValueError(f"expected logits (..., V) and targets (...), got shapes {tuple(logits.shape)} and {tuple(targets.shape)}")
        if self.weight is not None and self.weight.shape != logits.shape[-1:]:
            raise ValueError(f"weight has {self.weight.size} classes, but the logits have {logits.shape[-1]}")
        flat = _flat(targets)
        rows = reshape(logits, (targets.size, logits.shape[-1]))
        smoothing = self.label_smoothing
        if self.weight is None:
            return ops.cross_entropy(rows, flat, ignore_index=self.ignore_index, label_smoothing=smoothing)
        terms = ops.cross_entropy(rows, flat, ignore_index=self.ignore_index, label_smoothing=0.0) * self._weights(flat)
        if not smoothing:
            return terms
        of_all = -sum(log_softmax(upcast(rows.backend.namespace, rows)) * self.weight, axis=-1)  # of all classes, each with its weight
        kept = where(flat != self.ignore_index, of_all, zeros_like(of_all))
        return (1.0 - smoothing) * terms + (smoothing / logits.shape[-1]) * kept


def _flat(targets: Tensor) -> Tensor:
    return reshape(as_index(targets), (targets.size,))


class _ElementwiseLoss(Loss):
    """Base class of the mean of a function of each output and its target. Subclasses implement `terms`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction

    def terms(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each element."""
        raise NotImplementedError

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape != targets.shape:
            raise ValueError(f"outputs and targets must have the same shape, got {tuple(outputs.shape)} and {tuple(targets.shape)}")
        if self.reduction == "none":
            return self.terms(outputs, _as_floating(targets, outputs))
        total = self.total(outputs, targets)
        return total if self.reduction == "sum" else total / self.count(targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        xp = outputs.backend.namespace
        return sum(self.terms(upcast(xp, outputs), upcast(xp, _as_floating(targets, outputs))))  # in float16 the sum would overflow

    def count(self, targets: Tensor) -> float:
        return float(targets.size)


def _as_floating(targets: Tensor, outputs: Tensor) -> Tensor:
    """Integer targets in the dtype of the outputs."""
    return targets if targets.dtype.is_floating or not outputs.dtype.is_floating else astype(targets, outputs.dtype)


class BCELoss(_ElementwiseLoss):
    """Binary cross-entropy between probabilities p and targets y, ``-(y log(p) + (1 - y) log(1 - p))``, as in PyTorch.

    The logarithms are at least -100, so that the loss is finite; where they are limited, the gradient is 0.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape:
        outputs and targets (...) -> scalar, or (...) with ``reduction="none"``. A probability outside [0, 1] gives NaN.

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    Example:
        >>> loss = nn.BCELoss()(tt.asarray([0.5, 0.5]), [0, 1])
        >>> round(float(loss), 3)  # log(2)
        0.693
    """

    def terms(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -(targets * _limited_log(outputs) + (1.0 - targets) * _limited_log(1.0 - outputs))


def _limited_log(x: Tensor) -> Tensor:
    """The logarithm, but at least -100; its gradient is finite at 0 too."""
    zero = x == 0
    return where(zero, -100.0, maximum(log(where(zero, ones_like(x), x)), -100.0))


class MSELoss(_ElementwiseLoss):
    """Mean squared error, as in PyTorch.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape:
        outputs and targets (...) -> scalar, or (...) with ``reduction="none"``.

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    Example:
        >>> nn.MSELoss()(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0]))
        Tensor(2., dtype=float32, device='numpy:cpu')
    """

    def terms(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return square(outputs - targets)


class LanguageModelLoss(Loss):
    """Next-token cross-entropy: the logits at position t predict the token at position t + 1.

    Args:
        ignore_index: target tokens of this value, such as padding, are ignored.

    Shape:
        logits (B, T, V) and tokens (B, T + 1) -> scalar. With tokens (B, T), the logits of the last position are ignored.

    Raises:
        TypeError: the tokens are not integers.
        ValueError: the shapes do not fit.

    Example:
        >>> loss = nn.LanguageModelLoss()(tt.zeros((1, 3, 4)), tt.asarray([[0, 1, 2, 3]]))
        >>> round(float(loss), 3)  # log(4)
        1.386
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropyLoss(ignore_index=ignore_index)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 3 or targets.ndim != 2:
            raise ValueError(
                f"expected logits (B, T, V) and tokens (B, T + 1), got shapes {tuple(outputs.shape)} and {tuple(targets.shape)}"
            )
        length = outputs.shape[1]
        if targets.shape[1] not in (length, length + 1):
            raise ValueError(f"logits (B, {length}, V) need tokens (B, {length + 1}) or (B, {length}), got (B, {targets.shape[1]})")
        if targets.shape[1] == length:
            outputs = outputs[:, :-1, :]
        return self.cross_entropy.total(outputs, targets[:, 1:])

    def count(self, targets: Tensor) -> Tensor:
        return self.cross_entropy.count(targets[:, 1:])
