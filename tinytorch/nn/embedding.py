"""The embedding layer: a table of vectors, looked up by token id."""

from __future__ import annotations

from typing import Any

from tinytorch import ops
from tinytorch.backend.device import Device
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import as_index, checked_ids, checked_sizes
from tinytorch.tensor import Tensor


class Embedding(Module):
    """A table with a row for each id.

    Shape:
        whole numbers of any shape (...) -> (..., embedding_dim); ``weight`` is (num_embeddings, embedding_dim), standard normal at first.

    Ids that come as a numpy array are checked, and ``ValueError`` names the first that is out of range. A Tensor is not read for that: its
    ids out of range give rows of NaN.
    """

    batch_independent = True

    weight: Parameter

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        checked_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = init.normal((num_embeddings, embedding_dim))

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        return checked_ids(array, self.weight.shape[0], self.weight.device)

    def forward(self, ids: Tensor) -> Tensor:
        return ops.embedding(self.weight, as_index(ids))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
