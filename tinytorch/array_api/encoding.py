"""One-hot vectors, which the standard does not have."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.creation import arange, full_like
from tinytorch.array_api.data_types import astype
from tinytorch.array_api.indexing import take
from tinytorch.array_api.manipulation import expand_dims, moveaxis, reshape
from tinytorch.array_api.searching import where
from tinytorch.tensor import Tensor

__all__ = ["one_hot"]


def one_hot(x: Tensor, /, num_classes: int, *, dtype: Any = "float32", axis: int = -1) -> Tensor:
    """Vectors with 1 at the position x and 0 elsewhere, as ``array_api_extra.one_hot``.

    ``nn.functional.one_hot`` has the arguments of PyTorch and returns integers.

    Args:
        x: integers from 0 to ``num_classes - 1``, any shape.
        num_classes: length C of the vectors.
        dtype: dtype of the result.
        axis: position of the new axis.

    Returns:
        The shape of x with an axis of size C added.

    Raises:
        TypeError: x does not have integers.
        IndexError: an element of x is out of bounds. (In a step that is being compiled, its vector is 0.)

    Example:
        >>> tt.one_hot(tt.asarray([0, 2]), 3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if x.dtype.kind not in ("signed integer", "unsigned integer"):
        raise TypeError(f"one_hot expected integers, got {x.dtype.name}; convert them with tinytorch.astype(x, 'int64')")
    ids = astype(x, x.backend.default_int, copy=False)
    classes = arange(num_classes, dtype=ids.dtype, device=x.device)
    positions = reshape(where(ids < 0, full_like(ids, num_classes), ids), (ids.size,))  # negative ids do not count from the end
    try:
        found = take(classes, positions) if ids.size else positions
    except IndexError:
        raise IndexError(f"one_hot: every element of x must be between 0 and num_classes - 1 = {num_classes - 1}") from None
    return moveaxis(astype(expand_dims(reshape(found, ids.shape), axis=-1) == classes, dtype), -1, axis)
