"""Pieces of a long row of tokens: training and validation parts, and the windows a language model sees. A host module.

A window holds T + 1 tokens: the model reads the first T and predicts the last T. So N tokens hold N - 1 predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol, overload

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError

Tokens = NDArray[Any]


class IntegerSource(Protocol):
    """What draws the starts of random windows; `numpy.random.Generator` is one."""

    def integers(self, low: int, high: int, shape: tuple[int, ...], /) -> Any:
        """Whole numbers in [low, high) of the given shape."""
        ...


@overload
def split_text(data: str, val_split: float = ...) -> tuple[str, str]: ...
@overload
def split_text(data: Tokens, val_split: float = ...) -> tuple[Tokens, Tokens]: ...
def split_text(data: str | Tokens, val_split: float = 0.1) -> tuple[Any, Any]:
    """Cut a text, or its tokens, into a training part and the validation part that follows it.

    Args:
        data: a text or a token array of shape (N,).
        val_split: the share that is held out at the end, in [0, 1); the training part has floor(N * (1 - val_split)) tokens.

    Raises:
        InputError: `val_split` is outside [0, 1), or a part that is wanted comes out empty.
    """
    if not 0 <= val_split < 1:
        raise InputError(f"the validation share must be at least 0 and under 1, and it is {val_split}")
    # Decimal arithmetic: 1 - 0.9 is under 0.1 in binary, and a token would change sides.
    cut = int(len(data) * (1 - Fraction(str(val_split))))
    if cut == 0 or (val_split > 0 and cut == len(data)):
        raise InputError(f"{len(data)} tokens cannot be split into training and validation parts at {val_split}: give more text")
    return data[:cut], data[cut:]


def random_windows(tokens: Tokens, seq_length: int, batch_size: int, generator: IntegerSource) -> Tokens:
    """Draw windows that start anywhere, each start equally likely.

    Args:
        tokens: shape (N,).
        seq_length: T, the number of predictions in a window.
        batch_size: B, how many windows.
        generator: where the starts are drawn from.

    Returns:
        Shape (B, T + 1), a copy.

    Raises:
        InputError: there are fewer than T + 1 tokens.
    """
    _require_tokens(tokens, seq_length)
    starts = numpy.asarray(generator.integers(0, len(tokens) - seq_length, (batch_size,)))
    return _cut(tokens, starts, seq_length)


def sequential_windows(tokens: Tokens, seq_length: int) -> Tokens:
    """Cut tokens into windows that follow each other, so that no token is predicted twice.

    Neighbours share one token, the last target of one being the first input of the next. The (N - 1) % T predictions after the last
    whole window are not in the result; `remaining_window` gives them. Both together predict every token but the first, once each.

    Args:
        tokens: shape (N,).
        seq_length: T, the number of predictions in a window.

    Returns:
        Shape ((N - 1) // T, T + 1), a copy.

    Raises:
        InputError: there are fewer than T + 1 tokens.
    """
    _require_tokens(tokens, seq_length)
    starts = numpy.arange((len(tokens) - 1) // seq_length) * seq_length
    return _cut(tokens, starts, seq_length)


def remaining_window(tokens: Tokens, seq_length: int) -> Tokens | None:
    """The shorter window after the last of `sequential_windows`: shape (1, (N - 1) % T + 1), or None where nothing is left."""
    left = (len(tokens) - 1) % seq_length
    return tokens[None, len(tokens) - left - 1 :] if left else None


def sliding_windows(tokens: Tokens | Iterable[Tokens], seq_length: int, stride: int, batch_size: int) -> Iterator[tuple[Tokens, Tokens]]:
    """Cut tokens into windows that overlap, so that all but the first predictions look back on many tokens.

    Args:
        tokens: shape (N,), or several such one after another: no more than one of them, and the windows of a batch, are held in memory.
        seq_length: T, the number of predictions in a window; N - 1 where that is less.
        stride: how far each window begins after the one before, at most T. The last one ends with the tokens.
        batch_size: B, the most windows that are given at once.

    Returns:
        Batches of windows (B, T + 1), and for each window the first of its tokens that none before it predicts, (B); from there on a
        window's predictions count. Together they predict every token but the first, once each, from T - stride tokens or more where there
        are so many.

    Raises:
        InputError: the stride is not from 1 to T; or, when the batches are asked for, there are fewer than two tokens.
    """
    if not 1 <= stride <= seq_length:
        raise InputError(f"the stride must be at least 1 and at most the model's {seq_length} tokens, and it is {stride}")
    return _slide([tokens] if isinstance(tokens, numpy.ndarray) else tokens, seq_length, stride, batch_size)


def _slide(parts: Iterable[Tokens], seq_length: int, stride: int, batch_size: int) -> Iterator[tuple[Tokens, Tokens]]:
    width, begun = seq_length + 1, False
    kept = numpy.zeros(0, dtype=numpy.int64)  # the tokens from the last window on
    start = 0  # of the next window, among them
    for part in parts:
        kept = numpy.concatenate([kept, part.astype(numpy.int64, copy=False)])
        starts = numpy.arange(start, len(kept) - width, stride)  # each of these ends before the last token that is known: others follow
        for i in range(0, len(starts), batch_size):
            batch = starts[i : i + batch_size]
            firsts = numpy.full(len(batch), width - stride)
            if not begun:
                firsts[0], begun = 1, True
            yield _cut(kept, batch, seq_length), firsts
        if len(starts):
            kept, start = kept[starts[-1] :], stride
    if len(kept) < 2:
        raise InputError(f"there are {len(kept)} tokens, and nothing to predict: give more text")
    last = max(0, len(kept) - width)
    yield kept[None, last:], numpy.asarray([width - last if begun else 1])


def _cut(tokens: Tokens, starts: Tokens, seq_length: int) -> Tokens:
    """The windows that begin at the given starts."""
    windows: Tokens = tokens[starts[:, None] + numpy.arange(seq_length + 1)]  # (B, T + 1)
    return windows


def _require_tokens(tokens: Tokens, seq_length: int) -> None:
    """Refuse a length that is no length, and too few tokens for one window."""
    if seq_length < 1:
        raise InputError(f"the sequence length must be at least 1, and it is {seq_length}")
    if len(tokens) > seq_length:
        return
    shorter = f"use a `seq_length` of at most {len(tokens) - 1}, or give" if len(tokens) > 1 else "give"
    raise InputError(
        f"there are {len(tokens)} tokens, and one window of sequence length {seq_length} needs {seq_length + 1}: {shorter} more text"
    )
