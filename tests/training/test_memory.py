"""Too little memory ends a run with a sentence that says what fits, which was tried."""

from __future__ import annotations

from typing import Any

import pytest

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer
from tinytorch.training.language_model import random_batches
from tinytorch.training.memory import does_not_fit

TEXT = "the quick brown fox jumps over the lazy dog. " * 30


class Small:
    """A device that has room for so many windows at once."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        forward = TinyGPT.forward
        self.tried: list[int] = []

        def limited(model: TinyGPT, ids: Any, cache: Any = None) -> Any:
            self.tried.append(ids.shape[0])
            if ids.shape[0] > room:
                raise MemoryError("out of memory")
            return forward(model, ids, cache)

        monkeypatch.setattr(TinyGPT, "forward", limited)


def trainer() -> LanguageModelTrainer:
    random.seed(0)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=8)
    return LanguageModelTrainer(model, tokenizer)


@pytest.mark.parametrize(("room", "parts"), [(6, 2), (4, 4), (1, 12)])
def test_what_fits_is_tried_and_named(backend: Backend, monkeypatch: pytest.MonkeyPatch, room: int, parts: int) -> None:
    one = trainer()
    (batch,) = random_batches(one.tokenizer.encode_array(TEXT), 8, 12)()
    small = Small(backend, monkeypatch, room)
    before = {name: tensor.tolist() for name, tensor in one.model.state_dict().items()}
    error = does_not_fit(one.trainer, (batch,), 8)
    assert isinstance(error, InputError)
    windows = 12 // parts
    assert "`batch_size=12` with `block_size=8` does not fit in" in str(error)
    assert str(error).endswith(f"`accumulate={parts}` does, with {windows} windows at a time, and so does `batch_size={windows}`")
    assert small.tried[-1] == windows
    assert {name: tensor.tolist() for name, tensor in one.model.state_dict().items()} == before
    assert one.optimizer.steps == 0


def test_where_nothing_fits_the_model_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with tt.use_backend("numpy") as backend:
        one = trainer()
        Small(backend, monkeypatch, 0)
        (batch,) = random_batches(one.tokenizer.encode_array(TEXT), 8, 4)()
        assert "not even one window at a time; choose a smaller `block_size`" in str(does_not_fit(one.trainer, (batch,), 8))
