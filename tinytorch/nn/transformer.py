"""The transformer block: self-attention and a feed-forward network, each with a residual connection."""

from __future__ import annotations

from collections.abc import Callable

from tinytorch.nn.activation import GELU, ReLU, Tanh
from tinytorch.nn.attention import LayerCache, MultiHeadAttention
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.normalization import LayerNorm
from tinytorch.tensor import Tensor

#: Activations of the feed-forward network by name.
_ACTIVATIONS: dict[str, Callable[[], Module]] = {"gelu_tanh": lambda: GELU("tanh"), "gelu": GELU, "relu": ReLU, "tanh": Tanh}


class TransformerBlock(Module):
    """A transformer block: self-attention and a feed-forward network (Vaswani et al. 2017, arXiv:1706.03762, section 3.1).

    Args:
        d_model: width C of input and output.
        num_heads: number of attention heads; must divide ``d_model``.
        d_ff: inner width of the feed-forward network. Defaults to 4 * d_model.
        dropout: probability of dropping attention weights, and outputs of attention and of the feed-forward network.
        norm_first: if true, each sublayer normalizes its input, as in GPT-2 (pre-norm, Xiong et al. 2020, arXiv:2002.04745); if false,
            its output plus the residual (post-norm).
        activation: of the feed-forward network: ``"gelu_tanh"`` (as in GPT-2), ``"gelu"``, ``"relu"`` or ``"tanh"``.
        norm_eps: added to the variance in layer normalization.

    Shape:
        (B, T, C) -> (B, T, C).

    Raises:
        ValueError: an argument is not valid.

    Example:
        >>> block = nn.TransformerBlock(d_model=8, num_heads=2)
        >>> block(tt.ones((1, 5, 8)), is_causal=True).shape
        (1, 5, 8)
    """

    batch_independent = True
    data_arguments = 1

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        dropout: float = 0.1,
        norm_first: bool = True,
        activation: str = "gelu_tanh",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, norm_eps)
        self.attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.norm2 = LayerNorm(d_model, norm_eps)
        self.linear1 = Linear(d_model, 4 * d_model if d_ff is None else d_ff)
        self.activation = _ACTIVATIONS[activation]()
        self.linear2 = Linear(self.linear1.out_features, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False, cache: LayerCache | None = None) -> Tensor:
        """See `MultiHeadAttention.forward` for ``mask``, ``is_causal`` and ``cache``."""
        if self.norm_first:
            x = x + self._attend(self.norm1(x), mask, is_causal, cache)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attend(x, mask, is_causal, cache))
        return self.norm2(x + self._feed_forward(x))

    def _attend(self, x: Tensor, mask: Tensor | None, is_causal: bool, cache: LayerCache | None) -> Tensor:
        return self.dropout(self.attention(x, mask=mask, is_causal=is_causal, cache=cache))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.activation(self.linear1(x))))

    def extra_repr(self) -> str:
        return f"norm_first={self.norm_first}"
