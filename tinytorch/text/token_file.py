"""Token files: encoded texts, which may be larger than memory. Runs on the CPU.

A token file is a safetensors file with an array ``tokens`` of 16-bit or 32-bit unsigned integers. Its metadata includes the tokenizer.
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
#: Number of tokens that are decoded at a time, and the maximum number of tokens that one character is encoded to.
_AT_ONCE, _CHARACTER = 2**16, 4
#: Maximum size of a safetensors header, in bytes.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class TokenFile:
    """An open token file: the token ids of a text, mapped into memory, and their tokenizer.

    Attributes:
        path: the file.
        tokens: token ids, shape (N,), a memory-mapped array.
        tokenizer: the tokenizer that encoded the text.
        characters: number of characters of the text.
        sha256: the text's `text_digest`.

    Example:
        >>> import os, tempfile
        >>> from tinytorch.text import CharTokenizer, TokenFile, write_token_file
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = os.path.join(directory, "corpus.tokens")
        ...     _ = write_token_file(path, ["to be"], CharTokenizer().fit("to be"))
        ...     TokenFile.open(path).tokens.tolist()
        [6, 5, 2, 3, 4]
    """

    path: Path
    tokens: HostArray
    tokenizer: Tokenizer
    characters: int
    sha256: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TokenFile:
        """Open a token file. Raises `InputError` if the file is missing, truncated or not a token file."""
        path = Path(path)
        metadata = read_metadata(path)
        if metadata.get("format") != _FORMAT:
            raise InputError(f"{path} is not a token file: create one with `tinytorch prepare`")
        if metadata.get("version") != _VERSION:
            raise InputError(
                f"{path} has format version {metadata.get('version')}, but this tinytorch reads version {_VERSION}: upgrade tinytorch"
            )
        try:
            tokenizer = tokenizer_from_json(metadata["tokenizer"], path)
            return cls(path, map_array(path, _NAME), tokenizer, int(metadata["characters"]), metadata["sha256"])
        except KeyError as error:
            raise InputError(f"{path} has no {error} in its metadata: create it again with `tinytorch prepare`") from error
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}): create it again with `tinytorch prepare`") from error

    def parts(self) -> Iterator[HostArray]:
        """Iterate over the tokens in parts of bounded size."""
        return (self.tokens[start : start + _AT_ONCE] for start in range(0, len(self.tokens), _AT_ONCE))

    def text(self) -> Iterator[str]:
        """Decode the tokens in parts that end at character boundaries."""
        start = 0
        while start < len(self.tokens):
            stop = min(start + _AT_ONCE, len(self.tokens))
            while not self._between_characters(stop):
                stop -= 1
            yield self.tokenizer.decode(self.tokens[start:stop])
            start = stop

    def _between_characters(self, place: int) -> bool:
        """Whether a position is a character boundary: decoding both sides separately then gives the same text as decoding them together."""
        around = self.tokens[max(0, place - _CHARACTER) : place + _CHARACTER]
        before = min(place, _CHARACTER)
        decode = self.tokenizer.decode
        return decode(around[:before]) + decode(around[before:]) == decode(around)


def is_token_file(path: str | os.PathLike[str]) -> bool:
    """Check whether a file is a token file, by the beginning of the file only.

    Args:
        path: the file.

    Returns:
        True for a token file, even a truncated one; False if the file is missing.

    Example:
        >>> from tinytorch.text import is_token_file
        >>> is_token_file("missing.tokens")
        False
    """
    if not os.path.isfile(path):  # opening a pipe would wait for a writer
        return False
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # the first eight bytes of a text file are a larger integer
            return length <= _LONGEST_HEADER and f'"{_FORMAT}"'.encode() in file.read(1000)
    except OSError:
        return False


def write_token_file(path: str | os.PathLike[str], chunks: Iterable[str], tokenizer: Tokenizer) -> TokenFile:
    """Encode a text in chunks and write its tokens to a file atomically.

    Args:
        path: the file to write.
        chunks: parts of the text, such as those of `read_chunks`.
        tokenizer: encodes the text, and is stored in the file.

    Returns:
        The file, opened.

    Raises:
        InputError: the text is empty, or another process is writing the file.
        OSError: the file cannot be written.

    Example:
        >>> import os, tempfile
        >>> from tinytorch.text import CharTokenizer, write_token_file
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     file = write_token_file(os.path.join(directory, "corpus.tokens"), ["to ", "be"], CharTokenizer().fit("to be"))
        ...     file.characters
        5
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
            raise InputError("there is no text to encode: pass at least one character")
        file.seek(0)
        file.write(_header(tokenizer, dtype, tokens, characters, digest.hexdigest(), room))
    return TokenFile.open(path)


def _header(tokenizer: Tokenizer, dtype: numpy.dtype, tokens: int, characters: int, digest: str, room: int = 0) -> bytes:
    """The header of a safetensors file: its length, then JSON, padded with spaces to ``room`` bytes and a multiple of 8."""
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
