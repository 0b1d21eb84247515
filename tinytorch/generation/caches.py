"""Key-value caches: keys and values of the tokens so far, so that the forward pass of a new token processes this token alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tinytorch.array_api import arange
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.nn.attention import LayerCache
from tinytorch.ops import append_rows, put_row
from tinytorch.tensor import Tensor, wrap


class Cache(ABC):
    """The base class of key-value caches of B sequences (rows); column t has the keys and values of token t of each row.

    Prompts of different lengths are padded on the left. The padding is masked; position 0 of a row is its first token after it.

    Attributes:
        layers: the caches of the attention layers, in order.
        starts: integers (B), the column of each row's first token; ``None`` if no row is padded.

    Example:
        >>> from tinytorch.generation import Cache, DynamicCache, StaticCache
        >>> issubclass(DynamicCache, Cache), issubclass(StaticCache, Cache)
        (True, True)
    """

    layers: Sequence[LayerCache]
    starts: Tensor | None

    @property
    @abstractmethod
    def length(self) -> int | Tensor:
        """The number of columns in the cache."""

    def offset(self) -> int | Tensor:
        """The position of the next token: a scalar, or integers (B) if rows are padded."""
        return self.length if self.starts is None else self.length - self.starts

    @abstractmethod
    def mask(self, new: int) -> Tensor | None:
        """The attention mask of the columns that ``append`` returns for ``new`` tokens: booleans (B, 1, 1, S), or ``None`` for no mask."""


class DynamicCache(Cache):
    """A cache whose keys and values grow with the sequence, for eager decoding.

    Args:
        num_layers: number of attention layers.
        capacity: maximum number of columns.
        starts: see `Cache`.

    Example:
        >>> from tinytorch.generation import DynamicCache
        >>> from tinytorch.models import TinyGPT
        >>> model = TinyGPT(10, d_model=8, num_heads=2, num_layers=1, max_length=16)
        >>> cache = DynamicCache(num_layers=1, capacity=16)
        >>> with tt.no_grad():
        ...     logits = model(tt.asarray([[1, 2, 3]]), cache=cache)
        >>> cache.length
        3
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
    """The cache of one layer of a `DynamicCache`.

    Attributes:
        length: number of columns in the cache.
        buffers: keys and values (B, capacity, C), of which the first ``length`` columns are in use; empty before the first `append`.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.buffers: list[Tensor] = []

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append ``k, v (B, T, C)``; returns all keys and values so far, (B, length, C) each.

        Raises:
            ValueError: the capacity is exceeded.
            RuntimeError: gradients are enabled and would be lost.
        """
        if (k.node is not None or v.node is not None) and is_grad_enabled():
            raise RuntimeError("a cache stores keys and values without gradients: decode inside `with tinytorch.no_grad():`")
        batch, count, width = k.shape
        if self.length + count > self.capacity:
            raise ValueError(f"the cache holds {self.length} of {self.capacity} positions, and {count} more do not fit")
        if not self.buffers:
            shape, xp = (batch, self.capacity, width), k.backend.xp
            # `zeros`, not `zeros_like`: the system allocates its memory when it is first written
            self.buffers = [wrap(xp.zeros(shape, dtype=k.raw.dtype), k.backend) for _ in range(2)]
        # nothing else refers to the columns after `length`, so the library may write them in place
        for buffer, rows in zip(self.buffers, (k, v), strict=True):
            buffer.raw = append_rows.run(k.backend, buffer.raw, rows.raw, at=self.length)[0]
        self.length += count
        keys, values = [wrap(buffer.raw[:, : self.length, :], buffer.backend) for buffer in self.buffers]
        return keys, values


class StaticCache(Cache):
    """A cache of fixed shapes for one decoding step of one token, so that a backend can compile the step.

    Args:
        buffers: keys and values of each layer, in order, each (B, capacity, C).
        length: number of columns in the cache, a 0-d array of int32.
        starts: see `Cache`; int32.

    Example:
        >>> from tinytorch.generation import StaticCache
        >>> keys, values = tt.zeros((1, 4, 8)), tt.zeros((1, 4, 8))
        >>> cache = StaticCache([keys, values], length=tt.asarray(2, dtype="int32"), starts=tt.asarray([0], dtype="int32"))
        >>> cache.mask(1).tolist()
        [[[[True, True, True, False]]]]
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
    """The cache of one layer of a `StaticCache`.

    Attributes:
        buffers: keys and values (B, capacity, C).
    """

    def __init__(self, keys: Tensor, values: Tensor, length: Tensor) -> None:
        self.buffers = [keys, values]
        self._length = length

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append ``k, v (B, 1, C)``; returns the whole buffers, whose unused columns must be masked."""
        for i, row in enumerate((k, v)):
            written, _, _ = put_row.run(k.backend, self.buffers[i].raw, row.raw, self._length.raw)
            self.buffers[i] = wrap(written, k.backend)
        keys, values = self.buffers
        return keys, values


def _columns(starts: Tensor, count: int) -> Tensor:
    """The indices of ``count`` columns, with the dtype and device of ``starts``."""
    return arange(count, dtype=starts.dtype, device=starts.device)
