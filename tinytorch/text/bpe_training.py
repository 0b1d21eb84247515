"""Learning a byte-pair vocabulary, in a process that can be stopped at any moment. A host module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.text.engines import Content

#: The bytes of the longest piece of a word that pairs are counted in.
_LONGEST = 1024
_WORKER = Path(__file__).with_name("bpe_worker.py")


def learn_byte_pairs(parts: Iterable[str], vocab_size: int, on_merges: Callable[[int, int], None]) -> Content:
    """The byte-level tokenizer of ``vocab_size`` tokens that writes a text shortest, as the `tokenizers` library's JSON.

    The library learns pairs within words: runs of letters, of digits, of other signs or of spaces. It walks over a word from its
    beginning for every place in it where a pair is merged, so the time grows with the square of the longest word: in Chinese, or in DNA,
    that is the whole text. Here a longer word counts as several of ``_LONGEST`` bytes, and the time grows with the text. The only pairs
    that are not counted are those across the cuts, one in a thousand, and a text whose words are all shorter gives the same vocabulary as
    without. It is for learning alone: the tokenizer encodes words of any length as they are.

    The library hears no signals while it works, so it does so in a process of its own, which ends with this function, however that ends.

    Args:
        parts: the text.
        vocab_size: how many tokens, at most.
        on_merges: told how many pairs are merged, and of how many.

    Raises:
        InputError: the text holds half of a surrogate pair, or the process cannot be started or fails.
    """
    # the process finds packages where this one does, and no other module by the name of one beside its script
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as result:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=result,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process to hear
            )
        except OSError as error:
            raise InputError(
                f"byte pairs are learned by a Python process of their own, and {sys.executable!r} cannot be started "
                f"({error.strerror or error}): run this from a Python that can start others"
            ) from error
        with process:
            try:
                _send(process, parts, vocab_size)
                problem = _watch(process, on_merges, vocab_size - 256)
                code = process.wait()
            finally:
                process.kill()
                with suppress(OSError):  # what is left in the buffer has no reader
                    process.stdin.close()  # type: ignore[union-attr]
        if code:
            reason = problem or f"it was ended by signal {-code}: is there enough memory?"
            raise InputError(f"byte pairs cannot be learned from this text: {reason}")
        result.seek(0)
        content: Content = json.load(result)
        return content


def _send(process: subprocess.Popen[bytes], parts: Iterable[str], vocab_size: int) -> None:
    """Give the process its work. One that has failed reads no more of it, and says why on standard error."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps([vocab_size, _LONGEST]).encode() + b"\n")
        for part in parts:
            process.stdin.write(_line(part))
        process.stdin.close()


def _line(part: str) -> bytes:
    try:
        return json.dumps(part, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError as error:
        raise InputError("the text holds half of a surrogate pair, which is no character: leave it out") from error


def _watch(process: subprocess.Popen[bytes], on_merges: Callable[[int, int], None], total: int) -> str:
    """Hand on the process's progress until it ends; returns the last line that it said besides."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        progress = _progress(line)
        if progress is None:
            said = line.decode("utf-8", "replace").strip() or said
        elif progress.get("stage") == "Compute merges":
            on_merges(min(int(progress["current"]), total), total)
    return said


def _progress(line: bytes) -> dict[str, Any] | None:
    """What the library reports of its work, or None for a line that is something else."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "current" in content else None
