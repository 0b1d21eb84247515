"""Batches of windows of tokens: random ones to train on, and those that cover a text to evaluate on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tinytorch.io.files import HostArray
from tinytorch.ops import random
from tinytorch.text import random_windows, remaining_window, sequential_windows

#: Windows that are evaluated at once.
_EVALUATION_BATCH = 32


def random_batches(tokens: HostArray, length: int, batch_size: int) -> Callable[[], tuple[HostArray]]:
    """A function that returns a batch of random windows (batch_size, length + 1), drawn from the one seed's host generator."""
    return lambda: (random_windows(tokens, length, batch_size, random.generator()).astype("int64", copy=False),)


def evaluation_batches(tokens: HostArray, length: int, most: int | None = None) -> Iterator[tuple[HostArray]]:
    """The windows that predict each of ``tokens`` but the first once, in batches; with ``most``, that many evenly spaced ones.

    Raises:
        InputError: there are too few tokens for one window, or ``length`` is less than 1.
    """
    tokens = tokens.astype("int64", copy=False)
    windows = sequential_windows(tokens, length)
    whole = most is None or most >= len(windows)
    if most is not None and not whole:
        windows = windows[[i * len(windows) // most for i in range(most)]]
    for start in range(0, len(windows), _EVALUATION_BATCH):
        yield (windows[start : start + _EVALUATION_BATCH],)
    rest = remaining_window(tokens, length)
    if whole and rest is not None:
        yield (rest,)
