"""The embedding layer: a lookup table of vectors, indexed by token id."""

from __future__ import annotations

from typing import Any

from tinytorch import ops
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

    Shape:
        integers (...) -> (..., embedding_dim).

    Attributes:
        weight: (num_embeddings, embedding_dim), initialized from the standard normal distribution.

    Raises:
        TypeError: the ids are not integers.
        ValueError: an id in a numpy array is out of bounds. The ids in a Tensor are not checked, because that would copy them from the
            device: an out-of-bounds id gives a row of NaN.

    Example:
        >>> nn.Embedding(10, 4)(tt.asarray([[1, 2, 3]])).shape
        (1, 3, 4)
    """

    batch_independent = True

    weight: Parameter

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        check_positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = init.normal((num_embeddings, embedding_dim))

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        return ids_from_host(array, self.weight.shape[0], self.weight.device)

    def forward(self, ids: Tensor) -> Tensor:
        return ops.embedding(self.weight, as_index(ids))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
