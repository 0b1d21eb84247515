"""The dropout layer."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.nn.module import Module
from tinytorch.nn.validation import check_probability
from tinytorch.ops import random
from tinytorch.tensor import Tensor


class Dropout(Module):
    """In training, sets each element to 0 with probability ``p`` and divides the others by ``1 - p``.

    In evaluation mode the input is returned as it is. See Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15.

    Args:
        p: probability of dropping an element; with 1 the output is 0.
        inplace: accepted as in PyTorch, where it saves memory; it has no effect, since a Tensor is never overwritten.

    Shape:
        (...) -> (...).

    Raises:
        ValueError: ``p`` is not in [0, 1].

    Example:
        >>> nn.Dropout(0.5).eval()(tt.ones(3))
        Tensor([1., 1., 1.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = 1.0 if p == 1 else check_probability(p, "at most 1")
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.p == 1.0:
            return x * 0.0
        draws = random.draws(x.backend)
        return ops.dropout(x, draws.key, p=self.p, **draws.site_and_offset(x.size))

    def extra_repr(self) -> str:
        return f"p={self.p}"
