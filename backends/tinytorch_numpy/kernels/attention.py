"""Scaled dot-product attention, a block of queries at a time, so that the scores of all pairs never exist at once.

The heads are views of the rows, which BLAS reads and writes where they lie. Exponentials are not divided by their sum; the result is,
which is smaller. With ``w`` the exponentials, ``s`` their sum in a row, ``o`` the result and ``g`` its gradient, the gradient of the
scores is ``w (g v^T - g.o) / s``: here ``g / s`` is taken first, and no pass over all pairs is spent on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.random_bits import apply_bits, keep_bits, stream
from tinytorch_numpy.kernels.support import CHUNK, takes

#: Queries in a block: enough for a matmul to run well, few enough that a causal block skips most of what it may not see.
_ROWS = 64

#: Up to this many keys the exponentials are kept for the backward pass; for more they are worked out again.
_KEPT_KEYS = 256

#: Scores within these bounds need no maximum subtracted: neither a sum of exponentials nor its reciprocal leaves float32.
_SAFE = 50.0

#: The score of a pair that may not attend, finite as in the portable version.
_MASKED = -1e9

_Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of one call; see `_forward`."""

    num_heads: int
    causal: bool
    p: float
    site: int
    first: int


@dataclass(frozen=True, slots=True)
class _Block:
    """Some queries of some heads of some examples of the batch, and the keys that they see."""

    queries: _Slices  # of (B, H, T)
    keys: _Slices  # of (B, H, S)
    shape: tuple[int, int, int, int]  # (examples, heads, queries, keys)


def _heads(x: Array, num_heads: int) -> Array:
    """(B, T, C) -> (B, H, T, C / H), a view."""
    batch, length, width = x.shape
    return x.reshape(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)


class _Call:
    """The operands of one call, cut into blocks, with memory for one block that all blocks use in turn."""

    def __init__(self, q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, settings: _Settings) -> None:
        self.q, self.k, self.v = (_heads(x, settings.num_heads) for x in (q, k, v))  # (B, H, T, d), (B, H, S, d), (B, H, S, e)
        self.causal = causal = settings.causal
        self.p = settings.p
        self.first = settings.first & 0xFFFFFFFF  # positions count modulo 2^32
        self.stream = stream(key, settings.site) if settings.p else 0
        self.scale = 1.0 / math.sqrt(self.q.shape[-1])
        queries, keys = self.q.shape[2], self.k.shape[2]
        # a query with nothing to attend to takes from all keys alike, so no key can be left out where there may be one
        self.whole = not causal or mask is not None or queries > keys
        self.forbidden: Array | None = None
        if mask is not None or (causal and queries > keys):
            allowed = True if mask is None else mask
            if causal:
                allowed = numpy.logical_and(allowed, numpy.tri(queries, keys, keys - queries, dtype=bool))
            self.forbidden = numpy.broadcast_to(numpy.logical_not(allowed), (*self.q.shape[:3], keys))
        self.blocks = self._cut()
        self.past = numpy.tri(self.blocks[0].shape[2], dtype=q.dtype)  # within a causal block: 1 for what is not later
        self._memory: dict[str, Array] = {}

    def _cut(self) -> list[_Block]:
        batch, heads, queries, _ = self.q.shape
        keys = self.k.shape[2]
        rows = min(queries, _ROWS)
        some_heads = min(heads, max(1, CHUNK // (rows * keys)))
        some_examples = min(batch, max(1, CHUNK // (rows * keys * heads)))
        blocks = []
        for b in range(0, batch, some_examples):
            examples = slice(b, min(b + some_examples, batch))
            for h in range(0, heads, some_heads):
                group = slice(h, min(h + some_heads, heads))
                for i in range(0, queries, rows):
                    j = min(i + rows, queries)
                    seen = keys if self.whole else j + keys - queries  # the last query stands at the last key
                    shape = (examples.stop - examples.start, group.stop - group.start, j - i, seen)
                    blocks.append(_Block((examples, group, slice(i, j)), (examples, group, slice(0, seen)), shape))
        return blocks

    def memory(self, name: str, block: _Block, dtype: Any) -> Array:
        """An array for (examples, heads, queries, keys) of a block, valid until it is asked for again under the same name."""
        if name not in self._memory:
            self._memory[name] = numpy.empty(max(math.prod(b.shape) for b in self.blocks), dtype)
        return self._memory[name][: math.prod(block.shape)].reshape(block.shape)

    def scaled_queries(self, block: _Block) -> Array:
        return self.q[block.queries] * self.scale

    def exponentials(self, queries: Array, block: _Block, out: Array, safe: bool | None = None) -> bool:
        """Fill ``out`` with the exponentials of the scores; returns whether they were safe without subtracting each row's maximum.

        What was decided the first time is passed as ``safe`` the second time: sums of the one go with exponentials of the same.
        """
        numpy.matmul(queries, self.k[block.keys].swapaxes(-1, -2), out=out)
        rows, keys = block.shape[2:]
        later = out[..., keys - rows :]
        if self.forbidden is None:
            if safe is None:
                safe = bool(out.min() > -_SAFE and out.max() < _SAFE)
            if safe:
                numpy.exp(out, out=out)
                if self.causal and rows > 1:
                    later *= self.past[:rows, :rows]
                return True
            if self.causal and rows > 1:
                numpy.copyto(later, _MASKED, where=self.past[:rows, :rows] == 0)
        else:
            numpy.copyto(out, _MASKED, where=self.forbidden[block.queries])
        out -= out.max(axis=-1, keepdims=True)
        numpy.exp(out, out=out)
        return False

    def keep_bits(self, block: _Block) -> Array:
        """Which weights of a block dropout keeps; see `random_bits`."""
        _, heads, queries, _ = self.q.shape
        b, h, rows = (numpy.arange(some.start, some.stop) for some in block.queries)
        first = ((b[:, None, None] * heads + h[:, None]) * queries + rows) * self.k.shape[2] + self.first  # each row's place among all
        index, spare = (self.memory(name, block, numpy.uint32) for name in ("index", "spare"))
        numpy.add(first.astype(numpy.uint32)[..., None], numpy.arange(block.shape[3], dtype=numpy.uint32), out=index)
        return keep_bits(index, spare, self.stream, self.p)

    def dropped(self, weights: Array, bits: Array, block: _Block) -> Array:
        out = self.memory("dropped", block, weights.dtype)
        apply_bits(weights, bits, out)
        return out


@dataclass(frozen=True, slots=True)
class _Residuals:
    out: Array  # (B, H, T, e)
    sums: Array  # (B, H, T, 1), of the exponentials, times the share that dropout keeps
    safe: list[bool]  # for each block, see `_Call.exponentials`
    weights: list[Array]  # the exponentials of each block, or nothing


def _attend(call: _Call, dtype: Any) -> tuple[Array, _Residuals]:
    batch, heads, length, _ = call.q.shape
    out = numpy.empty((batch, length, heads * call.v.shape[-1]), dtype)
    residuals = _Residuals(_heads(out, heads), numpy.empty((batch, heads, length, 1), dtype), [], [])
    keep = call.k.shape[2] <= _KEPT_KEYS
    ones = numpy.ones(call.k.shape[2], dtype)
    for block in call.blocks:
        weights = numpy.empty(block.shape, dtype) if keep else call.memory("weights", block, dtype)
        residuals.safe.append(call.exponentials(call.scaled_queries(block), block, weights))
        if keep:
            residuals.weights.append(weights)
        sums = residuals.sums[block.queries]
        numpy.vecdot(weights, ones[: block.shape[3]], out=sums[..., 0])
        if call.p:
            weights = call.dropped(weights, call.keep_bits(block), block)
            sums *= 1.0 - call.p
        part = numpy.matmul(weights, call.v[block.keys], out=residuals.out[block.queries])
        part /= sums
    return out, residuals


def _differentiate(call: _Call, g: Array, residuals: _Residuals, grads: Sequence[Array]) -> None:
    """Fill ``grads``, of queries (B, T, C), keys and values (B, S, C), given ``g (B, T, C)``."""
    g, g_q, g_k, g_v = (_heads(x, call.q.shape[1]) for x in (g, *grads))
    written: set[tuple[int, int]] = set()
    # from the last block of each group of heads, which sees all keys and so writes what the others add to
    for n in range(len(call.blocks) - 1, -1, -1):
        block = call.blocks[n]
        queries = call.scaled_queries(block)
        if residuals.weights:
            weights = residuals.weights[n]
        else:
            weights = call.memory("weights", block, g.dtype)
            call.exponentials(queries, block, weights, residuals.safe[n])
        g_out = g[block.queries] / residuals.sums[block.queries]
        along = numpy.vecdot(g_out, residuals.out[block.queries])[..., None]
        g_scores = numpy.matmul(g_out, call.v[block.keys].swapaxes(-1, -2), out=call.memory("g_scores", block, g.dtype))
        dropped = weights
        if call.p:
            bits = call.keep_bits(block)
            apply_bits(g_scores, bits, g_scores)
            dropped = call.dropped(weights, bits, block)
            along *= 1.0 - call.p
        g_scores -= along
        g_scores *= weights
        if call.forbidden is not None:
            numpy.copyto(g_scores, 0.0, where=call.forbidden[block.queries])
        part = numpy.matmul(g_scores, call.k[block.keys], out=g_q[block.queries])
        part *= call.scale
        group = (block.queries[0].start, block.queries[1].start)
        for target, left, right in ((g_k, g_scores, queries), (g_v, dropped, g_out)):
            if group in written:
                target[block.keys] += numpy.matmul(left.swapaxes(-1, -2), right)
            else:
                numpy.matmul(left.swapaxes(-1, -2), right, out=target[block.keys])
        written.add(group)


def _forward(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    key: Array | None,
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> Any:
    """``q (B, T, C)`` attends to ``k, v (B, S, C)`` in ``num_heads`` groups of columns: (B, T, C).

    ``mask``, boolean and broadcast to (B, H, T, S), is true where attention is allowed; ``causal`` forbids what comes later. A share
    ``p`` of the weights is dropped, drawn with ``key``, ``site`` and ``first``.
    """
    if not takes(q, k, v) or not (q.size and k.size and v.size) or (mask is not None and mask.dtype != bool):
        return NotImplemented
    if q.shape[1] == 1 and mask is None and not p:
        return _attend_once(q, k, v, num_heads), None
    return _attend(_Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first)), q.dtype)


def _attend_once(q: Array, k: Array, v: Array, num_heads: int) -> Array:
    """One query that sees all keys, as in decoding: ``q (B, 1, C)``, and no residuals."""
    queries, keys, values = (_heads(x, num_heads) for x in (q, k, v))
    weights = numpy.matmul(queries * (1.0 / math.sqrt(queries.shape[-1])), keys.swapaxes(-1, -2))  # (B, H, 1, S)
    weights -= numpy.maximum.reduce(weights, axis=-1, keepdims=True)
    numpy.exp(weights, out=weights)
    out = numpy.empty((len(q), 1, v.shape[-1]), q.dtype)
    part = numpy.matmul(weights, values, out=_heads(out, num_heads))
    part /= numpy.add.reduce(weights, axis=-1, keepdims=True)
    return out


def _backward(
    g: Array,
    residuals: _Residuals | None,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> list[Array | None]:
    q, k, v, mask, key = inputs
    grads = [numpy.empty(x.shape, x.dtype) for x in (q, k, v)]
    call = _Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first))
    _differentiate(call, g, residuals or _attend(call, q.dtype)[1], grads)
    return [*[grad if needed else None for grad, needed in zip(grads, needs, strict=False)], None, None]


def _parts(qkv: Array) -> list[Array]:
    """(B, T, 3 C) -> three views of (B, T, C)."""
    width = qkv.shape[-1] // 3
    return [qkv[:, :, i * width : (i + 1) * width] for i in range(3)]


def _packed_forward(
    qkv: Array, mask: Array | None, key: Array | None, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> Any:
    """Self-attention of queries, keys and values that lie side by side in ``qkv (B, T, 3 C)``: (B, T, C). See `_forward`."""
    q, k, v = _parts(qkv)
    return _forward(q, k, v, mask, key, num_heads=num_heads, causal=causal, p=p, site=site, first=first)


def _packed_backward(
    g: Array,
    residuals: _Residuals | None,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> list[Array | None]:
    qkv, mask, key = inputs
    q, k, v = _parts(qkv)
    grad = numpy.empty(qkv.shape, qkv.dtype)
    call = _Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first))
    _differentiate(call, g, residuals or _attend(call, q.dtype)[1], _parts(grad))
    return [grad, None, None]


attention = Kernel(_forward, _backward)
packed_attention = Kernel(_packed_forward, _packed_backward)
