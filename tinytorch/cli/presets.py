"""Sizes of model and run that go together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Settings of a run. Options of `tinytorch train` change them, those named alike in the order of its help.

    Attributes:
        block_size: tokens in a window, the model's ``max_length``.
        steps: where the run stops, and the learning rate reaches its lowest.
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
    warmup_steps: int
    learning_rate: float
    beta2: float
    eval_every: int


PRESETS = {
    # nanoGPT's size for a laptop, at a higher rate
    "nano": Preset(
        d_model=128,
        num_heads=4,
        num_layers=4,
        block_size=64,
        dropout=0.0,
        batch_size=12,
        accumulate=1,
        steps=2000,
        warmup_steps=100,
        learning_rate=3e-3,
        beta2=0.99,
        eval_every=250,
    ),
    # nanoGPT's size for one GPU
    "baby": Preset(
        d_model=384,
        num_heads=6,
        num_layers=6,
        block_size=256,
        dropout=0.2,
        batch_size=64,
        accumulate=1,
        steps=5000,
        warmup_steps=100,
        learning_rate=1e-3,
        beta2=0.99,
        eval_every=250,
    ),
    # GPT-2 small's size
    "gpt2": Preset(
        d_model=768,
        num_heads=12,
        num_layers=12,
        block_size=1024,
        dropout=0.1,
        batch_size=8,
        accumulate=1,
        steps=20000,
        warmup_steps=500,
        learning_rate=6e-4,
        beta2=0.95,
        eval_every=500,
    ),
    # for a model that has learned before, whose size this is not
    "finetune": Preset(
        d_model=768,
        num_heads=12,
        num_layers=12,
        block_size=256,
        dropout=0.1,
        batch_size=8,
        accumulate=1,
        steps=500,
        warmup_steps=20,
        learning_rate=1e-4,
        beta2=0.95,
        eval_every=100,
    ),
}
