"""The losses of `tinytorch.nn.functional`, with PyTorch's arguments: classes are the second axis, (N, C, ...)."""

from __future__ import annotations

import math
from typing import Any

from tinytorch import ops
from tinytorch.array_api import (
    abs,
    astype,
    expand_dims,
    log_softmax,
    logaddexp,
    mean,
    moveaxis,
    ones_like,
    reshape,
    sum,
    take_along_axis,
    where,
    zeros_like,
)
from tinytorch.array_api.precision import upcast
from tinytorch.nn.losses import BCELoss, CrossEntropyLoss, MSELoss, check_reduction
from tinytorch.nn.validation import as_index
from tinytorch.tensor import Tensor


def _reduced(terms: Tensor, reduction: str) -> Tensor:
    """The mean or sum of the terms, or the terms."""
    check_reduction(reduction)
    return mean(terms) if reduction == "mean" else sum(terms) if reduction == "sum" else terms


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{name}: `input` and `target` must have the same shape, got {input.shape} and {target.shape}")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between logits and targets, with classes in the second axis as in PyTorch. `CrossEntropyLoss` has them in the last.

    Args:
        input: logits, (C), (N, C) or (N, C, d1, ...).
        target: class indices, (), (N) or (N, d1, ...); or probabilities of the shape of ``input``.
        weight: (C), a weight for each class.
        ignore_index: class indices of this value are ignored.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: probability mass that is spread evenly over all classes.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> loss = nn.functional.cross_entropy(tt.zeros((2, 4)), tt.asarray([1, 3]))
        >>> round(float(loss), 3)  # log(4)
        1.386
    """
    logits = _classes_last(input)
    if isinstance(target, Tensor) and target.dtype.is_floating:
        _check_same_shape("cross_entropy", input, target)
        return _soft_cross_entropy(logits, _classes_last(target), weight, reduction, label_smoothing)
    _check_targets("cross_entropy", input, logits, target)
    return CrossEntropyLoss(weight, ignore_index, reduction, label_smoothing)(logits, target)


def _classes_last(x: Tensor) -> Tensor:
    return x if x.ndim < 3 else moveaxis(x, 1, -1)


def _check_targets(name: str, input: Tensor, logits: Tensor, target: Any) -> None:
    if isinstance(target, Tensor) and target.shape != logits.shape[:-1]:
        hint = ""
        if target.shape == input.shape[:-1]:
            hint = f"; for classes in the last axis write {name}(reshape(input, (-1, C)), reshape(target, (-1,))), or nn.CrossEntropyLoss"
        raise ValueError(
            f"{name} expected classes in the second axis, input (N, C, ...) and target (N, ...), "
            f"got shapes {input.shape} and {target.shape}{hint}"
        )


def _soft_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float) -> Tensor:
    """The cross-entropy of probabilities. The mean is over the examples, not their weights."""
    check_reduction(reduction)
    xp = logits.backend.namespace
    wide, probabilities = upcast(xp, logits), upcast(xp, target)
    if label_smoothing:
        probabilities = probabilities * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    log_probabilities = log_softmax(wide)
    terms = -sum(probabilities * (log_probabilities if weight is None else log_probabilities * weight), axis=-1)
    return _reduced(terms, reduction)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """The negative log-likelihood ``-input[target]`` of log-probabilities, such as those of `log_softmax`.

    Args:
        input: log-probabilities, (C), (N, C) or (N, C, d1, ...).
        target: class indices, (), (N) or (N, d1, ...).
        weight, ignore_index, reduction: as for `cross_entropy`.

    Example:
        >>> loss = nn.functional.nll_loss(tt.asarray([[-0.5, -1.0]]), tt.asarray([1]))
        >>> float(loss)
        1.0
    """
    values = _classes_last(input)
    _check_targets("nll_loss", input, values, target)
    check_reduction(reduction)
    classes = values.shape[-1]
    ids = reshape(as_index(target), (target.size,))
    kept = ids != ignore_index
    valid = (ids >= 0) & (ids < classes)
    rows = reshape(values, (target.size, classes))
    picked = take_along_axis(rows, expand_dims(where(valid, ids, zeros_like(ids)), axis=-1), axis=-1)[:, 0]
    ones = ones_like(picked) if weight is None else reshape(ops.embedding(reshape(weight, (classes, 1)), ids), ids.shape)
    weights = where(kept, where(valid, ones, math.nan), 0.0)  # an index that is no class gives NaN, as for the other losses
    terms = where(kept, -picked, 0.0) * weights
    if reduction == "none":
        return reshape(terms, target.shape)
    return sum(terms) if reduction == "sum" else sum(terms) / sum(weights)


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Mean squared error.

    Args:
        input: outputs, any shape.
        target: targets of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> float(nn.functional.mse_loss(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0])))
        2.0
    """
    return MSELoss(reduction)(input, target)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Mean absolute error.

    Args:
        input, target, reduction: as for `mse_loss`.

    Example:
        >>> float(nn.functional.l1_loss(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0])))
        1.0
    """
    _check_same_shape("l1_loss", input, target)
    return _reduced(abs(input - target), reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy between probabilities and targets; the logarithms are at least -100.

    Args:
        input: probabilities, any shape.
        target: targets from 0 to 1, of the same shape.
        weight: factors for the terms, broadcast to this shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> loss = nn.functional.binary_cross_entropy(tt.asarray([0.5, 0.5]), tt.asarray([0.0, 1.0]))
        >>> round(float(loss), 3)  # log(2)
        0.693
    """
    if weight is None:
        return BCELoss(reduction)(input, target)
    return _reduced(BCELoss("none")(input, target) * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy between ``sigmoid(input)`` and targets, without overflow.

    Args:
        input: logits, any shape.
        target: targets from 0 to 1, of the same shape.
        weight: factors for the terms, broadcast to this shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_weight: factors for the terms of positive targets, broadcast to this shape.

    Example:
        >>> loss = nn.functional.binary_cross_entropy_with_logits(tt.asarray([0.0, 1000.0]), tt.asarray([1.0, 1.0]))
        >>> round(float(loss), 3)  # log(2) / 2
        0.347
    """
    _check_same_shape("binary_cross_entropy_with_logits", input, target)
    target = target if target.dtype.is_floating else astype(target, input.dtype)
    positive = logaddexp(-input, 0.0)  # -log(sigmoid(x)); that of 1 - sigmoid(x) is larger by x
    factor = 1.0 if pos_weight is None else 1.0 + (pos_weight - 1.0) * target
    terms = (1.0 - target) * input + factor * positive
    return _reduced(terms if weight is None else terms * weight, reduction)
