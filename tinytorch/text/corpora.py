"""Training text: read from a file, or the language reference that comes with Python. Runs on the CPU."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tinytorch.io.errors import InputError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 text file. A byte order mark is removed, and `\r\n` and `\r` become `\n`.

    Args:
        path: the file.

    Returns:
        The text.

    Raises:
        InputError: the file is missing, a directory or a device, cannot be read, is binary, is not UTF-8, or contains no text. The message
            has the reason and how to fix it.

    Example:
        >>> import os, tempfile
        >>> from tinytorch.text import read_text
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = os.path.join(directory, "corpus.txt")
        ...     with open(path, "wb") as file:
        ...         _ = file.write(b"to be\r\nor not to be")
        ...     read_text(path)
        'to be\nor not to be'
    """
    return "".join(read_chunks(path))


def read_chunks(path: str | os.PathLike[str], size: int = 2**20) -> Iterator[str]:
    """Read a UTF-8 text file as `read_text` does, in chunks, so that the file may be larger than memory.

    Args:
        path: the file.
        size: bytes to read at a time.

    Yields:
        The chunks of the text.

    Raises:
        InputError: as `read_text`, while the chunks are read.

    Example:
        >>> import os, tempfile
        >>> from tinytorch.text import read_chunks
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = os.path.join(directory, "corpus.txt")
        ...     with open(path, "wb") as file:
        ...         _ = file.write(b"to be or not")
        ...     list(read_chunks(path, size=6))
        ['to be ', 'or not']
    """
    path = Path(path)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    read, blank = 0, True
    with _readable(path) as file:
        while True:
            data = file.read(size)
            if not read and data.startswith(_UTF16_MARKS):
                raise InputError(f"{path} is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8 {path} > utf8.txt` and use that")
            if b"\0" in data:
                raise InputError(f"{path} is a binary file, not text: pass a plain text file")
            read += len(data)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                place = read - len(error.object) + error.start  # the decoder keeps an incomplete character from the previous chunk
                raise InputError(
                    f"{path} is not UTF-8 text (byte 0x{error.object[error.start]:02x} at offset {place}): "
                    "convert it with `iconv -f ENCODING -t UTF-8`, where ENCODING is its encoding, or pass another file"
                ) from error
            blank = blank and not text.strip()
            if text:
                yield text
            if not data:
                break
    if blank:
        raise InputError(f"{path} holds no text: pass a file that contains text")


def check_text(path: str | os.PathLike[str]) -> None:
    """Check that a text file can be opened, without reading it.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, is not a regular file, or cannot be opened.

    Example:
        >>> from tinytorch.text import check_text
        >>> check_text("missing.txt")
        Traceback (most recent call last):
        tinytorch.io.errors.InputError: there is no file missing.txt: check the path
    """
    with _readable(Path(path)):
        pass


def python_reference() -> str:
    """Return the Python language reference, a corpus of about 370,000 characters that needs no download.

    CPython ships it for `help()` in `pydoc_data.topics`, one entry per topic. The topics are joined in alphabetical order, separated by two
    blank lines. A topic that another topic contains (`while` is a section of `compound`) is left out: otherwise the same
    text could be in the training and in the validation split, and the validation loss would measure memorization.

    The text depends on the Python version; compare versions with `text_digest`.

    Returns:
        The text.

    Raises:
        InputError: this Python was packaged without the topics.

    Example:
        >>> from tinytorch.text import python_reference
        >>> 'The "with" statement' in python_reference()
        True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError("this Python has no language reference (pydoc_data.topics): pass a text file to train on") from error
    bodies = {name: _body(topic) for name, topic in topics.items()}
    kept = [name for name in sorted(topics) if not _is_repeated(name, bodies)]
    return "\n\n\n".join(topics[name].strip() for name in kept) + "\n"


def text_digest(text: str) -> str:
    """Compute the SHA-256 digest of a text, by which a resumed run checks that its corpus is unchanged.

    Args:
        text: the text.

    Returns:
        The digest of the text's UTF-8 bytes, as 64 hexadecimal digits.

    Example:
        >>> from tinytorch.text import text_digest
        >>> text_digest("to be")[:8], text_digest("not to be")[:8]
        ('0af1207e', 'c12b3293')
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; raises `InputError` with the reason if that fails."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a directory, not a text file: pass a file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a regular file: save the text to a file, and pass that file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: check the path") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read (permission denied): allow it with `chmod u+r {path}`, or pass a copy") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path") from error


def _body(topic: str) -> str:
    """A topic without its title and underlines; topics and sections with the same text have different underline characters."""
    lines = topic.split("\n")[2:]
    return "\n".join(line for line in lines if not line or set(line) - set('*=-~^"#')).strip()


def _is_repeated(name: str, bodies: dict[str, str]) -> bool:
    """Whether another topic contains this one; of equal topics, all but the first one are repeated."""
    body = bodies[name]
    return any(body in other and (body != other or key < name) for key, other in bodies.items() if key != name)
