"""A small model for the generation tests, and its logits without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

import tinytorch as tt
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.tensor import Tensor
from tinytorch.text import CharTokenizer

LENGTH = 8
TEXT = "the quick brown fox jumps over the lazy dog"
TOKENIZER = CharTokenizer().fit(TEXT)
VOCAB = TOKENIZER.get_vocab_size()


def small_model(positional: str = "sinusoidal", scale: float = 4.0) -> TinyGPT:
    """An untrained model with scaled weights, so that rounding does not change the argmax of its logits."""
    random.seed(3)
    model = TinyGPT(VOCAB, d_model=16, num_heads=2, num_layers=2, max_length=LENGTH, positional=positional)
    model.load_state_dict({name: value * scale if "weight" in name else value for name, value in model.state_dict().items()})
    return model


def full_logits(model: TinyGPT, window: Sequence[int]) -> numpy.ndarray[Any, Any]:
    """The next-token logits of a window from one forward pass without a cache."""
    mode = model.training
    model.eval()
    with tt.no_grad():
        logits: Tensor = model(numpy.asarray([window]))
    model.train(mode)
    return numpy.array(logits.numpy()[0, -1])
