"""How well a model predicts a text, in terms that models with other tokens share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tinytorch.array_api import asarray
from tinytorch.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.nn import LanguageModelLoss, Precision
from tinytorch.text import Tokenizer, bigram_bits, sliding_windows
from tinytorch.training.metrics import LanguageModelAccuracy

#: Logits that are worked out at once, unless a single window has more.
_LOGITS = 2**23
_IGNORED = -100


@dataclass(frozen=True)
class Evaluation:
    """Measures of a model on a text.

    Attributes:
        loss: mean cross-entropy of a token, in nats.
        perplexity: its exponential.
        bits_per_character: the loss of all tokens, in bits, by the characters that they stand for.
        accuracy: share of tokens that the model thought most likely.
        bigram_bits: bits per character of the bigram baseline, `tinytorch.text.bigram_bits`.
        tokens: how many were predicted, all but the first.
        characters: how many they stand for.
    """

    loss: float
    perplexity: float
    bits_per_character: float
    accuracy: float
    bigram_bits: float
    tokens: int
    characters: int

    @property
    def share_of_bigram(self) -> float:
        """The model's bits per character by the baseline's."""
        return self.bits_per_character / self.bigram_bits


def evaluate(
    model: TinyGPT,
    tokenizer: Tokenizer,
    text: str,
    stride: int | None = None,
    on_windows: Callable[[int, int], None] = lambda done, total: None,
    precision: str = "float32",
) -> Evaluation:
    """Predict the whole text, each token but the first once, through a window that slides over it.

    Args:
        model: what predicts; it is left in the mode it was in.
        tokenizer: the model's.
        text: what to predict. A character that the tokenizer lacks counts as ``<UNK>``.
        stride: how far the window moves: a token is predicted from at least ``max_length - stride`` before it. Half of ``max_length`` where
            left out; less is slower and gives a lower loss, down to 1.
        on_windows: told how many windows are done, and of how many.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`.

    Raises:
        InputError: the text has fewer than two tokens, the stride is out of range, or the backend cannot compute in ``precision``.
    """
    if not text:
        raise InputError("there is no text to evaluate on: give some")
    tokens = tokenizer.encode_array(text)
    length = model.max_length
    windows, firsts = sliding_windows(tokens, length, max(1, length // 2) if stride is None else stride)
    targets = windows.copy()
    for row, first in zip(targets, firsts, strict=True):
        row[:first] = _IGNORED
    at_once = max(1, _LOGITS // (windows.shape[1] * model.settings["vocab_size"]))
    loss_fn, accuracy = LanguageModelLoss(_IGNORED), LanguageModelAccuracy(_IGNORED)
    loss = hits = 0.0
    was_training = model.training
    model.eval()
    try:
        with Precision(precision, next(model.parameters()).backend).applied(model):
            for start in range(0, len(windows), at_once):
                logits = model(windows[start : start + at_once, :-1])
                wanted = asarray(targets[start : start + at_once], device=logits.device)
                loss += float(loss_fn.total(logits, wanted))
                hits += float(accuracy.total(logits, wanted))
                on_windows(min(start + at_once, len(windows)), len(windows))
    finally:
        model.train(was_training)
    predicted = len(tokens) - 1
    characters = len(text) - len(tokenizer.decode(tokens[:1]))
    if not characters:
        raise InputError("the text is a single token, and there is nothing to predict: give more text")
    mean = loss / predicted
    perplexity = math.exp(mean) if mean < 700 else math.inf
    bits = loss / math.log(2) / characters
    return Evaluation(mean, perplexity, bits, hits / predicted, bigram_bits(text), predicted, characters)
