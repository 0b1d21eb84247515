"""Evaluation of a model on a text, compared with one forward pass per token."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tracemalloc
from pathlib import Path

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.text import CharTokenizer, bigram_bits, write_token_file
from tinytorch.training import evaluation
from tinytorch.training.evaluation import evaluate

TEXT = "to be, or not to be, that is the question"
TOKENIZER = CharTokenizer().fit(TEXT)


def small_model() -> TinyGPT:
    tt.seed(0)
    return TinyGPT(TOKENIZER.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=8)


def reference(model: TinyGPT, ids: list[int], stride: int) -> tuple[float, float]:
    """Loss and accuracy, with one forward pass per predicted token."""
    model.eval()
    length, losses, correct = model.max_length, [], 0
    for i in range(1, len(ids)):
        start = max(0, -(-(i - length) // stride) * stride)
        start = min(start, len(ids) - 1 - length)
        logits = host(model(numpy.asarray([ids[start:i]])))[0, -1].astype("float64")
        losses.append(math.log(numpy.exp(logits).sum()) - logits[ids[i]])
        correct += int(logits.argmax()) == ids[i]
    return sum(losses) / len(losses), correct / len(losses)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_every_token_but_the_first_is_predicted_once(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_MAX_LOGITS", 3 * 9 * TOKENIZER.get_vocab_size())
    calls: list[tuple[int, int]] = []
    with tt.use_backend("numpy"):
        model = small_model()
        found = evaluate(model, TOKENIZER, TEXT, stride, lambda *progress: calls.append(progress))
        assert model.training
        loss, accuracy = reference(model, TOKENIZER.encode(TEXT), stride)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.accuracy == pytest.approx(accuracy)
    assert (found.tokens, found.characters) == (len(TEXT) - 1, len(TEXT) - 1)
    assert calls[-1] == (len(TEXT), len(TEXT))


def test_all_backends_return_the_same_metrics(backend: Backend) -> None:
    ours = evaluate(small_model(), TOKENIZER, TEXT)
    with tt.use_backend("numpy"):
        theirs = evaluate(small_model(), TOKENIZER, TEXT)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.accuracy == theirs.accuracy


def test_metrics_are_consistent_with_each_other() -> None:
    with tt.use_backend("numpy"):
        found = evaluate(small_model(), TOKENIZER, TEXT)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.bits_per_character == pytest.approx(found.loss / math.log(2))
    assert found.bigram_bits == bigram_bits(TEXT)
    assert found.bigram_ratio == found.bits_per_character / found.bigram_bits


def test_bits_per_character_divide_by_characters_not_tokens() -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    from tinytorch.text import BPETokenizer

    tokenizer = BPETokenizer.train(TEXT * 9, 270)
    with tt.use_backend("numpy"):
        found = evaluate(TinyGPT(270, d_model=8, num_heads=2, num_layers=1, max_length=8), tokenizer, TEXT)
    ids = tokenizer.encode(TEXT)
    assert (found.tokens, found.characters) == (len(ids) - 1, len(TEXT) - len(tokenizer.decode(ids[:1])))
    assert found.bits_per_character == pytest.approx(found.loss * found.tokens / found.characters / math.log(2))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_text_and_a_token_file_give_the_same_metrics(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytorch.text.token_file._AT_ONCE", size)
    parts = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    with tt.use_backend("numpy"):
        whole = evaluate(small_model(), TOKENIZER, TEXT)
        file = write_token_file(tmp_path / "a.tokens", parts, TOKENIZER)
        for found in (evaluate(small_model(), TOKENIZER, lambda: parts), evaluate(small_model(), TOKENIZER, file)):
            assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(whole), rel=1e-6)
        with pytest.raises(InputError, match=r"a\.tokens was tokenized with another tokenizer than the model's"):
            evaluate(small_model(), CharTokenizer().fit("ab"), file)


def test_a_text_of_one_repeated_character_can_be_evaluated() -> None:
    with tt.use_backend("numpy"):
        found = evaluate(small_model(), TOKENIZER, "t" * 50)
    assert (found.tokens, found.characters, found.bigram_bits) == (49, 49, 0.0)
    assert math.isfinite(found.loss)
    assert found.bigram_ratio == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_raise_an_error(value: float, backend: Backend) -> None:
    model = small_model()
    model.load_state_dict({**model.state_dict(), "norm.bias": tt.full((8,), value)})
    with pytest.raises(FloatingPointError, match="loss on this text is not finite: its weights are damaged"):
        evaluate(model, TOKENIZER, TEXT)
    assert model.training


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_MAX_LOGITS", 2**13)

    def peak(repeats: int) -> int:
        tracemalloc.start()
        evaluate(model, TOKENIZER, lambda: itertools.repeat(TEXT, repeats), stride=1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    with tt.use_backend("numpy"):
        model = small_model()
        peak(1)  # imports modules
        assert peak(80) < 1.1 * peak(20)


@pytest.mark.parametrize("text", ["", "t"])
def test_a_text_with_fewer_than_two_tokens_raises_an_error(text: str) -> None:
    with tt.use_backend("numpy"), pytest.raises(InputError, match="pass "):
        evaluate(small_model(), TOKENIZER, text)
