"""The tokenizer's files in a GPT-2 directory, in the forms that `transformers` has written over the years. A host module."""

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

#: What ends a document in GPT-2's vocabulary: special, whether its files say so or not.
_END = "<|endoftext|>"
#: The roles that special tokens have in `transformers`: names of one token each, and of lists.
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
#: How the library writes the parts of GPT-2's tokenizer.
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


def read_gpt2_tokenizer(directory: Path) -> Content | None:
    """The tokenizer in a GPT-2 directory as one JSON of the `tokenizers` library, or None where there is none.

    That is ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``, with the tokens that are added to it by ``added_tokens_decoder`` in
    ``tokenizer_config.json``, or where that says nothing of them, by ``added_tokens.json``; special are those that have a role there or in
    ``special_tokens_map.json``. A token that is named and has no id in any of the files is left out: the model has no row for it.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or asks for what changes texts.
    """
    if (directory / WHOLE).exists():
        content = _read(directory / WHOLE)
    elif (directory / VOCAB).exists() and (directory / MERGES).exists():
        content = _from_pair(directory)
    else:
        return None
    config = _read(directory / CONFIG, missing={})
    if config.get("add_prefix_space"):
        raise ValueError(f"{CONFIG} puts a space before every text (add_prefix_space), which changes it")
    listed = config.get("added_tokens_decoder")
    special = {_END, *_special(config)}
    if isinstance(listed, dict):
        given = [{**_FLAGS, **token, "id": int(i)} for i, token in listed.items()]
    else:
        special |= set(_special(_read(directory / SPECIAL, missing={})))
        ids = _read(directory / ADDED, missing={})
        given = [{**_FLAGS, "content": token, "id": i, "normalized": token not in special} for token, i in ids.items()]
    vocab = content["model"]["vocab"]
    added = {token["content"]: token for token in [*given, *content.get("added_tokens", [])]}  # what the tokenizer says itself comes first
    for name in special:
        if name in added:
            added[name] = {**added[name], "special": True}
        elif isinstance(vocab, Mapping) and name in vocab:
            added[name] = {**_FLAGS, "content": name, "id": vocab[name], "special": True}
    _check_agreement(vocab, added)
    return {**content, "added_tokens": sorted(added.values(), key=lambda token: token["id"])}


def _read(path: Path, missing: Content | None = None) -> Content:
    """The object in a JSON file; ``missing`` where there is no file."""
    if missing is not None and not path.exists():
        return missing
    try:
        content = json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not whole JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is JSON of something else")
    return content


def _from_pair(directory: Path) -> Content:
    """What ``vocab.json`` and ``merges.txt`` hold, with GPT-2's way to cut words."""
    lines = read_regular(directory / MERGES).decode("utf-8").split("\n")
    merges = [line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version")]
    model = {"type": "BPE", "vocab": _read(directory / VOCAB), "merges": merges}
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": _BYTE_LEVEL, "decoder": _BYTE_LEVEL, "model": model}


def _special(content: Content) -> Iterator[str]:
    """The tokens that a file gives a role."""
    found = [content.get(role) for role in _ROLES]
    for name in _LISTS:
        several = content.get(name)
        found += several if isinstance(several, list) else []
    names = [token.get("content") if isinstance(token, dict) else token for token in found]
    yield from (name for name in names if isinstance(name, str))


def _check_agreement(vocab: Any, added: Mapping[str, Content]) -> None:
    """Raise ValueError where files give one token two ids."""
    for name, token in added.items():
        if isinstance(vocab, Mapping) and vocab.get(name, token["id"]) != token["id"]:
            raise ValueError(f"its files give the token {name!r} the ids {vocab[name]} and {token['id']}")
