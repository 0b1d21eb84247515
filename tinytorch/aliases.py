"""PyTorch's names for functions that have another name in the standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.joining import concat
from tinytorch.tensor import Tensor


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of ``data``, as ``torch.tensor``; `asarray` does not copy a Tensor.

    Args:
        data: a number, nested lists of numbers, a numpy array or a Tensor.
        dtype: defaults to the dtype of ``data``, float32 for Python floats.
        device: defaults to the current backend.
        requires_grad: whether operations on the Tensor are recorded.

    Raises:
        RuntimeError: ``data`` is a Tensor that requires a gradient, which would be lost; pass ``data.detach()``.

    Example:
        >>> tt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True).shape
        (2, 2)
    """
    return Tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing axis: `concat` with PyTorch's name and argument.

    Args:
        tensors: Tensors whose shapes differ along ``dim`` only.
        dim: the axis to join.

    Example:
        >>> tt.cat([tt.zeros((2, 1)), tt.ones((2, 2))], dim=1).tolist()
        [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    return concat(tensors, axis=dim)
