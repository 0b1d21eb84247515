"""TinyGPT: a decoder-only transformer language model (GPT-2, Radford et al. 2019)."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from functools import partial
from typing import Any, Unpack

from tinytorch import ops
from tinytorch.autograd.recompute import checkpoint
from tinytorch.backend.device import Device
from tinytorch.generation.caches import Cache
from tinytorch.generation.generate import GenerationArguments, Prompt, generate
from tinytorch.models.gpt2_files import GPT2Files, write_gpt2
from tinytorch.models.gpt_config import GPTConfig
from tinytorch.nn import init
from tinytorch.nn.containers import ModuleList
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.embedding import Embedding
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module
from tinytorch.nn.normalization import LayerNorm
from tinytorch.nn.positions import LearnedPositionalEncoding, PositionalEncoding
from tinytorch.nn.transformer import TransformerBlock
from tinytorch.nn.validation import check_token_ids, ids_from_host
from tinytorch.tensor import Tensor

_INIT_STD = 0.02  # of initial weights (Radford et al. 2018, "Improving language understanding by generative pre-training", section 4.1)


class TinyGPT(Module):
    """A decoder-only transformer with pre-norm blocks; with learned positions and tied weights it is GPT-2 (Radford et al. 2019).

    Args:
        vocab_size: number of tokens V.
        d_model: width C; must be a multiple of ``num_heads``.
        num_heads: number of attention heads in each block.
        num_layers: number of blocks.
        d_ff: inner width of the feed-forward networks. Defaults to 4 * d_model.
        max_length: maximum number of tokens in the context.
        dropout: dropout probability, after the embedding and in the blocks.
        positional: positional encoding, ``"sinusoidal"`` or ``"learned"``.
        tie_weights: whether the output layer shares the weight of the embedding (Press and Wolf 2017, arXiv:1608.05859).
        activation, norm_eps: see `TransformerBlock`.

    Shape:
        token ids (B, T) with T <= max_length -> logits (B, T, V).

    Attributes:
        config: the arguments, as a `GPTConfig`.
        checkpoint_activations: whether to recompute the activations of each block in the backward pass instead of storing them (Chen et
            al. 2016, arXiv:1604.06174): less memory, one more forward pass. Only in training mode; defaults to false.

    Raises:
        ValueError: an argument is not valid.

    Example:
        >>> model = tt.models.TinyGPT(vocab_size=65, d_model=32, num_heads=4, num_layers=2, max_length=16)
        >>> model(tt.asarray([[1, 2, 3]])).shape
        (1, 3, 65)
    """

    batch_independent = True
    data_arguments = 1

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
        self.config = GPTConfig(
            vocab_size, d_model, num_heads, num_layers, d_ff, max_length, dropout, positional, tie_weights, activation, norm_eps
        )
        self.max_length = max_length
        self.checkpoint_activations = False
        self.embedding = Embedding(vocab_size, d_model)
        if positional == "learned":
            self.positions: Module = LearnedPositionalEncoding(d_model, max_length, _INIT_STD)
        else:  # the RMS of a sinusoid is 1 / sqrt(2): with this scale, the encoding has the same RMS as the token embedding
            self.positions = PositionalEncoding(d_model, max_length, scale=_INIT_STD * math.sqrt(2))
        self.dropout = Dropout(dropout)
        self.blocks = ModuleList(
            TransformerBlock(d_model, num_heads, d_ff, dropout, activation=activation, norm_eps=norm_eps) for _ in range(num_layers)
        )
        self.norm = LayerNorm(d_model, norm_eps)
        self.head = None if tie_weights else Linear(d_model, vocab_size, bias=False)
        self._initialize(num_layers)

    def _initialize(self, num_layers: int) -> None:
        """Draw normal weights, smaller in the residual projections (Radford et al. 2019, section 2.3), and set biases to 0."""
        for name, parameter in self.named_parameters():
            if name.startswith("positions") or "norm" in name:
                continue
            if len(parameter.shape) == 1:
                new = init.constant(parameter.shape, 0.0)
            else:
                residual = name.endswith(("out_proj.weight", "linear2.weight"))
                std = _INIT_STD / math.sqrt(2 * num_layers) if residual else _INIT_STD
                new = init.normal(parameter.shape, std)
            parameter.raw = new.raw

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Compute the logits of the next token at each position.

        Args:
            ids: token ids (B, T).
            cache: keys and values of earlier tokens, to which those of ``ids`` are added.

        Returns:
            Logits (B, T, V); with a cache only those of the last position, (B, 1, V).

        Raises:
            ValueError: there are no tokens or more than ``max_length``, or an id in a numpy array is out of bounds. The ids in a Tensor are
                not checked; an out-of-bounds id gives NaN.
        """
        length = check_token_ids(ids, self.max_length)
        offset, mask = (0, None) if cache is None else (cache.offset(), cache.mask(length))
        layer_caches = [None] * self.num_layers if cache is None else cache.layers
        recompute = self.checkpoint_activations and self.training and cache is None

        x = self.dropout(self.positions(self.embedding(ids), offset))  # (B, T, C)
        for block, layer_cache in zip(self.blocks, layer_caches, strict=True):
            if recompute:
                x = checkpoint(partial(block, is_causal=True))(x)
            else:  # a single token needs no causal mask
                x = block(x, mask=mask, is_causal=length > 1, cache=layer_cache)
        if cache is not None and length > 1:
            x = x[:, -1:, :]  # (B, T, C) -> (B, 1, C)
        x = self.norm(x)  # (B, T, C)
        if self.head is None:
            return ops.linear(x, self.embedding.weight, None)  # tied weights: (B, T, C) -> (B, T, V)
        return self.head(x)  # (B, T, V)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        return ids_from_host(array, self.config.vocab_size, self.embedding.weight.device)

    @property
    def num_layers(self) -> int:
        """Number of blocks, and of layers in a cache."""
        return len(self.blocks)

    def generate(
        self, prompt: Prompt, max_new_tokens: int, temperature: float | None = None, **arguments: Unpack[GenerationArguments]
    ) -> Any:
        """Generate a continuation of ``prompt``; see `tinytorch.generation.generate`."""
        return generate(self, prompt, max_new_tokens, temperature, **arguments)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **changes: Any) -> TinyGPT:
        """Load a Hugging Face GPT-2 directory onto the current backend, in evaluation mode.

        Args:
            path: the directory.
            changes: settings to override that do not change the weights, such as ``dropout=0.0``.

        Raises:
            InputError: a file is missing or damaged, a setting is not supported, or weights are missing, unknown or of another shape.
        """
        files = GPT2Files(path, **changes)
        with init.skip_init():
            model = cls(**asdict(files.config))
        # one at a time, the largest first, so that the peak memory is little more than the model itself
        for name, parameter in sorted(model.named_parameters(), key=lambda item: -item[1].size):
            parameter.raw = parameter.backend.from_host(files.weight(name))
        return model.eval()

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Save a directory that `transformers` loads as ``GPT2LMHeadModel``; a sinusoidal encoding is saved as ``wpe``.

        Raises:
            InputError: the directory contains a training run, or another process is writing to it.
            OSError: the directory cannot be written.
        """
        state = {name: value.numpy() for name, value in self.state_dict().items()}
        if self.config.positional == "sinusoidal":
            state["positions.weight"] = self.positions.pe.numpy()
        write_gpt2(path, self.config, state)

    def extra_repr(self) -> str:
        return f"{self.count_parameters():,} parameters"
