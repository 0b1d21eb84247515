"""Sizes of model and run that go together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Settings of a run. Options of `tinytorch train` change them, those named alike in the order of its help.

    Attributes:
        block_size: tokens in a window, the model's ``max_length``.
        steps: where the run stops.
        decay_steps: where the learning rate reaches its lowest.
        eval_every: steps between looks at held-out text.
    """

    d_model: int
    num_heads: int
    num_layers: int
    block_size: int
    dropout: float
    batch_size: int
    accumulate: int
    steps: int
    decay_steps: int
    warmup_steps: int
    learning_rate: float
    beta2: float
    eval_every: int


PRESETS = {
    # nanoGPT's size for a laptop, at a higher rate
    "nano": Preset(128, 4, 4, 64, 0.0, 12, 1, 2000, 2000, 100, 3e-3, 0.99, 250),
    # nanoGPT's size for one GPU
    "baby": Preset(384, 6, 6, 256, 0.2, 64, 1, 5000, 5000, 100, 1e-3, 0.99, 250),
    # GPT-2 small's size
    "gpt2": Preset(768, 12, 12, 1024, 0.1, 8, 1, 20000, 20000, 500, 6e-4, 0.95, 500),
}
