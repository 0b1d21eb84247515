"""The JSON format of tokenizer files. Runs on the CPU."""

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
    """The fields of a tokenizer and its kind, as JSON."""
    return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, **fields}, indent=1) + "\n"


def read_tokenizer_file(path: str | os.PathLike[str]) -> str:
    """Read the JSON of `dump_tokenizer` from a file. Raises `InputError` if the file is missing or cannot be read."""
    try:
        return read_regular(path).decode("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"there is no tokenizer file {path}: check the directory, or train again to write one") from error
    except UnicodeDecodeError as error:
        raise broken_tokenizer_file(path, "it is not valid JSON") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from error


def parse_tokenizer(text: str, path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """Parse the JSON of `dump_tokenizer`; returns the fields, including `kind`.

    Args:
        text: the JSON.
        path: the file that it was read from, for errors.
        kind: the required kind; None allows any.

    Raises:
        InputError: the JSON is invalid, is not a tokenizer's, or has another ``kind``.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken_tokenizer_file(path, "it is not valid JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("kind"), str):
        raise broken_tokenizer_file(path, f"its JSON is not in the format {FORMAT}")
    if content.get("version") != FORMAT_VERSION:
        raise broken_tokenizer_file(
            path, f"its format version is {content.get('version')!r}, but this tinytorch reads version {FORMAT_VERSION}"
        )
    if kind is not None and content["kind"] != kind:
        raise broken_tokenizer_file(path, f"it is of kind {content['kind']!r}, not {kind!r}")
    return content


def broken_tokenizer_file(path: str | os.PathLike[str], reason: str) -> InputError:
    """The error for a file that exists but cannot be used."""
    return InputError(f"{path} is not a usable tokenizer file: {reason}; restore it from a copy, or train again")
