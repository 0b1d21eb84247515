"""Training and validation splits of a sequence of tokens, and windows for a language model. Runs on the CPU.

A window has T + 1 tokens: the first T are the model's inputs, the last T its targets. So N tokens have N - 1 targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol, overload

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError

Tokens = NDArray[Any]


class IntegerGenerator(Protocol):
    """A random number generator for the starts of windows, such as `numpy.random.Generator`."""

    def integers(self, low: int, high: int, shape: tuple[int, ...], /) -> Any:
        """Draw integers in [low, high) of the given shape."""
        ...


@overload
def split_text(data: str, val_split: float = ...) -> tuple[str, str]: ...
@overload
def split_text(data: Tokens, val_split: float = ...) -> tuple[Tokens, Tokens]: ...
def split_text(data: str | Tokens, val_split: float = 0.1) -> tuple[Any, Any]:
    """Split a text, or its tokens, into a training split and the validation split that follows it.

    Args:
        data: a text, or a token array of shape (N,).
        val_split: the fraction that is held out at the end, in [0, 1).

    Returns:
        The training split, of floor(N * (1 - val_split)) tokens, and the validation split, the rest.

    Raises:
        InputError: `val_split` is outside [0, 1), or a split is empty (the validation split may be if `val_split` is 0).

    Example:
        >>> from tinytorch.text import split_text
        >>> split_text("to be or not to be", val_split=0.3)
        ('to be or not', ' to be')
    """
    if not 0 <= val_split < 1:
        raise InputError(f"`val_split` must be at least 0 and less than 1, got {val_split}")
    # decimal arithmetic: in binary 1 - 0.9 is less than 0.1, which would move a token to the other split
    cut = int(len(data) * (1 - Fraction(str(val_split))))
    if cut == 0 or (val_split > 0 and cut == len(data)):
        raise InputError(
            f"{len(data)} tokens are too few for a training and a validation split with `val_split={val_split}`: pass more text"
        )
    return data[:cut], data[cut:]


def random_windows(tokens: Tokens, seq_length: int, batch_size: int, generator: IntegerGenerator) -> Tokens:
    """Draw windows with uniformly distributed starts.

    Args:
        tokens: shape (N,).
        seq_length: T, the number of targets of a window.
        batch_size: B, the number of windows.
        generator: draws the starts.

    Returns:
        Shape (B, T + 1), a copy.

    Raises:
        InputError: there are fewer than T + 1 tokens.

    Example:
        >>> from tinytorch.text import random_windows
        >>> windows = random_windows(numpy.arange(100), seq_length=8, batch_size=4, generator=numpy.random.default_rng(0))
        >>> windows.shape
        (4, 9)
    """
    _require_tokens(tokens, seq_length)
    starts = numpy.asarray(generator.integers(0, len(tokens) - seq_length, (batch_size,)))
    return _cut(tokens, starts, seq_length)


def sequential_windows(tokens: Tokens, seq_length: int) -> Tokens:
    """Cut tokens into consecutive windows, so that no token is a target twice.

    The last target of a window is the first input of the next window. The last (N - 1) % T targets, too few for a window, are not in the
    result; `remaining_window` returns them. Together they have every token but the first as a target exactly once.

    Args:
        tokens: shape (N,).
        seq_length: T, the number of targets of a window.

    Returns:
        Shape ((N - 1) // T, T + 1), a copy.

    Raises:
        InputError: there are fewer than T + 1 tokens.

    Example:
        >>> from tinytorch.text import sequential_windows
        >>> sequential_windows(numpy.arange(9), seq_length=3).tolist()
        [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    _require_tokens(tokens, seq_length)
    starts = numpy.arange((len(tokens) - 1) // seq_length) * seq_length
    return _cut(tokens, starts, seq_length)


def remaining_window(tokens: Tokens, seq_length: int) -> Tokens | None:
    """Return the shorter window after the last window of `sequential_windows`.

    Args:
        tokens: shape (N,).
        seq_length: T, the number of targets of the other windows.

    Returns:
        Shape (1, (N - 1) % T + 1), or None if T divides N - 1.

    Example:
        >>> from tinytorch.text import remaining_window
        >>> remaining_window(numpy.arange(9), seq_length=3).tolist()
        [[6, 7, 8]]
    """
    left = (len(tokens) - 1) % seq_length
    return tokens[None, len(tokens) - left - 1 :] if left else None


def sliding_windows(tokens: Tokens | Iterable[Tokens], seq_length: int, stride: int, batch_size: int) -> Iterator[tuple[Tokens, Tokens]]:
    """Cut tokens into overlapping windows, so that most targets are predicted from a long context.

    Args:
        tokens: shape (N,), or an iterable of the parts of such an array; one part and one batch are in memory at a time.
        seq_length: T, the number of targets of a window; N - 1 if that is smaller.
        stride: the distance between the starts of two windows, at most T. The last window ends with the last token.
        batch_size: B, the maximum number of windows of a batch.

    Returns:
        An iterator of batches: windows of shape (B, T + 1), and for each window the index of its first target that no previous window has,
        of shape (B,). Only the targets from this index on count: together they are all tokens but the first, exactly once, and each is
        predicted from at least T - stride tokens, or from all previous tokens.

    Raises:
        InputError: ``stride`` is not from 1 to T; or, while iterating, there are fewer than two tokens.

    Example:
        >>> from tinytorch.text import sliding_windows
        >>> for windows, firsts in sliding_windows(numpy.arange(7), seq_length=4, stride=2, batch_size=8):
        ...     print(windows.tolist(), firsts.tolist())
        [[0, 1, 2, 3, 4]] [1]
        [[2, 3, 4, 5, 6]] [3]
    """
    if not 1 <= stride <= seq_length:
        raise InputError(f"`stride` must be at least 1 and at most the window's {seq_length} tokens, got {stride}")
    return _slide([tokens] if isinstance(tokens, numpy.ndarray) else tokens, seq_length, stride, batch_size)


def _slide(parts: Iterable[Tokens], seq_length: int, stride: int, batch_size: int) -> Iterator[tuple[Tokens, Tokens]]:
    width, begun = seq_length + 1, False
    kept = numpy.zeros(0, dtype=numpy.int64)  # the tokens from the start of the last window on
    start = 0  # of the next window, among them
    for part in parts:
        kept = numpy.concatenate([kept, part.astype(numpy.int64, copy=False)])
        starts = numpy.arange(start, len(kept) - width, stride)  # these windows end before the last token so far, so another window follows
        for i in range(0, len(starts), batch_size):
            batch = starts[i : i + batch_size]
            firsts = numpy.full(len(batch), width - stride)
            if not begun:
                firsts[0], begun = 1, True
            yield _cut(kept, batch, seq_length), firsts
        if len(starts):
            kept, start = kept[starts[-1] :], stride
    if len(kept) < 2:
        raise InputError(f"at least 2 tokens are needed to predict one, got {len(kept)}: pass more text")
    last = max(0, len(kept) - width)
    yield kept[None, last:], numpy.asarray([width - last if begun else 1])


def _cut(tokens: Tokens, starts: Tokens, seq_length: int) -> Tokens:
    """The windows with the given starts."""
    windows: Tokens = tokens[starts[:, None] + numpy.arange(seq_length + 1)]  # (B, T + 1)
    return windows


def _require_tokens(tokens: Tokens, seq_length: int) -> None:
    """Raise InputError if ``seq_length`` is not positive, or if there are too few tokens for one window."""
    if seq_length < 1:
        raise InputError(f"`seq_length` must be at least 1, got {seq_length}")
    if len(tokens) > seq_length:
        return
    shorter = f"use a `seq_length` of at most {len(tokens) - 1}, or pass" if len(tokens) > 1 else "pass"
    raise InputError(
        f"there are {len(tokens)} tokens, and one window of sequence length {seq_length} needs {seq_length + 1}: {shorter} more text"
    )
