"""Key-value caches: keys and values of the positions a model has read, so that a new token costs one step and not a pass over all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tinytorch.array_api import arange
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.nn.attention import LayerCache
from tinytorch.ops import append_rows, put_row
from tinytorch.tensor import Tensor, wrap


class Cache(ABC):
    """What a model asks of a cache. A batch may hold prompts of different lengths, padded on the left: columns before a row's start are
    masked, and positions are counted from there.

    Attributes:
        layers: one cache for each attention layer in turn.
        starts: integers (B), the column of each row's first token; ``None`` where no row is padded.
    """

    layers: Sequence[LayerCache]
    starts: Tensor | None

    @property
    @abstractmethod
    def length(self) -> int | Tensor:
        """How many columns have been read."""

    def offset(self) -> int | Tensor:
        """The position of the next column: one number, or (B)."""
        return self.length if self.starts is None else self.length - self.starts

    @abstractmethod
    def mask(self, new: int) -> Tensor | None:
        """Which of the columns that ``append`` returns may be attended to once ``new`` more are read: boolean (B, 1, 1, S), or all."""


class DynamicCache(Cache):
    """A cache whose keys and values grow with the text, in buffers that it owns.

    Args:
        num_layers: number of attention layers.
        capacity: the most positions that it can hold.
        starts: see `Cache`.
    """

    def __init__(self, num_layers: int, capacity: int, starts: Tensor | None = None) -> None:
        self.layers: list[DynamicLayer] = [DynamicLayer(capacity) for _ in range(num_layers)]
        self.starts = starts

    @property
    def length(self) -> int:
        return self.layers[0].length

    def mask(self, new: int) -> Tensor | None:
        if self.starts is None:
            return None
        exists = _columns(self.starts, self.length + new) >= self.starts[:, None]  # (B, S)
        return exists[:, None, None, :]


class DynamicLayer:
    """One layer's part of a `DynamicCache`.

    Attributes:
        length: how many positions have been appended.
        buffers: keys and values (B, capacity, C), of which the first ``length`` rows are in use; empty before the first `append`.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.buffers: list[Tensor] = []

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, T, C)``; returns all keys and values so far, (B, length, C) each.

        Raises:
            ValueError: they do not fit.
            RuntimeError: a gradient would be lost.
        """
        if (k.node is not None or v.node is not None) and is_grad_enabled():
            raise RuntimeError("a cache keeps values without their gradients: decode inside `with tinytorch.no_grad():`")
        batch, count, width = k.shape
        if self.length + count > self.capacity:
            raise ValueError(f"the cache holds {self.length} of {self.capacity} positions, and {count} more do not fit")
        if not self.buffers:
            shape, xp = (batch, self.capacity, width), k.backend.xp
            # not `zeros_like`, which writes at once, where memory of `zeros` is taken by the system as it fills
            self.buffers = [wrap(xp.zeros(shape, dtype=k.raw.dtype), k.backend) for _ in range(2)]
        # the buffers were made here and nobody else holds the rows after `length`: written in place where the library can
        for buffer, rows in zip(self.buffers, (k, v), strict=True):
            buffer.raw = append_rows.run(k.backend, buffer.raw, rows.raw, at=self.length)[0]
        self.length += count
        keys, values = [wrap(buffer.raw[:, : self.length, :], buffer.backend) for buffer in self.buffers]
        return keys, values


class StaticCache(Cache):
    """A cache of fixed shapes for one step of one token, so that a backend can compile the step.

    Args:
        buffers: keys and values of each layer in turn, (B, capacity, C).
        length: how many columns have been read, a 0-d int32.
        starts: see `Cache`, int32.
    """

    starts: Tensor

    def __init__(self, buffers: Sequence[Tensor], length: Tensor, starts: Tensor) -> None:
        self.layers: list[StaticLayer] = [StaticLayer(buffers[i], buffers[i + 1], length) for i in range(0, len(buffers), 2)]
        self.starts = starts
        self._length = length

    @property
    def length(self) -> Tensor:
        return self._length

    def mask(self, new: int) -> Tensor:
        columns = _columns(self.starts, self.layers[0].buffers[0].shape[1])
        exists = (columns >= self.starts[:, None]) & (columns <= self.length)  # (B, capacity); `new` is 1
        return exists[:, None, None, :]


class StaticLayer:
    """One layer's part of a `StaticCache`.

    Attributes:
        buffers: keys and values (B, capacity, C).
    """

    def __init__(self, keys: Tensor, values: Tensor, length: Tensor) -> None:
        self.buffers = [keys, values]
        self._length = length

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, 1, C)``; returns the whole buffers, whose columns after that are to be masked."""
        for i, row in enumerate((k, v)):
            written, _, _ = put_row.run(k.backend, self.buffers[i].raw, row.raw, self._length.raw)
            self.buffers[i] = wrap(written, k.backend)
        keys, values = self.buffers
        return keys, values


def _columns(starts: Tensor, count: int) -> Tensor:
    """The numbers of ``count`` columns, beside ``starts`` and of its type."""
    return arange(count, dtype=starts.dtype, device=starts.device)
