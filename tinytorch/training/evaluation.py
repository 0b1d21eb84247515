"""Evaluate a language model on a text, with metrics that are comparable between tokenizers."""

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

#: Returns an iterator over the consecutive chunks of a text.
TextChunks: TypeAlias = Callable[[], Iterable[str]]

T = TypeVar("T", bound=Sized)

#: Characters that are encoded at a time.
_CHUNK = 2**16
#: Maximum number of logits computed at a time, unless a single window has more.
_MAX_LOGITS = 2**23
_IGNORED = -100


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on a text.

    Attributes:
        loss: mean cross-entropy per token, in nats.
        perplexity: ``exp(loss)``.
        bits_per_character: total loss in bits, divided by the number of predicted characters.
        accuracy: fraction of tokens for which the argmax of the logits is correct.
        bigram_bits: bits per character of the bigram baseline, `tinytorch.text.bigram_bits`; 0 if the text repeats one character.
        tokens: number of predicted tokens, all but the first.
        characters: number of characters in the predicted tokens.
    """

    loss: float
    perplexity: float
    bits_per_character: float
    accuracy: float
    bigram_bits: float
    tokens: int
    characters: int

    @property
    def bigram_ratio(self) -> float:
        """Bits per character of the model, divided by those of the bigram baseline; infinite if the baseline needs 0 bits."""
        return self.bits_per_character / self.bigram_bits if self.bigram_bits else math.inf


def evaluate(
    model: TinyGPT,
    tokenizer: Tokenizer,
    text: str | TextChunks | TokenFile,
    stride: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    precision: str = "float32",
) -> Evaluation:
    """Evaluate a model on a whole text with a sliding window. Every token but the first is predicted once.

    Args:
        model: the model. Its training or evaluation mode is restored.
        tokenizer: the model's tokenizer.
        text: the text; or a function that returns an iterator over its chunks, so that only one chunk is in memory; or a token file
            written with the model's tokenizer. Unknown characters count as ``<UNK>``.
        stride: number of tokens the window moves by. Each token is predicted from at least ``max_length - stride`` preceding ones,
            except at the start of the text. Defaults to half of ``max_length``; a smaller stride is slower and usually lowers the loss.
        on_progress: called with the number of characters (tokens for a token file) read so far, and their total.
        precision: one of `tinytorch.nn.PRECISIONS`.

    Raises:
        InputError: if the text has fewer than two tokens, a token file was written with another tokenizer, the stride is out of range,
            or the backend does not support ``precision``.
        FloatingPointError: if the loss is not finite.
    """
    if isinstance(text, TokenFile) and text.tokenizer.to_json() != tokenizer.to_json():
        raise InputError(
            f"{text.path} was tokenized with another tokenizer than the model's; prepare the text again with the model's tokenizer"
        )
    chunks = text.text if isinstance(text, TokenFile) else partial(_slices, text) if isinstance(text, str) else text
    alphabet: set[str] = set()
    characters = 0
    for chunk in chunks():
        alphabet.update(chunk)
        characters += len(chunk)
    if not characters:
        raise InputError("the text is empty; pass a text of at least two tokens")
    if isinstance(text, TokenFile):
        tokens = _with_progress(text.parts(), lambda part: part, len(text.tokens), on_progress)
    else:
        tokens = _with_progress(whole_words(chunks()), tokenizer.encode_array, characters, on_progress)
    length = model.max_length
    batch_size = max(1, _MAX_LOGITS // (length * model.config.vocab_size))
    batches = sliding_windows(tokens, length, max(1, length // 2) if stride is None else stride, batch_size)
    first, predicted, loss, correct = _predict(model, batches, precision)
    characters -= len(tokenizer.decode(first))
    if not characters:
        raise InputError("the text has a single token; pass a text of at least two tokens")
    baseline = Bigrams(alphabet)
    for chunk in chunks():
        baseline.add(chunk)
    mean = loss / predicted
    perplexity = math.exp(mean) if mean < 700 else math.inf
    bits = loss / math.log(2) / characters
    return Evaluation(mean, perplexity, bits, correct / predicted, baseline.bits, predicted, characters)


def _predict(model: TinyGPT, batches: Iterator[tuple[HostArray, HostArray]], precision: str) -> tuple[HostArray, int, float, float]:
    """The first token (as an array), and for all other tokens: their number, the sum of their losses, and how many argmaxes are correct."""
    loss_fn, accuracy = LanguageModelLoss(_IGNORED), LanguageModelAccuracy(_IGNORED)
    first_token: HostArray | None = None
    predicted, loss, correct = 0, 0.0, 0.0
    was_training = model.training
    model.eval()
    try:
        with Precision(precision, next(model.parameters()).backend).applied(model), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # values that are not finite are detected below
            for windows, firsts in batches:
                first_token = windows[0, :1] if first_token is None else first_token
                targets = windows.copy()
                for row, first in zip(targets, firsts, strict=True):
                    row[:first] = _IGNORED
                logits = model(windows[:, :-1])
                expected = asarray(targets, device=logits.device)
                loss += float(loss_fn.total(logits, expected))
                correct += float(accuracy.total(logits, expected))
                predicted += int((windows.shape[1] - firsts).sum())
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        "the model's loss on this text is not finite: its weights are damaged or overflow the precision; "
                        "load an earlier checkpoint, or compute in float32"
                    )
    finally:
        model.train(was_training)
    assert first_token is not None  # there is at least one window
    return first_token, predicted, loss, correct


def _slices(text: str) -> Iterator[str]:
    """The chunks of a text."""
    return (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))


def _with_progress(
    chunks: Iterable[T], encode: Callable[[T], HostArray], total: int, on_progress: Callable[[int, int], None]
) -> Iterator[HostArray]:
    """Encode the chunks of a text and report the progress after each."""
    done = 0
    for chunk in chunks:
        yield encode(chunk)
        done += len(chunk)
        on_progress(done, total)
