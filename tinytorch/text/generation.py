"""Text, or tokens, from a model: batched, cached and streaming."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

from tinytorch.array_api import arange, asarray, expand_dims, where
from tinytorch.io.errors import InputError
from tinytorch.nn.module import Module
from tinytorch.ops import random
from tinytorch.tensor import Tensor, wrap
from tinytorch.text.decoder import Decoder
from tinytorch.text.pieces import IdPieces, TextPieces
from tinytorch.text.protocol import Tokenizer
from tinytorch.text.sampling import NO_TOKEN, check_sampling, next_tokens, penalized

#: A text, ids, or several of either; a two-dimensional array is several rows of ids.
Prompt: TypeAlias = Any
#: A text or an id, or several.
Stop: TypeAlias = "str | int | Sequence[str | int] | None"


def generate(
    model: Module,
    prompt: Prompt,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Stop = None,
    tokenizer: Tokenizer | None = None,
    num_samples: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    precision: str = "float32",
) -> Any:
    """What a model writes after a prompt. The result does not repeat the prompt.

    Args:
        model: a Module that a `Decoder` can use, such as `TinyGPT`. It is left in the mode it was in.
        prompt: ids, or several rows of ids, of different lengths if you like; with a tokenizer also a text, or several. Of a prompt longer
            than ``model.max_length`` the end is used (`crop_prompt` tells how much that leaves out).
        max_new_tokens: how many tokens to write, or fewer where ``stop`` ends a row.
        temperature, top_k, top_p, min_p: see `next_tokens`; temperature 0 takes the likeliest token each time.
        repetition_penalty: above 1, tokens of the prompt and of what was written become less likely; see `penalized`.
        seed: the same seed gives the same result on every backend. Without one, `tinytorch.seed` decides.
        stop: end a row at a text or several, cut off before it, or at ids, which are left out. What the prompt holds does not count.
        tokenizer: makes ids of prompts and texts of results. Its special tokens are never chosen, unless ``stop`` names them.
        num_samples: write this many continuations of one prompt.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`.

    Returns:
        With a tokenizer a text, and ids without; a list of such for several prompts, and with ``num_samples``.

    Raises:
        InputError: a prompt is empty or has characters that the tokenizer does not know, or a setting is out of its range.
        TypeError, ValueError: ids are not whole numbers, or lie outside the model's vocabulary.
        FloatingPointError: the model's logits are not finite.
    """
    settings = (temperature, top_k, top_p, seed, stop, tokenizer, num_samples, min_p, repetition_penalty, precision)
    steps = list(stream(model, prompt, max_new_tokens, *settings))
    if _is_single(prompt) and num_samples is None:
        return _joined(steps)
    return [_joined(pieces) for pieces in zip(*steps, strict=True)]


def stream(
    model: Module,
    prompt: Prompt,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Stop = None,
    tokenizer: Tokenizer | None = None,
    num_samples: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    precision: str = "float32",
) -> Iterator[Any]:
    """What `generate` returns, piece by piece: one for each step, given as soon as its token is chosen.

    A piece is a text or a list of ids, perhaps empty, and the pieces add up to the result; where `generate` returns a list, each step gives
    a list with a piece for each row. Text that could be the beginning of a stop text is held back until it is known.

    Between two steps the model is in its own mode, so it may be trained on meanwhile, and the next step uses what it learned.
    Arguments and errors are those of `generate`; all but ``FloatingPointError`` are raised here, before the first piece is asked for.
    """
    check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be 1 or more, got {max_new_tokens}")
    if seed is not None and seed < 0:
        raise InputError(f"the seed must be a whole number of 0 or more, got {seed}: leave it out for one that varies")
    single = _is_single(prompt)
    prompts = [prompt] if single else list(_plain(prompt))
    if num_samples is not None:
        if not single or num_samples < 1:
            raise InputError(f"num_samples={num_samples} must be 1 or more, for one prompt: repeat the others in the list of prompts")
        prompts = prompts * num_samples
    decoder = Decoder(model, [_ids(row, tokenizer) for row in prompts], precision)
    stop_ids, stop_texts = _stops(stop, tokenizer)
    rows: list[IdPieces | TextPieces]
    if tokenizer is None:
        rows = [IdPieces(stop_ids) for _ in prompts]
    else:
        rows = [TextPieces(tokenizer, stop_ids, stop_texts) for _ in prompts]
    changes: list[Callable[[Tensor, Tensor | None], Tensor]] = []
    if repetition_penalty != 1:
        changes.append(_Penalty(decoder.window(), repetition_penalty))
    if tokenizer is not None:
        changes.append(_Choosable(tokenizer, stop_ids))
    pieces = _pieces(_sample(decoder, changes, seed, temperature, top_k, top_p, min_p), rows, max_new_tokens)
    return (step[0] for step in pieces) if single and num_samples is None else pieces


def _sample(
    decoder: Decoder,
    changes: Sequence[Callable[[Tensor, Tensor | None], Tensor]],
    seed: int | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Iterator[list[int]]:
    """Tokens for each row of the decoder, without end. They are fed back on the device; only their ids come to the host.

    ``changes`` are told the logits (B, V) and the tokens (B) that were chosen last, and give other logits.
    """
    if seed is None and temperature > 0:
        seed = int(random.generator().integers(2**63))
    generator = None
    noise = chosen = None
    while True:
        logits = decoder.logits(chosen)  # (B, V)
        known = None if temperature > 0 or changes else decoder.likeliest
        for change in changes:
            logits = change(logits, chosen)
        if temperature > 0:
            assert seed is not None
            generator = generator or logits.backend.rng(seed)
            noise = wrap(generator.uniform(logits.shape), logits.backend)
        chosen = next_tokens(logits, noise, temperature, top_k, top_p, min_p) if known is None else known
        tokens: list[int] = chosen.tolist()
        if NO_TOKEN in tokens:
            raise FloatingPointError(
                "the model's logits are not finite numbers: its weights are damaged, so load an earlier checkpoint or train again"
            )
        yield tokens


def _pieces(tokens: Iterator[list[int]], rows: list[IdPieces | TextPieces], steps: int) -> Iterator[list[Any]]:
    """The pieces of all rows, for each of ``steps`` steps, or until every row has ended. A row that has ended keeps its place."""
    for step in range(1, steps + 1):
        yield [row.add(token, last=step == steps) for row, token in zip(rows, next(tokens), strict=True)]
        if all(row.done for row in rows):
            return


class _Choosable:
    """Takes from logits what must not be chosen: special tokens that do not end a row, and ids that the tokenizer does not have."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int]) -> None:
        self._vocab_size = tokenizer.get_vocab_size()
        self._banned = set(tokenizer.special_ids) - set(stop_ids)
        self._mask: Tensor | None = None

    def __call__(self, logits: Tensor, chosen: Tensor | None) -> Tensor:
        if self._mask is None:
            mask = [i < self._vocab_size and i not in self._banned for i in range(logits.shape[-1])]
            self._mask = asarray(mask, device=logits.device)
        return where(self._mask, logits, -math.inf)


class _Penalty:
    """Speaks against what each row holds already, its prompt included."""

    def __init__(self, rows: Sequence[Sequence[int]], penalty: float) -> None:
        self._rows = rows
        self._penalty = penalty
        self._seen: Tensor | None = None

    def __call__(self, logits: Tensor, chosen: Tensor | None) -> Tensor:
        size = logits.shape[-1]
        if self._seen is None:
            self._seen = asarray([[i in row for i in range(size)] for row in map(set, self._rows)], device=logits.device)
        if chosen is not None:
            ids = arange(size, dtype=chosen.dtype, device=chosen.device)
            self._seen = self._seen | (ids == expand_dims(chosen, axis=1))  # (B, V)
        return penalized(logits, self._seen, self._penalty)


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
        raise InputError("a prompt that is text needs a tokenizer to read it: pass tokenizer=, or ids")
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
        raise InputError("stop texts need a tokenizer to tell where they are: pass tokenizer=, or ids to stop at")
    if "" in texts:
        raise InputError("a stop text is empty: give at least one character, or leave stop out")
    return {item for item in given if not isinstance(item, str)}, texts


def _joined(pieces: Sequence[Any]) -> Any:
    """Pieces of one row as one text or one list of ids."""
    if isinstance(pieces[0], str):
        return "".join(pieces)
    return [token for piece in pieces for token in piece]
