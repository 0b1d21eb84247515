"""The embedding layer: a lookup table of vectors, indexed by token id."""

from __future__ import annotations

from typing import Any

from tinytorch import ops
from tinytorch.array_api import expand_dims, where
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend.device import Device
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import as_index, check_positive, ids_from_host
from tinytorch.tensor import Tensor


class Embedding(Module):
    """A lookup table of vectors, one for each id.

    Args:
        num_embeddings: number of ids, which are 0 to num_embeddings - 1.
        embedding_dim: length of the vectors.
        padding_idx: an id whose vector is not trained: it is initialized to 0, and its gradient is 0. Negative ids count from the end.

    Shape:
        integers (...) -> (..., embedding_dim).

    Attributes:
        weight: (num_embeddings, embedding_dim), initialized from the standard normal distribution.

    Raises:
        TypeError: the ids are not integers.
        ValueError: ``padding_idx`` is out of bounds, or an id in a numpy array or list is. The ids in a Tensor are not checked, since that
            would copy them from the device: an out-of-bounds id gives a row of NaN.

    Example:
        >>> nn.Embedding(10, 4)(tt.asarray([[1, 2, 3]])).shape
        (1, 3, 4)
        >>> nn.Embedding(10, 2, padding_idx=0)([0]).detach()
        Tensor([[0., 0.]], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    weight: Parameter

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        check_positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx must be one of the {num_embeddings} ids, got {padding_idx}")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = init.normal((num_embeddings, embedding_dim))
        if padding_idx is not None:
            with no_grad():
                self.weight[padding_idx, :] = 0.0

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        return ids_from_host(array, self.weight.shape[0], self.weight.device)

    def forward(self, ids: Tensor) -> Tensor:
        index = as_index(ids)
        out = ops.embedding(self.weight, index)
        if self.padding_idx is None:
            return out
        return where(expand_dims(index != self.padding_idx, axis=-1), out, out.detach())

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
