"""Files of tokens, for texts that need not be encoded again, nor fit into memory. A host module.

One is a safetensors file with an array ``tokens`` of 16 or 32 bit numbers. Its header also holds the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy

from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray, atomic_path, map_array, read_metadata, sole_writer
from tinytorch.text.protocol import Tokenizer, tokenizer_from_json
from tinytorch.text.words import whole_words

_FORMAT = "tinytorch-tokens"
_VERSION = "1"
_NAME = "tokens"
#: Tokens that are turned into text together, and the most that one character is made of.
_AT_ONCE, _CHARACTER = 2**16, 4
#: A header of safetensors is no longer.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class TokenFile:
    """A text as tokens.

    Attributes:
        path: the file.
        tokens: shape (N,), read from the disk where and when they are looked at.
        tokenizer: what made them.
        characters: how many the text has.
        sha256: the text's `text_digest`.
    """

    path: Path
    tokens: HostArray
    tokenizer: Tokenizer
    characters: int
    sha256: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TokenFile:
        """Raises `InputError` where the file is missing, truncated or not one of tokens."""
        path = Path(path)
        metadata = read_metadata(path)
        if metadata.get("format") != _FORMAT:
            raise InputError(f"{path} is not a file of tokens: make one with `tinytorch prepare`")
        if metadata.get("version") != _VERSION:
            raise InputError(f"{path} is of version {metadata.get('version')}, and this tinytorch reads {_VERSION}: upgrade tinytorch")
        try:
            tokenizer = tokenizer_from_json(metadata["tokenizer"], path)
            return cls(path, map_array(path, _NAME), tokenizer, int(metadata["characters"]), metadata["sha256"])
        except KeyError as error:
            raise InputError(f"{path} lacks {error}: make it again with `tinytorch prepare`") from error
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}): make it again with `tinytorch prepare`") from error

    def parts(self) -> Iterator[HostArray]:
        """The tokens, some at a time."""
        return (self.tokens[start : start + _AT_ONCE] for start in range(0, len(self.tokens), _AT_ONCE))

    def text(self) -> Iterator[str]:
        """The text that the tokens stand for, in parts that end between characters."""
        start = 0
        while start < len(self.tokens):
            stop = min(start + _AT_ONCE, len(self.tokens))
            while not self._between_characters(stop):
                stop -= 1
            yield self.tokenizer.decode(self.tokens[start:stop])
            start = stop

    def _between_characters(self, place: int) -> bool:
        """Whether no character has tokens on both sides of a place: the text is then that of both sides, one after the other."""
        around = self.tokens[max(0, place - _CHARACTER) : place + _CHARACTER]
        before = min(place, _CHARACTER)
        decode = self.tokenizer.decode
        return decode(around[:before]) + decode(around[before:]) == decode(around)


def is_token_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of tokens, whole or not; false where there is none."""
    if not os.path.isfile(path):  # opening a pipe would wait for a writer
        return False
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # a text's first eight characters make a larger number
            return length <= _LONGEST_HEADER and f'"{_FORMAT}"'.encode() in file.read(1000)
    except OSError:
        return False


def write_token_file(path: str | os.PathLike[str], chunks: Iterable[str], tokenizer: Tokenizer) -> TokenFile:
    """Encode a text that comes in chunks, and write its tokens, whole or not at all.

    Raises:
        InputError: there is no text, or another process is writing the file.
        OSError: the file cannot be written.
    """
    dtype = numpy.dtype("<u2" if tokenizer.get_vocab_size() <= 2**16 else "<u4")
    digest, tokens, characters = hashlib.sha256(), 0, 0
    with sole_writer(path), atomic_path(path) as temporary, temporary.open("wb") as file:
        room = len(_header(tokenizer, dtype, 10**18, 10**18, digest.hexdigest()))
        file.write(b" " * room)
        for part in whole_words(chunks):
            ids = tokenizer.encode_array(part).astype(dtype)
            file.write(ids.tobytes())
            digest.update(part.encode("utf-8", "surrogatepass"))
            tokens, characters = tokens + len(ids), characters + len(part)
        if not tokens:
            raise InputError("there is no text to encode: give at least one character")
        file.seek(0)
        file.write(_header(tokenizer, dtype, tokens, characters, digest.hexdigest(), room))
    return TokenFile.open(path)


def _header(tokenizer: Tokenizer, dtype: numpy.dtype, tokens: int, characters: int, digest: str, room: int = 0) -> bytes:
    """The beginning of a safetensors file: its length, then JSON, filled up with spaces to ``room`` bytes and a multiple of 8."""
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "sha256": digest,
        "characters": str(characters),
        "tokenizer": tokenizer.to_json(),
    }
    entry = {"dtype": f"U{8 * dtype.itemsize}", "shape": [tokens], "data_offsets": [0, tokens * dtype.itemsize]}
    text = json.dumps({"__metadata__": metadata, _NAME: entry}, ensure_ascii=False).encode()
    length = max(len(text) + -len(text) % 8, room - 8)
    return length.to_bytes(8, "little") + text.ljust(length)
