"""Where training text comes from: a file of yours, or the language reference that Python carries. A host module."""

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
    r"""Read a UTF-8 text file. A byte order mark is left out, and `\r\n` and `\r` become `\n`.

    Raises:
        InputError: the file is missing, a directory or a device, cannot be read, is binary, is not UTF-8, or holds no text. The message
            says which and names the mend.
    """
    return "".join(read_chunks(path))


def read_chunks(path: str | os.PathLike[str], size: int = 2**20) -> Iterator[str]:
    """The text that `read_text` gives, in chunks of about ``size`` bytes, so that a file may be larger than memory. Errors are the same."""
    path = Path(path)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    read, blank = 0, True
    with _readable(path) as file:
        while True:
            data = file.read(size)
            if not read and data.startswith(_UTF16_MARKS):
                raise InputError(f"{path} is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8 {path} > utf8.txt` and use that")
            if b"\0" in data:
                raise InputError(f"{path} is a binary file, not text: give a plain text file")
            read += len(data)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                place = read - len(error.object) + error.start  # the decoder had kept the bytes before `data` that began a character
                raise InputError(
                    f"{path} is not UTF-8 text (byte 0x{error.object[error.start]:02x} at offset {place}): "
                    "convert it with `iconv -t UTF-8 -f` and its own encoding, or give another file"
                ) from error
            blank = blank and not text.strip()
            if text:
                yield text
            if not data:
                break
    if blank:
        raise InputError(f"{path} holds no text: give a file with something to learn from")


def check_text(path: str | os.PathLike[str]) -> None:
    """Raise `InputError`, as `read_text` does, where a file cannot be opened: it is missing, no regular file, or may not be read."""
    with _readable(Path(path)):
        pass


def python_reference() -> str:
    """The Python language reference, the corpus that needs no download: about 370 thousand characters.

    CPython ships it for `help()`, one entry a topic, in `pydoc_data.topics`. The topics are joined in the order of their names, two
    blank lines apart. A topic that another one contains (`while` is a section of `compound`) is left out: repeated text would turn
    up in both the training and the validation part, and the validation loss would measure memory.

    The text differs from one Python version to the next; `text_digest` tells them apart.

    Raises:
        InputError: this Python was packaged without the topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError("this Python carries no language reference (pydoc_data.topics): give a text file to train on") from error
    bodies = {name: _body(topic) for name, topic in topics.items()}
    kept = [name for name in sorted(topics) if not _is_repeated(name, bodies)]
    return "\n\n\n".join(topics[name].strip() for name in kept) + "\n"


def text_digest(text: str) -> str:
    """The SHA-256 of a text's UTF-8 bytes, in hexadecimal: by it a resumed run knows that its corpus is the same."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading, each way of not getting it told apart."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a directory, not a text file: name a file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a regular file: save the text to a file and give that")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: check the path") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read: allow it with `chmod u+r {path}`, or copy it to where you may") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path") from error


def _body(topic: str) -> str:
    """A topic without its title and underlines: a section's underline has another character where it is a topic of its own."""
    lines = topic.split("\n")[2:]
    return "\n".join(line for line in lines if not line or set(line) - set('*=-~^"#')).strip()


def _is_repeated(name: str, bodies: dict[str, str]) -> bool:
    """Whether another topic contains this one; of two equal topics, the later one is the repetition."""
    mine = bodies[name]
    return any(mine in other and (mine != other or key < name) for key, other in bodies.items() if key != name)
