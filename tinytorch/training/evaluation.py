"""How well a model predicts a text, in terms that models with other tokens share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from tinytorch.array_api import asarray
from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray
from tinytorch.models import TinyGPT
from tinytorch.nn import LanguageModelLoss, Precision
from tinytorch.text import TokenFile, Tokenizer, sliding_windows
from tinytorch.text.bigram import Bigrams
from tinytorch.text.words import whole_words
from tinytorch.training.metrics import LanguageModelAccuracy

#: Gives a text from its beginning, in parts.
TextParts: TypeAlias = Callable[[], Iterable[str]]

T = TypeVar("T", bound=Sized)

#: Characters that are encoded together.
_PART = 2**16
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
        bigram_bits: bits per character of the bigram baseline, `tinytorch.text.bigram_bits`; 0 for a single character over and over.
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
        """The model's bits per character by the baseline's; infinite where that needs none."""
        return self.bits_per_character / self.bigram_bits if self.bigram_bits else math.inf


def evaluate(
    model: TinyGPT,
    tokenizer: Tokenizer,
    text: str | TextParts | TokenFile,
    stride: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    precision: str = "float32",
) -> Evaluation:
    """Predict the whole text, each token but the first once, through a window that slides over it.

    Args:
        model: what predicts; it is left in the mode it was in.
        tokenizer: the model's.
        text: what to predict; or a function that gives it from its beginning, in parts, of which one at a time is held in memory; or a file
            of the model's tokens. A character that the tokenizer lacks counts as ``<UNK>``.
        stride: how far the window moves: a token is predicted from at least ``max_length - stride`` before it. Half of ``max_length`` where
            left out; less is slower and gives a lower loss, down to 1.
        on_progress: told how many characters, or tokens of a file, are read, and of how many.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`.

    Raises:
        InputError: the text has fewer than two tokens, a file has other tokens than the model, the stride is out of range, or the backend
            cannot compute in ``precision``.
        FloatingPointError: the loss is not finite.
    """
    if isinstance(text, TokenFile) and text.tokenizer.to_json() != tokenizer.to_json():
        raise InputError(f"{text.path} has other tokens than the model; prepare the text again, with the model's tokenizer")
    parts = text.text if isinstance(text, TokenFile) else partial(_slices, text) if isinstance(text, str) else text
    alphabet: set[str] = set()
    characters = 0
    for part in parts():
        alphabet.update(part)
        characters += len(part)
    if not characters:
        raise InputError("there is no text to evaluate on: give some")
    if isinstance(text, TokenFile):
        tokens = _told(text.parts(), lambda part: part, len(text.tokens), on_progress)
    else:
        tokens = _told(whole_words(parts()), tokenizer.encode_array, characters, on_progress)
    length = model.max_length
    at_once = max(1, _LOGITS // (length * model.config.vocab_size))
    batches = sliding_windows(tokens, length, max(1, length // 2) if stride is None else stride, at_once)
    first, predicted, loss, hits = _predict(model, batches, precision)
    characters -= len(tokenizer.decode(first))
    if not characters:
        raise InputError("the text is a single token, and there is nothing to predict: give more text")
    baseline = Bigrams(alphabet)
    for part in parts():
        baseline.add(part)
    mean = loss / predicted
    perplexity = math.exp(mean) if mean < 700 else math.inf
    bits = loss / math.log(2) / characters
    return Evaluation(mean, perplexity, bits, hits / predicted, baseline.bits, predicted, characters)


def _predict(model: TinyGPT, batches: Iterator[tuple[HostArray, HostArray]], precision: str) -> tuple[HostArray, int, float, float]:
    """The text's first token, how many others are predicted, the sum of their losses, and how many the model thought most likely."""
    loss_fn, accuracy = LanguageModelLoss(_IGNORED), LanguageModelAccuracy(_IGNORED)
    beginning: HostArray | None = None
    predicted, loss, hits = 0, 0.0, 0.0
    was_training = model.training
    model.eval()
    try:
        with Precision(precision, next(model.parameters()).backend).applied(model), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what is not finite is looked for below
            for windows, firsts in batches:
                beginning = windows[0, :1] if beginning is None else beginning
                targets = windows.copy()
                for row, first in zip(targets, firsts, strict=True):
                    row[:first] = _IGNORED
                logits = model(windows[:, :-1])
                wanted = asarray(targets, device=logits.device)
                loss += float(loss_fn.total(logits, wanted))
                hits += float(accuracy.total(logits, wanted))
                predicted += int((windows.shape[1] - firsts).sum())
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        "the model's loss on this text is not a finite number: its weights are damaged, or too large for the precision; "
                        "load an earlier checkpoint, or compute in float32"
                    )
    finally:
        model.train(was_training)
    assert beginning is not None  # there is a last window at least
    return beginning, predicted, loss, hits


def _slices(text: str) -> Iterator[str]:
    """A text in parts."""
    return (text[start : start + _PART] for start in range(0, len(text), _PART))


def _told(parts: Iterable[T], tokens: Callable[[T], HostArray], total: int, on_progress: Callable[[int, int], None]) -> Iterator[HostArray]:
    """The tokens of parts of a text, with progress told as they are asked for."""
    done = 0
    for part in parts:
        yield tokens(part)
        done += len(part)
        on_progress(done, total)
