"""Creates tokenizers of the `tokenizers` library from JSON, without truncation, padding and dropout. Runs on the CPU.

Such a `tokenizers.Tokenizer` is called an engine here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

#: `Content`: a tokenizer in the library's JSON format. `ReadingSettings`: its settings for truncation, padding and dropout.
Content: TypeAlias = dict[str, Any]
ReadingSettings: TypeAlias = dict[str, Any]

#: SentencePiece's normalizer, which changes texts by a table; the library panics if the table is invalid.
_PRECOMPILED = "Precompiled"
#: Larger than any real vocabulary. The library loops over all ids up to the largest one, and stores ids in 32 bits.
_MAX_IDS = 2**24


def library() -> Any:
    """The `tokenizers` package. Raises `InputError` if it is not installed."""
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise InputError("byte-pair encoding needs the tokenizers package: install it with `pip install tokenizers`") from error
    return tokenizers


@contextmanager
def no_panics() -> Iterator[None]:
    """Raise a Rust panic of the library, which is a `BaseException` that ``except Exception`` does not catch, as `InputError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 creates the class at the first panic, so it cannot be imported
            raise
        raise InputError(f"the tokenizers package panics on this tokenizer and text: {' '.join(str(error).split())}") from error


def split_settings(content: Content) -> tuple[Content, ReadingSettings]:
    """Split a tokenizer into one without truncation, padding and BPE dropout, and these settings.

    Texts for training and evaluation must be encoded completely and deterministically. `transformers` saves the truncation and padding of
    its last call in the file; dropout (Provilkov et al. 2020, arXiv:1910.13267) randomizes the encoding.
    """
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    settings = {"truncation": content.get("truncation"), "padding": content.get("padding"), "dropout": model.get("dropout")}
    return with_settings(content, {}), settings


def with_settings(content: Content, settings: ReadingSettings) -> Content:
    """A tokenizer with the settings that `split_settings` returned."""
    content = {**content, "truncation": settings.get("truncation"), "padding": settings.get("padding")}
    if isinstance(content.get("model"), dict) and "dropout" in content["model"]:
        content["model"] = {**content["model"], "dropout": settings.get("dropout")}
    return content


def make_engine(content: Content) -> Engine:
    """Create the tokenizer of a JSON, without truncation, padding and dropout; names of special tokens are encoded like other text.

    Every token keeps its id in the JSON. The library alone would renumber added tokens after unused ids, and could give two tokens the same
    id.

    Raises:
        Exception: raised by the library for JSON that it cannot read.
        ValueError: its normalizer changes texts, two tokens have the same id, or an id is out of range; or the library panics.
    """
    content, _ = split_settings(content)
    _check_normalizer(content.get("normalizer"))
    _check_ids(content)
    tokenizer_class = library().Tokenizer
    added = content.get("added_tokens") or []
    with no_panics():
        engine: Engine = tokenizer_class.from_str(json.dumps(content))
        if any(engine.token_to_id(token["content"]) != token["id"] for token in added):
            vocab = {**content["model"]["vocab"], **{token["content"]: token["id"] for token in added}}
            engine = tokenizer_class.from_str(json.dumps({**content, "model": {**content["model"], "vocab": vocab}}))
    engine.encode_special_tokens = True
    return engine


def _check_normalizer(normalizer: Any) -> None:
    """Raise ValueError for SentencePiece's normalizer; `BPETokenizer.from_gpt2` tests whether others change texts."""
    if not isinstance(normalizer, dict):
        return
    if normalizer.get("type") == _PRECOMPILED:
        raise ValueError(f"its normalizer {_PRECOMPILED!r} changes texts")
    parts = normalizer.get("normalizers")
    for part in parts if isinstance(parts, list) else []:
        _check_normalizer(part)


def _check_ids(content: Content) -> None:
    """Raise ValueError for ids that are out of range, and for two tokens with the same id."""
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict):
        return  # another type of model, whose ids are positions in a list
    ids: dict[Any, str] = {}
    for name, i in [*vocab.items(), *((token["content"], token["id"]) for token in content.get("added_tokens") or [])]:
        if not isinstance(i, int) or not 0 <= i < _MAX_IDS:
            raise ValueError(f"the token {name!r} has the id {i!r}, which is not an integer from 0 to {_MAX_IDS - 1}")
        if ids.setdefault(i, name) != name:
            raise ValueError(f"the tokens {ids[i]!r} and {name!r} have the same id, {i}")
