"""Training a byte-pair vocabulary in a separate process, which can be stopped at any time. Runs on the CPU."""

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

#: Maximum length, in bytes, of the segments in which pairs are counted; longer words are split.
_LONGEST = 1024
_WORKER = Path(__file__).with_name("bpe_worker.py")


def learn_byte_pairs(parts: Iterable[str], vocab_size: int, on_merges: Callable[[int, int], None]) -> Content:
    """Train a byte-level BPE tokenizer; returns it as the `tokenizers` library's JSON.

    The library learns pairs within words: runs of letters, digits, punctuation or spaces. It scans a word from its start for every merge in
    it, so the time is quadratic in the length of the longest word, and in Chinese or DNA the whole text is one word. Here a longer word is
    split into segments of ``_LONGEST`` bytes, so the time is linear in the text. Only pairs across segment boundaries, about one in a
    thousand, are not counted, and a text without longer words gives the same vocabulary as the library. Words are split for training only:
    the tokenizer encodes words of any length unsplit.

    The library ignores signals while it trains, so it runs in a separate process, which ends when this function returns or raises.

    Args:
        parts: the parts of the text.
        vocab_size: maximum number of tokens.
        on_merges: progress callback, called with the number of merges so far and their total.

    Raises:
        InputError: the text contains half of a surrogate pair, or the process cannot be started or fails.
    """
    # the process has the same module search path as this one, without its script's own directory
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as result:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=result,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is sent to this process only
            )
        except OSError as error:
            raise InputError(
                f"byte pairs are learned in a separate Python process, and {sys.executable!r} cannot be started "
                f"({error.strerror or error}): use a Python interpreter that can start processes"
            ) from error
        with process:
            try:
                _send(process, parts, vocab_size)
                problem = _watch(process, on_merges, vocab_size - 256)
                code = process.wait()
            finally:
                process.kill()
                with suppress(OSError):  # the rest of the buffer has no reader
                    process.stdin.close()  # type: ignore[union-attr]
        if code:
            reason = problem or f"the process was ended by signal {-code}; it may have run out of memory"
            raise InputError(f"byte pairs cannot be learned from this text: {reason}")
        result.seek(0)
        content: Content = json.load(result)
        return content


def _send(process: subprocess.Popen[bytes], parts: Iterable[str], vocab_size: int) -> None:
    """Send the settings and the text to the process. If the process has failed, the rest is not sent."""
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
        raise InputError("the text contains half of a surrogate pair, which is not a valid character: leave it out") from error


def _watch(process: subprocess.Popen[bytes], on_merges: Callable[[int, int], None], total: int) -> str:
    """Report the process's progress until it ends; returns the last other line of its standard error."""
    assert process.stderr is not None
    message = ""
    for line in process.stderr:
        progress = _progress(line)
        if progress is None:
            message = line.decode("utf-8", "replace").strip() or message
        elif progress.get("stage") == "Compute merges":
            on_merges(min(int(progress["current"]), total), total)
    return message


def _progress(line: bytes) -> dict[str, Any] | None:
    """The library's progress report in a line, or None if the line is something else."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "current" in content else None
