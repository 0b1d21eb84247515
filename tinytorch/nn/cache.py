"""Keys and values of the positions a model has already read, so that a new one costs one step and not a pass over all."""

from __future__ import annotations

from tinytorch.array_api import arange, expand_dims
from tinytorch.kernels import append_rows
from tinytorch.tape import is_recording
from tinytorch.tensor import Tensor, wrap


class LayerCache:
    """Keys and values of one attention layer, in buffers of a fixed size that it owns."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._buffers: list[Tensor] = []

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, T, C)`` after what is there; returns all keys and values so far, (B, length, C) each.

        Raises ``ValueError`` where they do not fit, and ``RuntimeError`` where a gradient would be lost.
        """
        if (k.node is not None or v.node is not None) and is_recording():
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
        keys, values = [buffer[:, : self.length, :] for buffer in self._buffers]
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
