"""The out-of-memory error names a number of microbatches that was tried and fits."""

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
from tinytorch.training.memory import out_of_memory_error

TEXT = "the quick brown fox jumps over the lazy dog. " * 30


class LimitedMemory:
    """Makes the forward pass raise MemoryError for more than ``limit`` windows."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        forward = TinyGPT.forward
        self.tried: list[int] = []

        def limited(model: TinyGPT, ids: Any, cache: Any = None) -> Any:
            self.tried.append(ids.shape[0])
            if ids.shape[0] > limit:
                raise MemoryError("out of memory")
            return forward(model, ids, cache)

        monkeypatch.setattr(TinyGPT, "forward", limited)


def trainer() -> LanguageModelTrainer:
    random.seed(0)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=8)
    return LanguageModelTrainer(model, tokenizer)


@pytest.mark.parametrize(("limit", "accumulate"), [(6, 2), (4, 4), (1, 12)])
def test_the_error_names_the_first_number_of_microbatches_that_fits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, limit: int, accumulate: int
) -> None:
    one = trainer()
    (batch,) = random_batches(one.tokenizer.encode_array(TEXT), 8, 12)()
    device = LimitedMemory(backend, monkeypatch, limit)
    before = {name: tensor.tolist() for name, tensor in one.model.state_dict().items()}
    error = out_of_memory_error(one.trainer, (batch,), 8)
    assert isinstance(error, InputError)
    windows = 12 // accumulate
    assert "`batch_size=12` with `block_size=8` does not fit in" in str(error)
    assert str(error).endswith(f"use `accumulate={accumulate}` ({windows} windows per microbatch) or `batch_size={windows}`")
    assert device.tried[-1] == windows
    assert {name: tensor.tolist() for name, tensor in one.model.state_dict().items()} == before
    assert one.optimizer.steps == 0


def test_the_error_suggests_a_smaller_model_if_one_window_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with tt.use_backend("numpy") as backend:
        one = trainer()
        LimitedMemory(backend, monkeypatch, 0)
        (batch,) = random_batches(one.tokenizer.encode_array(TEXT), 8, 4)()
        assert "even with one window per microbatch; choose a smaller `block_size`" in str(out_of_memory_error(one.trainer, (batch,), 8))
