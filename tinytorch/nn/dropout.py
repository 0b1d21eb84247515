"""Dropout."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.nn.module import Module
from tinytorch.nn.validation import checked_share
from tinytorch.ops import random
from tinytorch.tensor import Tensor


class Dropout(Module):
    """In training, sets a share ``p`` of the elements to 0 and divides the others by ``1 - p`` (Srivastava et al. 2014)."""

    batch_independent = True

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = checked_share(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        draws = random.draws(x.backend)
        return ops.dropout(x, draws.key, p=self.p, **draws.site_and_offset(x.size))

    def extra_repr(self) -> str:
        return f"p={self.p}"
