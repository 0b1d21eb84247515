"""The JSON file that every kind of tokenizer is kept in. A host module."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinytorch.errors import InputError
from tinytorch.files import atomic_write_text

FORMAT = "tinytorch-tokenizer"
FORMAT_VERSION = 1


def write_tokenizer_file(path: str | os.PathLike[str], kind: str, fields: Mapping[str, Any]) -> None:
    """Write a tokenizer's fields with the tag of its kind, whole or not at all. Raises OSError where it cannot."""
    content = {"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, **fields}
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def read_tokenizer_file(path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """Read a tokenizer's fields, `kind` among them, and check that they are a tokenizer's (of that kind, where one is given).

    Raises:
        InputError: the file is missing, cannot be read, is broken, or is something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no tokenizer file {path}: check the directory, or train again to write one") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from error
    except (ValueError, RecursionError) as error:  # a broken JSON file, or one that is not UTF-8
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
