"""generate and stream: batches, seeds, settings, stopping, streaming and invalid input, on every backend."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.generation.models import LENGTH, TEXT, TOKENIZER, VOCAB, full_logits, small_model
from tinytorch.backend import Backend
from tinytorch.generation import SamplingConfig, crop_prompt, generate, stream
from tinytorch.generation.config import SamplingSettings
from tinytorch.generation.generate import GenerationArguments
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.tensor import Tensor


@pytest.fixture(params=["sinusoidal", "learned"])
def model(backend: Backend, request: pytest.FixtureRequest) -> TinyGPT:
    return small_model(positional=request.param)


def greedy(model: TinyGPT, prompt: list[int], count: int) -> list[int]:
    """Greedy decoding by one full forward pass for each token."""
    window, tokens = list(prompt), []
    for _ in range(count):
        if len(window) > model.max_length:
            window = window[max(1, model.max_length // 2) :]
        tokens.append(int(numpy.argmax(full_logits(model, window))))
        window.append(tokens[-1])
    return tokens


# ---- which tokens are chosen ----


def test_greedy_decoding_chooses_the_argmax_of_full_forward_passes(model: TinyGPT) -> None:
    prompt = [4, 9, 2]
    tokens = generate(model, prompt, 20, temperature=0)
    assert tokens == greedy(model, prompt, 20)
    assert generate(model, prompt, 20, temperature=0) == tokens
    assert generate(model, prompt, 20, top_k=1) == tokens
    assert generate(model, prompt, 20, top_p=1e-6) == tokens
    assert len(set(tokens)) > 2


def test_rows_of_a_batch_equal_the_results_of_single_prompts(model: TinyGPT) -> None:
    prompts = [[4, 9, 2], [7], [3, 3, 5, 6]]
    single = [generate(model, prompt, 4, temperature=0) for prompt in prompts]
    assert generate(model, prompts, 4, temperature=0) == single
    even = numpy.asarray([[4, 9, 2], [7, 7, 1]])
    assert generate(model, even, 20, temperature=0) == [generate(model, row, 20, temperature=0) for row in even]
    assert generate(model, tt.asarray(even), 20, temperature=0) == generate(model, even.tolist(), 20, temperature=0)


@pytest.fixture
def numpy_model() -> Iterator[TinyGPT]:
    """For tests that are independent of the backend: decoding is slow on backends that compile each shape."""
    with tt.use_backend("numpy"):
        yield small_model()


def test_a_repetition_penalty_applies_to_the_prompt_and_the_generated_tokens_of_each_row(numpy_model: TinyGPT) -> None:
    prompts = [[4, 9, 2], [7], [3, 3, 5, 6]]
    expected = []
    for prompt in prompts:
        window = list(prompt)
        for _ in range(4):
            logits = full_logits(numpy_model, window)
            seen = numpy.isin(numpy.arange(VOCAB), window)
            logits[seen] = numpy.where(logits > 0, logits / 1.5, logits * 1.5)[seen]
            window.append(int(logits.argmax()))
        expected.append(window[len(prompt) :])
    assert generate(numpy_model, prompts, 4, temperature=0, repetition_penalty=1.5) == expected
    assert generate(numpy_model, prompts, 4, temperature=0) != expected


def test_min_p_of_1_is_greedy(numpy_model: TinyGPT) -> None:
    assert generate(numpy_model, [4, 9], 9, min_p=1.0, seed=1) == generate(numpy_model, [4, 9], 9, temperature=0)


def test_the_same_seed_gives_the_same_result_and_another_seed_a_different_one(backend: Backend) -> None:
    model = small_model()
    first = generate(model, [4, 9], 20, seed=1)
    random.seed(99)
    assert generate(model, [4, 9], 20, seed=1) == first
    assert generate(model, [4, 9], 20, seed=2) != first


def test_without_a_seed_the_global_seed_is_used(backend: Backend) -> None:
    model = small_model()
    random.seed(5)
    first, second = [generate(model, [4, 9], 20) for _ in range(2)]
    random.seed(5)
    assert generate(model, [4, 9], 20) == first
    assert first != second
    state = random.get_state()
    generate(model, [4, 9], 5, temperature=0)
    assert random.get_state() == state


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 10}, {"top_p": 0.8}, {"temperature": 0.0}])
def test_a_seed_gives_the_same_tokens_on_every_backend(backend: Backend, settings: dict[str, float]) -> None:
    tokens = generate(small_model(), [[4, 9], [2, 3, 5]], 20, seed=1, **settings)
    with tt.use_backend("numpy"):
        assert generate(small_model(), [[4, 9], [2, 3, 5]], 20, seed=1, **settings) == tokens


def test_num_samples_gives_several_continuations_of_one_prompt(backend: Backend) -> None:
    model = small_model()
    samples = generate(model, "the", 12, seed=1, tokenizer=TOKENIZER, num_samples=3)
    assert len(samples) == len(set(samples)) == 3
    assert generate(model, "the", 12, seed=1, tokenizer=TOKENIZER, num_samples=1) == [
        generate(model, "the", 12, seed=1, tokenizer=TOKENIZER)
    ]


def test_special_tokens_and_ids_outside_the_tokenizers_vocabulary_are_not_generated(backend: Backend) -> None:
    model = TinyGPT(VOCAB + 20, d_model=8, num_heads=1, num_layers=1, max_length=LENGTH)
    state = model.state_dict()
    model.load_state_dict({**state, "head.weight": state["head.weight"] * 0.0})  # every token is equally likely
    text = generate(model, "the", 200, seed=0, tokenizer=TOKENIZER)
    assert len(text) == 200
    assert set(text) == set(TEXT)
    assert max(generate(model, [1], 200, seed=0)) >= VOCAB


def test_a_special_token_in_stop_ends_the_text(backend: Backend) -> None:
    model = TinyGPT(VOCAB, d_model=8, num_heads=1, num_layers=1, max_length=LENGTH)
    texts = [generate(model, "the", 500, seed=seed, tokenizer=TOKENIZER, stop=TOKENIZER.pad_id) for seed in range(3)]
    assert all(len(text) < 500 for text in texts)


# ---- settings ----


def test_settings_override_those_of_a_config(numpy_model: TinyGPT) -> None:
    config = SamplingConfig(temperature=0.7, top_k=5)
    assert generate(numpy_model, [4, 9], 9, config=config, seed=1) == generate(numpy_model, [4, 9], 9, temperature=0.7, top_k=5, seed=1)
    greedy_tokens = generate(numpy_model, [4, 9], 9, temperature=0)
    assert generate(numpy_model, [4, 9], 9, config=config, temperature=0) == greedy_tokens


def test_a_misspelled_argument_raises(numpy_model: TinyGPT) -> None:
    for call in (generate, stream, TinyGPT.generate):
        with pytest.raises(TypeError, match="temprature"):
            call(numpy_model, [1], 5, temprature=0.5)  # type: ignore[call-arg]


def test_generate_and_stream_declare_the_same_keyword_arguments() -> None:
    declared = set(inspect.get_annotations(GenerationArguments)) | set(inspect.get_annotations(SamplingSettings)) | {"temperature"}
    named = [name for name, argument in inspect.signature(stream).parameters.items() if argument.kind is argument.KEYWORD_ONLY]
    assert {*named, *(field.name for field in fields(SamplingConfig))} == declared


def test_the_temperature_may_be_given_by_position(numpy_model: TinyGPT) -> None:
    """As in the course's ``generate(prompt, max_new_tokens, temperature)``."""
    assert numpy_model.generate([4, 9], 9, 0.7, seed=1) == generate(numpy_model, [4, 9], 9, temperature=0.7, seed=1)
    assert list(stream(numpy_model, [4, 9], 9, 0.0)) == list(stream(numpy_model, [4, 9], 9, temperature=0))


# ---- training and evaluation mode ----


def test_the_model_runs_in_eval_mode_and_its_mode_is_restored_between_steps(backend: Backend) -> None:
    model = small_model()
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    recorded = []
    forward = model.forward

    def recording(ids: Tensor, cache: Any = None) -> Tensor:
        recorded.append(any(module.training for module in model.modules()))
        logits = forward(ids, cache)
        assert logits.node is None
        return logits

    model.forward = recording  # type: ignore[method-assign]
    parts = stream(model, [1, 2], 5)
    next(parts)
    assert [module.training for module in model.modules()] == before
    assert (tt.ones(1) * model.norm.weight).node is not None
    parts.close()  # type: ignore[attr-defined]
    assert recorded == [False]

    def failing(ids: Tensor, cache: Any = None) -> Tensor:
        raise RuntimeError("no")

    model.forward = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no"):
        generate(model, [1, 2], 5)
    assert [module.training for module in model.modules()] == before


# ---- streaming and stopping ----


def test_the_parts_of_stream_concatenate_to_the_result(backend: Backend) -> None:
    model = small_model()
    parts = list(stream(model, "the", 20, seed=1, tokenizer=TOKENIZER))
    assert len(parts) == 20
    assert "".join(parts) == model.generate("the", 20, seed=1, tokenizer=TOKENIZER)
    assert list(stream(model, [1, 2], 5, seed=1)) == [[token] for token in generate(model, [1, 2], 5, seed=1)]
    steps = list(stream(model, ["the", "fox j"], 20, seed=1, tokenizer=TOKENIZER, stop="o"))
    texts = generate(model, ["the", "fox j"], 20, seed=1, tokenizer=TOKENIZER, stop="o")
    assert ["".join(parts) for parts in zip(*steps, strict=True)] == texts


def test_a_stop_text_ends_a_row_and_is_not_in_the_result(backend: Backend) -> None:
    model = small_model()
    prompts = ["the", "fox j"]
    free = generate(model, prompts, 12, temperature=0, tokenizer=TOKENIZER)
    stop = free[0][4:7]
    stopped = generate(model, prompts, 12, temperature=0, tokenizer=TOKENIZER, stop=[stop, "never"])
    assert stopped == [text.partition(stop)[0] for text in free]
    assert stopped[0] == free[0][: free[0].index(stop)]
    assert generate(model, prompts[0], 12, temperature=0, tokenizer=TOKENIZER, stop=stop) == stopped[0]


def test_a_stop_id_ends_a_row(backend: Backend) -> None:
    model = small_model()
    free = generate(model, [4, 9], 12, temperature=0)
    stop = free[5]
    assert generate(model, [4, 9], 12, temperature=0, stop=stop) == free[: free.index(stop)]
    assert generate(model, [4, 9], 12, temperature=0, stop=[stop, 0]) == free[: free.index(stop)]
    assert list(stream(model, [4, 9], 12, temperature=0, stop=free[0])) == [[]]


# ---- prompts and invalid input ----


def test_only_the_last_tokens_of_a_long_prompt_are_used(backend: Backend) -> None:
    model = small_model()
    prompt = list(range(2, 2 + LENGTH + 3))
    assert crop_prompt(prompt, LENGTH) == (prompt[3:], 3)
    assert crop_prompt(prompt[:LENGTH], LENGTH) == (prompt[:LENGTH], 0)
    assert generate(model, prompt, 5, temperature=0) == generate(model, prompt[3:], 5, temperature=0)


def test_a_prompt_of_ids_with_a_tokenizer_gives_text(backend: Backend) -> None:
    model = small_model()
    ids = TOKENIZER.encode("the")
    assert generate(model, ids, 9, seed=1, tokenizer=TOKENIZER) == generate(model, "the", 9, seed=1, tokenizer=TOKENIZER)


@pytest.mark.parametrize("prompt", ["", [], [[]], [[1], []], ["the", ""], numpy.zeros((0,), dtype="int64")])
def test_an_empty_prompt_raises(prompt: Any) -> None:
    with pytest.raises(InputError, match="a prompt is empty: pass at least one token"):
        stream(small_model(), prompt, 5, tokenizer=TOKENIZER)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "the"}, "needs a `tokenizer`"),
        ({"prompt": "tHé", "tokenizer": TOKENIZER}, "not in the tokenizer's vocabulary: 'H' 'é'"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be at least 1, got 0"),
        ({"temperature": -1}, "`temperature` must be finite and at least 0, got -1"),
        ({"top_k": 0}, "`top_k` must be at least 1, got 0"),
        ({"top_p": 2}, r"`top_p` must be in \(0, 1\], got 2"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"stop": "x"}, "in `stop` needs a `tokenizer`"),
        ({"stop": "", "tokenizer": TOKENIZER}, "`stop` contains an empty text"),
        ({"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
        ({"num_samples": 2, "prompt": [[1], [2]]}, "`num_samples` needs a single prompt, got 2"),
        ({"prompt": [VOCAB]}, f"between 0 and {VOCAB - 1}"),
    ],
)
def test_invalid_input_raises_before_the_first_part(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**{"model": small_model(), "prompt": [1], "max_new_tokens": 5, **arguments})


def test_ids_that_are_not_integers_raise() -> None:
    with pytest.raises(TypeError, match="got float64"):
        generate(small_model(), [1.5], 5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_with_nan_weights_raises(backend: Backend, temperature: float) -> None:
    model = small_model()
    state = model.state_dict()
    model.load_state_dict({**state, "norm.bias": state["norm.bias"] + float("nan")})
    with pytest.raises(FloatingPointError, match="not finite"):
        generate(model, [1, 2], 5, temperature=temperature)
