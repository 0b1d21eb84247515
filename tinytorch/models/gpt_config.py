"""The settings of `TinyGPT`: what a file of weights is checked against before a model of any size is made."""

from __future__ import annotations

from dataclasses import dataclass

from tinytorch.nn.validation import checked_share, checked_sizes

_SIZES = ("vocab_size", "d_model", "num_heads", "num_layers", "d_ff", "max_length")


@dataclass(frozen=True)
class GPTConfig:
    """The arguments of `TinyGPT`, which describes them. ``dataclasses.asdict`` gives what ``config.json`` of a run holds.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is not positive, ``num_heads`` does not divide ``d_model``, ``dropout`` is not in [0, 1), or ``positional`` is
            unknown.
    """

    vocab_size: int
    d_model: int = 256
    num_heads: int = 8
    num_layers: int = 6
    d_ff: int | None = None
    max_length: int = 1024
    dropout: float = 0.1
    positional: str = "sinusoidal"
    tie_weights: bool = False
    activation: str = "gelu_tanh"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in _SIZES if name != "d_ff" or self.d_ff is not None}
        for name, size in sizes.items():
            if not hasattr(size, "__index__"):
                raise TypeError(f"{name} must be an integer, got {size!r}")
        checked_sizes("TinyGPT", **sizes)
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model must be a multiple of num_heads, got {self.d_model} and {self.num_heads}")
        checked_share(self.dropout)
        if self.positional not in ("sinusoidal", "learned"):
            raise ValueError(f"positional must be 'sinusoidal' or 'learned', got {self.positional!r}")
