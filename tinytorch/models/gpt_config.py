"""The settings of `TinyGPT`, which are validated without creating the model."""

from __future__ import annotations

from dataclasses import dataclass

from tinytorch.nn.validation import check_positive, check_probability

_SIZES = ("vocab_size", "d_model", "num_heads", "num_layers", "d_ff", "max_length")


@dataclass(frozen=True)
class GPTConfig:
    """The settings of a `TinyGPT`; see there for their meaning. ``dataclasses.asdict`` converts them for ``config.json``.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is not positive, ``num_heads`` does not divide ``d_model``, ``dropout`` is not in [0, 1), or ``positional`` is
            unknown.

    Example:
        >>> config = tt.models.GPTConfig(vocab_size=65, d_model=32, num_heads=4)
        >>> config.num_layers, config.positional
        (6, 'sinusoidal')
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
        check_positive("TinyGPT", **sizes)
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model must be a multiple of num_heads, got {self.d_model} and {self.num_heads}")
        check_probability(self.dropout)
        if self.positional not in ("sinusoidal", "learned"):
            raise ValueError(f"positional must be 'sinusoidal' or 'learned', got {self.positional!r}")
