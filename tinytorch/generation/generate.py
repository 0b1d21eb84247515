"""Text, or token ids, from a model: batched, cached and streaming."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, Unpack

from tinytorch.generation.config import SamplingConfig, SamplingSettings
from tinytorch.generation.decoding import Decoder
from tinytorch.generation.logits_processors import LogitsProcessor, MinP, RepetitionPenalty, SuppressTokens, Temperature
from tinytorch.generation.sampling import NO_TOKEN, greedy, sample
from tinytorch.generation.streaming import TextStreamer, TokenStreamer
from tinytorch.io.errors import InputError
from tinytorch.nn.module import Module
from tinytorch.ops import random
from tinytorch.tensor import wrap
from tinytorch.text.protocol import Tokenizer

#: A text, ids, or several of either; a two-dimensional array is several rows of ids.
Prompt: TypeAlias = Any
#: A text or an id, or several.
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
    """Generate a continuation of a prompt, which the result does not repeat.

    Args:
        model: a Module that a `Decoder` can use, such as `TinyGPT`. It is left in the mode it was in.
        prompt: ids, or several rows of ids, which may differ in length; with a tokenizer also a text, or several. Of a prompt longer
            than ``model.max_length`` the end is used (`crop_prompt` tells how much that leaves out).
        max_new_tokens: how many tokens to generate, or fewer where ``stop`` ends a row.
        config: settings of sampling, `SamplingConfig()` where left out.
        temperature, top_k, top_p, min_p, repetition_penalty: settings in place of those of ``config``; see `SamplingConfig`.
        tokenizer: encodes prompts and decodes results. Its special tokens are never chosen, unless ``stop`` names them.
        stop: end a row at a text or several, cut off before it, or at ids, which are left out. What the prompt holds does not count.
        num_samples: generate this many continuations of one prompt.
        seed: the same seed gives the same result on every backend. Without one, `tinytorch.seed` decides.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`; defaults to float32.

    Returns:
        With a tokenizer a text, and ids without; a list of such for several prompts, and with ``num_samples``.

    Raises:
        InputError: a prompt is empty or has characters that the tokenizer does not know, or a setting is out of its range.
        TypeError: ids are not integers, or there is no such argument.
        ValueError: ids lie outside the model's vocabulary.
        FloatingPointError: the model's logits are not finite.
    """
    steps = list(stream(model, prompt, max_new_tokens, temperature, **arguments))
    if _is_single(prompt) and arguments.get("num_samples") is None:
        return _joined(steps)
    return [_joined(row) for row in zip(*steps, strict=True)]


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
    """Yield the result of `generate` as it is generated: a part after each step, as soon as its token is chosen.

    A part is a text or a list of ids, perhaps empty, and the parts add up to the result; where `generate` returns a list, each step
    yields a list with a part for each row. Text that could be the beginning of a stop text is held back until it is known.

    Between two steps the model is in its own mode, so it may be trained meanwhile, and the next step uses the new weights.
    Arguments and errors are those of `generate`; all but ``FloatingPointError`` are raised here, before the first part is asked for.
    """
    config = replace(config or SamplingConfig(), **sampling)
    if temperature is not None:
        config = replace(config, temperature=temperature)
    if max_new_tokens < 1:
        raise InputError(f"`max_new_tokens` must be at least 1, got {max_new_tokens}")
    if seed is not None and seed < 0:
        raise InputError(f"`seed` must be at least 0, got {seed}; leave it out for a result that varies")
    single = _is_single(prompt)
    prompts = [prompt] if single else list(_plain(prompt))
    if num_samples is not None:
        if num_samples < 1:
            raise InputError(f"`num_samples` must be at least 1, got {num_samples}")
        if not single:
            raise InputError(f"`num_samples` is for one prompt, got {len(prompts)}; repeat each in the list of prompts instead")
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
    """What the logits go through, in order."""
    processors: list[LogitsProcessor] = []
    if config.repetition_penalty != 1:
        processors.append(RepetitionPenalty(decoder.window(), config.repetition_penalty))
    if tokenizer is not None:
        processors.append(SuppressTokens(tokenizer.get_vocab_size(), set(tokenizer.special_ids) - set(stop_ids)))
    if config.temperature > 0:
        processors.append(Temperature(config.temperature))
        if config.min_p:
            processors.append(MinP(config.min_p))
    return processors


def _choose(decoder: Decoder, processors: Sequence[LogitsProcessor], config: SamplingConfig, seed: int | None) -> Iterator[list[int]]:
    """Yield a token for each row, without end. Tokens are fed back on the device; a copy of their ids comes to the host."""
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
                "the model's logits are not finite numbers: its weights are damaged, so load an earlier checkpoint or train again"
            )
        yield ids


def _decode(tokens: Iterator[list[int]], streamers: Sequence[TokenStreamer | TextStreamer], steps: int) -> Iterator[list[Any]]:
    """Yield the parts of all rows for each of ``steps`` steps, or until every row has ended. A row that has ended adds empty parts."""
    for step in range(1, steps + 1):
        yield [streamer.put(token, last=step == steps) for streamer, token in zip(streamers, next(tokens), strict=True)]
        if all(streamer.done for streamer in streamers):
            return


# ---- what the arguments stand for ----


def _is_single(prompt: Prompt) -> bool:
    """Whether this is one prompt, and not several."""
    return isinstance(prompt, str) or not any(hasattr(item, "__len__") for item in _plain(prompt))


def _plain(values: Any) -> Any:
    """Arrays as lists."""
    return values.tolist() if hasattr(values, "tolist") else values


def _ids(prompt: Any, tokenizer: Tokenizer | None) -> Sequence[int]:
    """The ids of one prompt."""
    if not isinstance(prompt, str):
        return list(_plain(prompt))
    if tokenizer is None:
        raise InputError("a prompt that is text needs a `tokenizer`: pass one, or ids")
    unknown = tokenizer.unknown_characters(prompt)
    if unknown:
        listed = " ".join(repr(character) for character in unknown)
        raise InputError(f"the prompt has characters that the model never saw: {listed}; leave them out")
    return tokenizer.encode(prompt) if prompt else []


def _stops(stop: Stop, tokenizer: Tokenizer | None) -> tuple[set[int], list[str]]:
    """The ids and the texts to stop at."""
    given = [] if stop is None else [stop] if isinstance(stop, str | int) else list(stop)
    texts = [item for item in given if isinstance(item, str)]
    if texts and tokenizer is None:
        raise InputError("a text in `stop` needs a `tokenizer`: pass one, or ids to stop at")
    if "" in texts:
        raise InputError("`stop` holds an empty text: give at least one character, or leave it out")
    return {item for item in given if not isinstance(item, str)}, texts


def _joined(parts: Sequence[Any]) -> Any:
    """The parts of one row as one text or one list of ids."""
    if isinstance(parts[0], str):
        return "".join(parts)
    return [token for part in parts for token in part]
