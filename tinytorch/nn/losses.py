"""Losses. Each is a mean of terms: `total` is their sum and `count` their number, both of which add up over the shards of a batch."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import astype, reshape, square, sum, where, zeros_like
from tinytorch.array_api.precision import upcast
from tinytorch.nn.module import Module
from tinytorch.nn.validation import as_index
from tinytorch.tensor import Tensor


class Loss(Module):
    """Base of the losses: calling one gives ``total / count``."""

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the loss's terms, a Tensor of no dimensions."""
        raise NotImplementedError

    def count(self, targets: Tensor) -> Tensor | float:
        """How many terms there are (or the sum of their weights)."""
        raise NotImplementedError

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.total(outputs, targets) / self.count(targets)


class CrossEntropyLoss(Loss):
    """``-log softmax(logits)[target]``, as in PyTorch.

    Args:
        weight: (V), a weight for each class.
        ignore_index: targets of this value do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: share of the target's weight that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567, section 7);
            not together with ``weight``.

    Shape:
        logits (N, V) and targets (N), or (..., V) and (...); the result has no dimensions, with ``"none"`` the targets' shape.

    The mean divides by the weights of the targets that count, so it is NaN where there are none. A target that is neither ``ignore_index``
    nor a class gives NaN.
    """

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must lie between 0 and 1, got {label_smoothing}")
        if weight is not None and label_smoothing:
            raise ValueError("class weights and label smoothing cannot be combined; leave one of them out")
        if weight is None:
            self.weight = None
        else:
            self.register_buffer("weight", weight)  # so that it moves with the module
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
        """The number of targets that are not ignored, or the sum of their classes' weights."""
        return sum(self._weights(_flat(targets)))

    def _weights(self, targets: Tensor) -> Tensor:
        kept = targets != self.ignore_index
        if self.weight is None:
            return astype(kept, "float32")
        rows = ops.embedding(reshape(self.weight, (self.weight.shape[0], 1)), targets)  # NaN where a target is no class
        weights = reshape(rows, targets.shape)
        return where(kept, weights, zeros_like(weights))

    def _terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[:-1] != targets.shape:
            raise ValueError(f"logits (..., V) need targets (...), got {tuple(logits.shape)} and {tuple(targets.shape)}")
        if self.weight is not None and self.weight.shape != logits.shape[-1:]:
            raise ValueError(f"there are weights for {self.weight.size} classes and logits for {logits.shape[-1]}")
        flat = _flat(targets)
        rows = reshape(logits, (targets.size, logits.shape[-1]))
        terms = ops.cross_entropy(rows, flat, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing)
        return terms if self.weight is None else terms * self._weights(flat)


def _flat(targets: Tensor) -> Tensor:
    return reshape(as_index(targets), (targets.size,))


class MSELoss(Loss):
    """Mean squared error, as in PyTorch. ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape != targets.shape:
            raise ValueError(f"outputs and targets must have one shape, got {tuple(outputs.shape)} and {tuple(targets.shape)}")
        if self.reduction == "none":
            return square(outputs - targets)
        total = self.total(outputs, targets)
        return total if self.reduction == "sum" else total / self.count(targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        difference = outputs - targets
        return sum(square(upcast(difference.backend.namespace, difference)))  # 16 bits would overflow long before the mean does

    def count(self, targets: Tensor) -> float:
        return float(targets.size)


class LanguageModelLoss(Loss):
    """Cross-entropy of each next token.

    Shape:
        logits (B, T, V) and tokens (B, T + 1), of which the last T are predicted; or tokens (B, T), and then the last logits, which have
        nothing to predict, are left out.
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropyLoss(ignore_index=ignore_index)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 3 or targets.ndim != 2:
            raise ValueError(f"expected logits (B, T, V) and tokens (B, T + 1), got {tuple(outputs.shape)} and {tuple(targets.shape)}")
        length = outputs.shape[1]
        if targets.shape[1] not in (length, length + 1):
            raise ValueError(f"logits for {length} positions need {length} or {length + 1} tokens, got {targets.shape[1]}")
        if targets.shape[1] == length:
            outputs = outputs[:, :-1, :]
        return self.cross_entropy.total(outputs, targets[:, 1:])

    def count(self, targets: Tensor) -> Tensor:
        return self.cross_entropy.count(targets[:, 1:])
