"""TinyGPT: a transformer that predicts the next token."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Any

from tinytorch import ops
from tinytorch.autograd.recompute import checkpoint
from tinytorch.backend.device import Device
from tinytorch.nn import init
from tinytorch.nn.cache import KVCache, StepCache
from tinytorch.nn.containers import ModuleList
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.embedding import Embedding
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.normalization import LayerNorm
from tinytorch.nn.positions import LearnedPositionalEncoding, PositionalEncoding
from tinytorch.nn.transformer import TransformerBlock
from tinytorch.nn.validation import checked_ids, checked_sizes
from tinytorch.tensor import Tensor
from tinytorch.text import generation

_STD = 0.02  # of weights at first (Radford et al. 2019, section 2.3, after GPT's section 4.1)


class TinyGPT(Module):
    """A decoder-only transformer with normalisation first. With learned positions and tied weights it is GPT-2 (Radford et al. 2019).

    Args:
        vocab_size: V, how many tokens there are.
        d_model: width C, a multiple of ``num_heads``.
        num_heads: attention heads in each block.
        num_layers: number of blocks.
        d_ff: inner width of the feed-forward networks, 4 * d_model where left out.
        max_length: how many tokens the model can look at.
        dropout: share dropped after the embedding, in attention and after each part of a block.
        positional: ``"sinusoidal"`` or ``"learned"``.
        tie_weights: whether the output layer uses the embedding's table (Press and Wolf 2017, arXiv:1608.05859).
        activation, norm_eps: see `TransformerBlock`.

    Attributes:
        settings: the arguments by name.
        checkpoint_activations: in training, forget what each block saved and compute it again in the backward pass: one more forward
            pass in time, and the memory of one block in place of all; see `tinytorch.checkpoint`.

    Shape:
        whole numbers (B, T) with T <= max_length -> logits (B, T, V).

    Raises:
        ValueError: a size is not positive, ``num_heads`` does not divide ``d_model``, or ``positional`` is neither word.
    """

    batch_independent = True

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 256,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        max_length: int = 1024,
        dropout: float = 0.1,
        positional: str = "sinusoidal",
        tie_weights: bool = False,
        activation: str = "gelu_tanh",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "vocab_size": vocab_size,
            "d_model": d_model,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "d_ff": d_ff,
            "max_length": max_length,
            "dropout": dropout,
            "positional": positional,
            "tie_weights": tie_weights,
            "activation": activation,
            "norm_eps": norm_eps,
        }
        sizes = ("vocab_size", "d_model", "num_heads", "num_layers", "d_ff", "max_length")
        checked_sizes("TinyGPT", **{name: self.settings[name] for name in sizes if self.settings[name] is not None})
        if positional not in ("sinusoidal", "learned"):
            raise ValueError(f"positional must be 'sinusoidal' or 'learned', got {positional!r}")
        self.max_length = max_length
        self.checkpoint_activations = False
        self.embedding = Embedding(vocab_size, d_model)
        if positional == "learned":
            self.positions: Module = LearnedPositionalEncoding(d_model, max_length, _STD)
        else:  # sines have a root mean square of 1 / sqrt(2): scaled so, the table neither drowns the embedding nor is drowned
            self.positions = PositionalEncoding(d_model, max_length, scale=_STD * math.sqrt(2))
        self.dropout = Dropout(dropout)
        self.blocks = ModuleList(
            TransformerBlock(d_model, num_heads, d_ff, dropout, activation=activation, norm_eps=norm_eps) for _ in range(num_layers)
        )
        self.norm = LayerNorm(d_model, norm_eps)
        self.head = None if tie_weights else Linear(d_model, vocab_size, bias=False)
        self._initialise(num_layers)

    def _initialise(self, num_layers: int) -> None:
        """Normal weights of one size, smaller where a block adds to the residual path (Radford et al. 2019, section 2.3); biases 0."""
        for name, parameter in self.named_parameters():
            if name.startswith("positions") or "norm" in name:
                continue
            if len(parameter.shape) == 1:
                new = init.constant(parameter.shape, 0.0)
            else:
                adds = name.endswith(("out_proj.weight", "linear2.weight"))
                new = init.normal(parameter.shape, _STD / math.sqrt(2 * num_layers) if adds else _STD)
            parameter.raw = new.raw

    def receive(self, array: Any, device: Device | None = None) -> Tensor:
        return checked_ids(array, self.settings["vocab_size"], self.embedding.weight.device)

    def forward(self, ids: Tensor, cache: KVCache | StepCache | None = None) -> Tensor:
        """Logits of the token after each position, or after the last one where there is a cache.

        Args:
            ids: (B, T).
            cache: what was read before, from `new_cache`; ``ids`` go on from there and are added to it.

        Returns:
            (B, T, V), or (B, 1, V) with a cache: what is read into it is gone on from at its end.

        Raises:
            ValueError: there are no tokens, or more than ``max_length``; or ids that come as a numpy array are out of range. A Tensor's ids
                are not read for that, and give NaN.
        """
        if ids.ndim != 2 or ids.shape[1] == 0:
            raise ValueError(f"the model reads token ids (B, T) with T of 1 or more, got shape {tuple(ids.shape)}")
        length = ids.shape[1]
        if length > self.max_length:
            raise ValueError(f"the model looks at {self.max_length} tokens at most, got {length}; crop the input")
        mask = None if cache is None else cache.mask(length)
        x = self.embedding(ids)  # (B, T, C)
        x = self.dropout(self.positions(x, 0 if cache is None else cache.offset()))
        for i, block in enumerate(self.blocks):
            if self.checkpoint_activations and self.training and cache is None:
                x = checkpoint(partial(block, is_causal=True))(x)
            else:
                x = block(x, mask=mask, is_causal=length > 1, cache=None if cache is None else cache.layers[i])
        if cache is not None and length > 1:
            x = x[:, -1:, :]
        x = self.norm(x)
        if self.head is not None:
            return self.head(x)
        return ops.linear(x, self.embedding.weight, None)

    def new_cache(self, starts: Tensor | None = None) -> KVCache:
        """An empty cache with room for the whole window. ``starts``: see `KVCache`."""
        return KVCache(len(self.blocks), self.max_length, starts)

    def generate(self, prompt: Any, max_new_tokens: int, **settings: Any) -> Any:
        """What the model writes after ``prompt``: `tinytorch.text.generate`, which names the settings."""
        return generation.generate(self, prompt, max_new_tokens, **settings)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **changes: Any) -> TinyGPT:
        """The model in a Hugging Face GPT-2 directory, on the chosen backend: `tinytorch.models.gpt2_files.load_gpt2`."""
        from tinytorch.models.gpt2_files import load_gpt2

        return load_gpt2(path, **changes)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write a directory that `transformers` loads as ``GPT2LMHeadModel``: `tinytorch.models.gpt2_files.save_gpt2`."""
        from tinytorch.models.gpt2_files import save_gpt2

        save_gpt2(self, path)

    def extra_repr(self) -> str:
        return f"{self.count_parameters():,} parameters"
