"""Tokenizers of the `tokenizers` library, made from their JSON so that they read every text whole and always alike. A host module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

#: A tokenizer as the library writes it, and what its file says of how to cut, pad and vary what it reads.
Content: TypeAlias = dict[str, Any]
ReadingSettings: TypeAlias = dict[str, Any]

#: SentencePiece's normalizer, which changes texts by a table, and makes the library panic where that is damaged.
_PRECOMPILED = "Precompiled"
#: No vocabulary has as many ids. The library walks over all of them, and takes a 32-bit number for granted.
_MOST_IDS = 2**24


def library() -> Any:
    """The `tokenizers` package. Raises `InputError` where it is not installed."""
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise InputError("byte-pair encoding needs the tokenizers package: type `pip install tokenizers`") from error
    return tokenizers


@contextmanager
def no_panics() -> Iterator[None]:
    """Turn a panic of the library, which is no `Exception` and passes every handler, into an `InputError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 makes the class when the first one is raised: it cannot be imported
            raise
        raise InputError(f"the tokenizers package panics on this tokenizer and text: {' '.join(str(error).split())}") from error


def split_settings(content: Content) -> tuple[Content, ReadingSettings]:
    """A tokenizer without truncation, padding and BPE dropout, and these.

    A text to learn from, or to measure a model on, is data. `transformers` leaves its last call's truncation and padding in the file, for
    the next call to change; dropout (Provilkov et al. 2020, arXiv:1910.13267) is for training tokenizers' users.
    """
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    settings = {"truncation": content.get("truncation"), "padding": content.get("padding"), "dropout": model.get("dropout")}
    return with_settings(content, {}), settings


def with_settings(content: Content, settings: ReadingSettings) -> Content:
    """A tokenizer with the settings that `split_settings` gave."""
    content = {**content, "truncation": settings.get("truncation"), "padding": settings.get("padding")}
    if isinstance(content.get("model"), dict) and "dropout" in content["model"]:
        content["model"] = {**content["model"], "dropout": settings.get("dropout")}
    return content


def make_engine(content: Content) -> Engine:
    """The tokenizer that a JSON describes, without settings that cut, pad or vary; special tokens in a text are spelled like other words.

    Every token has the id that the JSON gives it. The library numbers added tokens anew where ids are missing before them, and gives two
    tokens one id where that number is taken.

    Raises:
        Exception: the library's own, for what it cannot read.
        ValueError: it changes texts, two tokens have one id, or an id is out of range; or the library panics.
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
    """Raise ValueError for SentencePiece's normalizer; what others make of texts, `BPETokenizer.from_gpt2` tries."""
    if not isinstance(normalizer, dict):
        return
    if normalizer.get("type") == _PRECOMPILED:
        raise ValueError(f"its normalizer {_PRECOMPILED!r} changes texts")
    parts = normalizer.get("normalizers")
    for part in parts if isinstance(parts, list) else []:
        _check_normalizer(part)


def _check_ids(content: Content) -> None:
    """Raise ValueError for ids that are out of range, and for two tokens of one id."""
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict):
        return  # of another kind, whose ids are places in a list
    ids: dict[Any, str] = {}
    for name, i in [*vocab.items(), *((token["content"], token["id"]) for token in content.get("added_tokens") or [])]:
        if not isinstance(i, int) or not 0 <= i < _MOST_IDS:
            raise ValueError(f"the token {name!r} has the id {i!r}, which is none from 0 to {_MOST_IDS - 1}")
        if ids.setdefault(i, name) != name:
            raise ValueError(f"the tokens {ids[i]!r} and {name!r} have one id, {i}")
