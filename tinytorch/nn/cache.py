"""Keys and values of the positions a model has already read, so that a new one costs one step and not a pass over all."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.array_api import arange, expand_dims
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.backend import Array, Backend
from tinytorch.ops import append_rows, put_row
from tinytorch.tensor import Tensor, wrap


class LayerCache:
    """Keys and values of one attention layer, in buffers of a fixed size that it owns."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._buffers: list[Tensor] = []

    @property
    def backend(self) -> Backend:
        """Where the buffers are, once there are some."""
        return self._buffers[0].backend

    @property
    def buffers(self) -> list[Array]:
        """Keys and values (B, capacity, C), of which the first `length` rows count; none before the first `append`."""
        return [buffer.raw for buffer in self._buffers]

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, T, C)`` after what is there; returns all keys and values so far, (B, length, C) each.

        Raises ``ValueError`` where they do not fit, and ``RuntimeError`` where a gradient would be lost.
        """
        if (k.node is not None or v.node is not None) and is_grad_enabled():
            raise RuntimeError("a cache keeps values without their gradients: decode inside `with tinytorch.no_grad():`")
        batch, count, width = k.shape
        if self.length + count > self.capacity:
            raise ValueError(f"the cache holds {self.length} of {self.capacity} positions, and {count} more do not fit")
        if not self._buffers:
            shape, xp = (batch, self.capacity, width), k.backend.xp
            # not `zeros_like`, which writes where `zeros` has the system promise memory that is taken as it fills
            self._buffers = [wrap(xp.zeros(shape, dtype=k.raw.dtype), k.backend) for _ in range(2)]
        # the buffers were made here and nobody else holds the rows after `length`: written in place where the library can
        for buffer, rows in zip(self._buffers, (k, v), strict=True):
            buffer.raw = append_rows.run(k.backend, buffer.raw, rows.raw, at=self.length)[0]
        self.length += count
        keys, values = [wrap(buffer.raw[:, : self.length, :], buffer.backend) for buffer in self._buffers]
        return keys, values


class KVCache:
    """The caches of all layers of a model, and where each row of the batch starts.

    Args:
        num_layers: number of attention layers.
        capacity: how many positions there is room for.
        starts: for prompts of different lengths, padded on the left: (B) whole numbers, the column at which each row's first token stands.
    """

    def __init__(self, num_layers: int, capacity: int, starts: Tensor | None = None) -> None:
        self.layers = [LayerCache(capacity) for _ in range(num_layers)]
        self.starts = starts

    @property
    def backend(self) -> Backend:
        """Where the keys and values are, once there are some."""
        return self.layers[0].backend

    @property
    def length(self) -> int:
        """How many columns have been read."""
        return self.layers[0].length

    def offset(self) -> int | Tensor:
        """The position of the next column: one number, or one for each row."""
        return self.length if self.starts is None else self.length - self.starts

    def mask(self, new: int) -> Tensor | None:
        """Which columns exist once ``new`` more are read: (B, 1, 1, length + new), or ``None`` where all do in every row."""
        if self.starts is None:
            return None
        columns = arange(self.length + new, dtype=self.starts.dtype, device=self.starts.device)
        exists = expand_dims(columns, axis=0) >= expand_dims(self.starts, axis=1)  # (B, S)
        return expand_dims(expand_dims(exists, axis=1), axis=1)


class StepLayer:
    """One layer's part of a `StepCache`."""

    def __init__(self, buffers: list[Tensor], length: Tensor) -> None:
        self.buffers = buffers
        self._length = length

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, 1, C)`` after what is there; returns the whole buffers, which are masked behind that."""
        for i, row in enumerate((k, v)):
            written, _, _ = put_row.run(k.backend, self.buffers[i].raw, row.raw, self._length.raw)
            self.buffers[i] = wrap(written, k.backend)
        keys, values = self.buffers
        return keys, values


class StepCache:
    """A `KVCache` for one step of one token, whose shapes do not change with its length, so that a backend can compile the step.

    Args:
        buffers: keys and values of each layer in turn, (B, capacity, C).
        length: how many columns have been read, int32 without dimensions.
        starts: see `KVCache`, (B) of int32.
    """

    def __init__(self, buffers: Sequence[Tensor], length: Tensor, starts: Tensor) -> None:
        self.layers = [StepLayer(list(buffers[i : i + 2]), length) for i in range(0, len(buffers), 2)]
        self.length = length
        self.starts = starts

    def offset(self) -> Tensor:
        """The position of the next column in each row."""
        return self.length - self.starts

    def mask(self, new: int) -> Tensor:
        """Which columns exist once the step's one is read: (B, 1, 1, capacity)."""
        columns = expand_dims(arange(self.layers[0].buffers[0].shape[1], dtype=self.starts.dtype, device=self.starts.device), axis=0)
        exists = (columns >= expand_dims(self.starts, axis=1)) & (columns <= self.length)  # (B, capacity)
        return expand_dims(expand_dims(exists, axis=1), axis=1)
