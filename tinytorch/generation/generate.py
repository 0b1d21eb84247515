"""Generating text or token ids with a language model: batched, cached and streaming."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, Unpack

from tinytorch.generation.config import SamplingConfig, SamplingSettings
from tinytorch.generation.decoding import Decoder
from tinytorch.generation.logits_processors import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
)
from tinytorch.generation.sampling import NO_TOKEN, greedy, sample
from tinytorch.generation.streaming import TextStreamer, TokenStreamer
from tinytorch.io.errors import InputError
from tinytorch.nn.module import Module
from tinytorch.ops import random
from tinytorch.tensor import wrap
from tinytorch.text.protocol import Tokenizer

#: A text, a sequence of ids, or a list of either; a 2-d array is a batch of sequences of ids.
Prompt: TypeAlias = Any
#: A stop text, a stop id, or a sequence of them.
Stop: TypeAlias = "str | int | Sequence[str | int] | None"


class GenerationArguments(SamplingSettings, total=False):
    """The keyword arguments of `generate` and `stream`, for type checkers."""

    config: SamplingConfig | None
    tokenizer: Tokenizer | None
    stop: Stop
    num_samples: int | None
    seed: int | None
    precision: str


def generate(
    model: Module, prompt: Prompt, max_new_tokens: int, temperature: float | None = None, **arguments: Unpack[GenerationArguments]
) -> Any:
    """Generate a continuation of a prompt; the result does not include the prompt.

    Args:
        model: a Module that `Decoder` accepts, such as `TinyGPT`. Its training or evaluation mode is restored.
        prompt: ids, or a list of sequences of ids, which may differ in length; with a tokenizer also a text, or a list of texts. Only the
            last ``model.max_length`` tokens of a longer prompt are used; see `crop_prompt`.
        max_new_tokens: maximum number of tokens to generate; a row has fewer if ``stop`` ends it.
        config: sampling settings; defaults to `SamplingConfig()`.
        temperature, top_k, top_p, min_p, repetition_penalty: override the settings of ``config``; see `SamplingConfig`.
        tokenizer: encodes prompts and decodes results. Its special tokens are never chosen, unless they are in ``stop``.
        stop: texts or ids that end a row; the result does not include them. Only generated text is searched, not the prompt.
        num_samples: number of continuations of a single prompt.
        seed: seed of the sampling; the result is the same on every backend. Defaults to a random seed, drawn from the
            global generator (`tinytorch.seed`).
        precision: the precision to compute in, one of `tinytorch.nn.PRECISIONS`; defaults to float32.

    Returns:
        A text with a tokenizer, a list of ids without one; a list of these for several prompts or with ``num_samples``.

    Raises:
        InputError: a prompt is empty or has characters that are not in the tokenizer's vocabulary, or a setting is out of range.
        TypeError: ids are not integers, or an argument is unknown.
        ValueError: an id is outside the model's vocabulary.
        FloatingPointError: the model's logits are not finite.

    Example:
        >>> from tinytorch.generation import generate
        >>> from tinytorch.models import TinyGPT
        >>> model = TinyGPT(10, d_model=8, num_heads=2, num_layers=1, max_length=16)
        >>> ids = generate(model, [1, 2, 3], max_new_tokens=5, temperature=0.8, top_k=3, seed=0)
        >>> len(ids)
        5
    """
    steps = list(stream(model, prompt, max_new_tokens, temperature, **arguments))
    if _is_single(prompt) and arguments.get("num_samples") is None:
        return _concatenate(steps)
    return [_concatenate(row) for row in zip(*steps, strict=True)]


def stream(
    model: Module,
    prompt: Prompt,
    max_new_tokens: int,
    temperature: float | None = None,
    *,
    config: SamplingConfig | None = None,
    tokenizer: Tokenizer | None = None,
    stop: Stop = None,
    num_samples: int | None = None,
    seed: int | None = None,
    precision: str = "float32",
    **sampling: Unpack[SamplingSettings],
) -> Iterator[Any]:
    """Yield the result of `generate` in parts, one part after each step.

    A part is a text or a list of ids, and may be empty; the parts concatenate to the result. If `generate` returns a list of results, each
    step yields a list with one part for each of them. Text that may be the beginning of a stop text is held back until later
    tokens show whether it is.

    Between steps the model is in its original mode, so it may be trained; the next step uses the new weights. Arguments and errors are
    those of `generate`; errors other than ``FloatingPointError`` are raised by the call itself, not while iterating.

    Example:
        >>> from tinytorch.generation import stream
        >>> from tinytorch.models import TinyGPT
        >>> from tinytorch.text import CharTokenizer
        >>> tokenizer = CharTokenizer().fit("to be or not to be")
        >>> model = TinyGPT(tokenizer.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=16)
        >>> parts = [part for part in stream(model, "to be", max_new_tokens=4, tokenizer=tokenizer)]
        >>> len(parts)
        4
    """
    config = replace(config or SamplingConfig(), **sampling)
    if temperature is not None:
        config = replace(config, temperature=temperature)
    if max_new_tokens < 1:
        raise InputError(f"`max_new_tokens` must be at least 1, got {max_new_tokens}")
    if seed is not None and seed < 0:
        raise InputError(f"`seed` must be at least 0, got {seed}; leave it out for a random result")
    single = _is_single(prompt)
    prompts = [prompt] if single else list(_as_list(prompt))
    if num_samples is not None:
        if num_samples < 1:
            raise InputError(f"`num_samples` must be at least 1, got {num_samples}")
        if not single:
            raise InputError(f"`num_samples` needs a single prompt, got {len(prompts)}; repeat each prompt in the list instead")
        prompts = prompts * num_samples
    decoder = Decoder(model, [_ids(row, tokenizer) for row in prompts], precision)
    stop_ids, stop_texts = _stops(stop, tokenizer)
    streamers: Sequence[TokenStreamer | TextStreamer]
    if tokenizer is None:
        streamers = [TokenStreamer(stop_ids) for _ in prompts]
    else:
        streamers = [TextStreamer(tokenizer, stop_ids, stop_texts) for _ in prompts]
    tokens = _choose(decoder, _processors(config, decoder, tokenizer, stop_ids), config, seed)
    steps = _decode(tokens, streamers, max_new_tokens)
    return (row[0] for row in steps) if single and num_samples is None else steps


def _processors(config: SamplingConfig, decoder: Decoder, tokenizer: Tokenizer | None, stop_ids: Collection[int]) -> list[LogitsProcessor]:
    """The logits processors, in order of application."""
    processors: list[LogitsProcessor] = []
    if config.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(decoder.window(), config.repetition_penalty))
    if tokenizer is not None:
        processors.append(SuppressTokensLogitsProcessor(tokenizer.get_vocab_size(), set(tokenizer.special_ids) - set(stop_ids)))
    if config.temperature > 0:
        processors.append(TemperatureLogitsWarper(config.temperature))
        if config.min_p:
            processors.append(MinPLogitsWarper(config.min_p))
    return processors


def _choose(decoder: Decoder, processors: Sequence[LogitsProcessor], config: SamplingConfig, seed: int | None) -> Iterator[list[int]]:
    """Yield one token id for each row, endlessly. Tokens stay on the device as the next input; their ids are copied to the CPU."""
    backend = decoder.backend
    if config.temperature > 0:
        generator = backend.rng(int(random.generator().integers(2**63)) if seed is None else seed)
    tokens = None  # (B)
    while True:
        logits = decoder.logits(tokens).raw  # (B, V)
        for processor in processors:
            logits = processor(backend.xp, logits, None if tokens is None else tokens.raw)
        if config.temperature > 0:
            noise = generator.uniform(tuple(logits.shape))
            tokens = wrap(sample(backend.xp, logits, noise, config.top_k, config.top_p), backend)
        elif processors or decoder.greedy_tokens is None:
            tokens = wrap(greedy(backend.xp, logits), backend)
        else:
            tokens = decoder.greedy_tokens
        ids: list[int] = tokens.tolist()
        if NO_TOKEN in ids:
            raise FloatingPointError(
                "the model's logits are not finite numbers: its weights may be NaN or infinite; load an earlier checkpoint or train again"
            )
        yield ids


def _decode(tokens: Iterator[list[int]], streamers: Sequence[TokenStreamer | TextStreamer], steps: int) -> Iterator[list[Any]]:
    """Yield the parts of all rows for each of ``steps`` steps, or until every row has ended; a row that has ended yields empty parts."""
    for step in range(1, steps + 1):
        yield [streamer.put(token, last=step == steps) for streamer, token in zip(streamers, next(tokens), strict=True)]
        if all(streamer.done for streamer in streamers):
            return


# ---- interpreting the arguments ----


def _is_single(prompt: Prompt) -> bool:
    """Whether this is a single prompt, not a list of prompts."""
    return isinstance(prompt, str) or not any(hasattr(item, "__len__") for item in _as_list(prompt))


def _as_list(values: Any) -> Any:
    """Arrays as lists."""
    return values.tolist() if hasattr(values, "tolist") else values


def _ids(prompt: Any, tokenizer: Tokenizer | None) -> Sequence[int]:
    """The ids of one prompt."""
    if not isinstance(prompt, str):
        return list(_as_list(prompt))
    if tokenizer is None:
        raise InputError("a text prompt needs a `tokenizer`: pass one, or pass token ids")
    unknown = tokenizer.unknown_characters(prompt)
    if unknown:
        listed = " ".join(repr(character) for character in unknown)
        raise InputError(f"the prompt has characters that are not in the tokenizer's vocabulary: {listed}; leave them out")
    return tokenizer.encode(prompt) if prompt else []


def _stops(stop: Stop, tokenizer: Tokenizer | None) -> tuple[set[int], list[str]]:
    """The stop ids and the stop texts."""
    items = [] if stop is None else [stop] if isinstance(stop, str | int) else list(stop)
    texts = [item for item in items if isinstance(item, str)]
    if texts and tokenizer is None:
        raise InputError("a text in `stop` needs a `tokenizer`: pass one, or pass token ids as `stop`")
    if "" in texts:
        raise InputError("`stop` contains an empty text: pass at least one character, or leave it out")
    return {item for item in items if not isinstance(item, str)}, texts


def _concatenate(parts: Sequence[Any]) -> Any:
    """The concatenated parts of one row: a text or a list of ids."""
    if isinstance(parts[0], str):
        return "".join(parts)
    return [token for part in parts for token in part]
