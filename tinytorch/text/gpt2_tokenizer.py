"""Reads the tokenizer files of a GPT-2 directory, in all formats that versions of `transformers` have written. Runs on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinytorch.io.files import read_regular
from tinytorch.text.engines import Content

WHOLE = "tokenizer.json"
VOCAB, MERGES = "vocab.json", "merges.txt"
ADDED, SPECIAL, CONFIG = "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"

#: GPT-2's end-of-text token: special even if the files do not declare it.
_END = "<|endoftext|>"
#: Keys of special tokens in the files of `transformers`: keys with one token as value, and keys with a list of tokens.
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
#: Parts of GPT-2's tokenizer in the library's JSON.
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


def read_gpt2_tokenizer(directory: Path) -> Content | None:
    """Read the tokenizer in a GPT-2 directory as JSON of the `tokenizers` library; None if there is none.

    The files are ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``. Added tokens are those of ``added_tokens_decoder`` in
    ``tokenizer_config.json`` or, without this key, of ``added_tokens.json``. Special tokens are those with a key such as ``eos_token`` in
    ``tokenizer_config.json`` or ``special_tokens_map.json``. A special token without an id in any of the files is ignored, because the
    model has no embedding for it.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is invalid, or has a setting that changes texts.
    """
    if (directory / WHOLE).exists():
        content = _read(directory / WHOLE)
    elif (directory / VOCAB).exists() and (directory / MERGES).exists():
        content = _from_vocab_and_merges(directory)
    else:
        return None
    config = _read(directory / CONFIG, missing={})
    if config.get("add_prefix_space"):
        raise ValueError(f"{CONFIG} sets add_prefix_space, which adds a space to every text")
    listed = config.get("added_tokens_decoder")
    special = {_END, *_special(config)}
    if isinstance(listed, dict):
        declared = [{**_FLAGS, **token, "id": int(i)} for i, token in listed.items()]
    else:
        special |= set(_special(_read(directory / SPECIAL, missing={})))
        ids = _read(directory / ADDED, missing={})
        declared = [{**_FLAGS, "content": token, "id": i, "normalized": token not in special} for token, i in ids.items()]
    vocab = content["model"]["vocab"]
    added = {token["content"]: token for token in [*declared, *content.get("added_tokens", [])]}  # tokenizer.json has priority
    for name in special:
        if name in added:
            added[name] = {**added[name], "special": True}
        elif isinstance(vocab, Mapping) and name in vocab:
            added[name] = {**_FLAGS, "content": name, "id": vocab[name], "special": True}
    _check_agreement(vocab, added)
    return {**content, "added_tokens": sorted(added.values(), key=lambda token: token["id"])}


def _read(path: Path, missing: Content | None = None) -> Content:
    """The object in a JSON file; ``missing``, if given, where there is no file."""
    if missing is not None and not path.exists():
        return missing
    try:
        content = json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return content


def _from_vocab_and_merges(directory: Path) -> Content:
    """The tokenizer of ``vocab.json`` and ``merges.txt``, with GPT-2's pre-tokenizer."""
    lines = read_regular(directory / MERGES).decode("utf-8").split("\n")
    merges = [line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version")]
    model = {"type": "BPE", "vocab": _read(directory / VOCAB), "merges": merges}
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": _BYTE_LEVEL, "decoder": _BYTE_LEVEL, "model": model}


def _special(content: Content) -> Iterator[str]:
    """The special tokens that a file declares."""
    found = [content.get(role) for role in _ROLES]
    for name in _LISTS:
        several = content.get(name)
        found += several if isinstance(several, list) else []
    names = [token.get("content") if isinstance(token, dict) else token for token in found]
    yield from (name for name in names if isinstance(name, str))


def _check_agreement(vocab: Any, added: Mapping[str, Content]) -> None:
    """Raise ValueError if the files assign two ids to one token."""
    for name, token in added.items():
        if isinstance(vocab, Mapping) and vocab.get(name, token["id"]) != token["id"]:
            raise ValueError(f"its files assign two ids to the token {name!r}, {vocab[name]} and {token['id']}")
