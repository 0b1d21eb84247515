"""The JSON that every kind of tokenizer is kept in. A host module."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.io.files import read_regular

FORMAT = "tinytorch-tokenizer"
FORMAT_VERSION = 1


def dump_tokenizer(kind: str, fields: Mapping[str, Any]) -> str:
    """A tokenizer's fields with the tag of its kind, as JSON."""
    return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, **fields}, indent=1) + "\n"


def read_tokenizer_file(path: str | os.PathLike[str]) -> str:
    """What `dump_tokenizer` made and a file holds. Raises `InputError` where the file is missing or cannot be read."""
    try:
        return read_regular(path).decode("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"there is no tokenizer file {path}: check the directory, or train again to write one") from error
    except UnicodeDecodeError as error:
        raise broken_tokenizer_file(path, "it is not whole JSON") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from error


def parse_tokenizer(text: str, path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """A tokenizer's fields, `kind` among them, from what `dump_tokenizer` made; ``path`` is where that came from.

    Raises:
        InputError: it is broken, or is something else, such as a tokenizer of another ``kind`` where one is given.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken_tokenizer_file(path, "it is not whole JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("kind"), str):
        raise broken_tokenizer_file(path, "it is JSON of something else")
    if content.get("version") != FORMAT_VERSION:
        raise broken_tokenizer_file(path, f"its format is version {content.get('version')!r}, and this one reads {FORMAT_VERSION}")
    if kind is not None and content["kind"] != kind:
        raise broken_tokenizer_file(path, f"it is of kind {content['kind']!r}, not {kind!r}")
    return content


def broken_tokenizer_file(path: str | os.PathLike[str], reason: str) -> InputError:
    """The error for a file that is there but cannot be used."""
    return InputError(f"{path} is not a tokenizer file that can be used here, {reason}: restore it from a copy, or train again")
