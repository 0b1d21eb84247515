"""TinyGPT: a transformer that predicts the next token."""

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
from tinytorch.nn.validation import checked_ids
from tinytorch.tensor import Tensor

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
        config: the arguments, as a `GPTConfig`.
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
        self.config = GPTConfig(
            vocab_size, d_model, num_heads, num_layers, d_ff, max_length, dropout, positional, tie_weights, activation, norm_eps
        )
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

    @property
    def num_layers(self) -> int:
        """How many blocks there are, which is how many layers a cache needs."""
        return len(self.blocks)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        return checked_ids(array, self.config.vocab_size, self.embedding.weight.device)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits of the token after each position, or after the last one where there is a cache.

        Args:
            ids: (B, T).
            cache: keys and values of earlier tokens, of which ``ids`` are the continuation and to which theirs are added.

        Returns:
            Logits (B, T, V); with a cache only those of the last position, (B, 1, V).

        Raises:
            ValueError: there are no tokens, or more than ``max_length``; or ids that come as a numpy array are out of range. A Tensor's ids
                are not read for that, and give NaN.
        """
        length = _checked_length(ids, self.max_length)
        offset, mask = (0, None) if cache is None else (cache.offset(), cache.mask(length))
        layers = [None] * self.num_layers if cache is None else cache.layers
        recompute = self.checkpoint_activations and self.training and cache is None

        x = self.dropout(self.positions(self.embedding(ids), offset))  # (B, T, C)
        for block, layer in zip(self.blocks, layers, strict=True):
            if recompute:
                x = checkpoint(partial(block, is_causal=True))(x)
            else:  # a single token may attend to all that the mask allows
                x = block(x, mask=mask, is_causal=length > 1, cache=layer)
        if cache is not None and length > 1:
            x = x[:, -1:, :]  # (B, 1, C)
        x = self.norm(x)
        if self.head is None:
            return ops.linear(x, self.embedding.weight, None)  # (B, T, V)
        return self.head(x)

    def generate(
        self, prompt: Prompt, max_new_tokens: int, temperature: float | None = None, **arguments: Unpack[GenerationArguments]
    ) -> Any:
        """Generate a continuation of ``prompt``: `tinytorch.generation.generate`, which describes the arguments."""
        return generate(self, prompt, max_new_tokens, temperature, **arguments)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **changes: Any) -> TinyGPT:
        """Read the model in a Hugging Face GPT-2 directory onto the chosen backend, in evaluation mode.

        Args:
            path: the directory.
            changes: settings that change no weight, such as ``dropout=0.0``.

        Raises:
            InputError: a file is missing or broken, a setting is not supported, or weights are missing, unknown or of another shape.
        """
        files = GPT2Files(path, **changes)
        with init.skip_init():
            model = cls(**asdict(files.config))
        # one after another, the largest first: little more than the model itself is in memory at any time
        for name, parameter in sorted(model.named_parameters(), key=lambda item: -item[1].size):
            parameter.raw = parameter.backend.from_host(files.weight(name))
        return model.eval()

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write a directory that `transformers` loads as ``GPT2LMHeadModel``; a sinusoidal table is written as ``wpe``.

        Raises:
            InputError: the directory holds a run, whose weights and settings that would replace, or another process writes there.
            OSError: it cannot be written.
        """
        state = {name: value.numpy() for name, value in self.state_dict().items()}
        if self.config.positional == "sinusoidal":
            state["positions.weight"] = self.positions.pe.numpy()
        write_gpt2(path, self.config, state)

    def extra_repr(self) -> str:
        return f"{self.count_parameters():,} parameters"


def _checked_length(ids: Tensor, max_length: int) -> int:
    """T of ids (B, T); raises ``ValueError`` unless 1 <= T <= max_length."""
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"the model reads token ids (B, T) with T of 1 or more, got shape {tuple(ids.shape)}")
    length = ids.shape[1]
    if length > max_length:
        raise ValueError(f"the model looks at {max_length} tokens at most, got {length}; crop the input")
    return length
