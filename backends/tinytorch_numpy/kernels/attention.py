"""Scaled dot-product attention, one block of queries at a time, so that the full score matrix is never stored.

The heads are strided views, which BLAS reads and writes without copies. The sum of the exponentials divides the output instead of the
weights, which are larger. With exponentials ``w``, their row sums ``s``, output ``o`` and its gradient ``g``, the gradient of the scores
is ``w (g v^T - g.o) / s``: computing ``g / s`` first saves a pass over all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.random_bits import apply_bits, hash_key, keep_bits
from tinytorch_numpy.kernels.support import CHUNK, supports

#: Queries in a block: enough for an efficient matmul, few enough that a causal block skips most of the masked keys.
_ROWS = 64

#: Up to this many keys, the exponentials are stored for the backward pass. With more keys they are recomputed.
_MAX_STORED_KEYS = 256

#: If all scores are within these bounds, the row maximum need not be subtracted: sums of exponentials stay in the range of float32.
_SAFE = 50.0

#: The score of a masked pair, finite as in the portable version.
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
    """A range of examples, heads and queries, and the keys that these queries attend to."""

    queries: _Slices  # slices of (B, H, T)
    keys: _Slices  # slices of (B, H, S)
    shape: tuple[int, int, int, int]  # (examples, heads, queries, keys)


def _heads(x: Array, num_heads: int) -> Array:
    """(B, T, C) -> (B, H, T, C / H), a view."""
    batch, length, width = x.shape
    return x.reshape(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)


class _Call:
    """The operands of one call, divided into blocks, and a workspace for one block, which all blocks reuse."""

    def __init__(self, q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, settings: _Settings) -> None:
        self.q, self.k, self.v = (_heads(x, settings.num_heads) for x in (q, k, v))  # (B, H, T, d), (B, H, S, d), (B, H, S, e)
        self.causal = causal = settings.causal
        self.p = settings.p
        self.first = settings.first & 0xFFFFFFFF  # indices are modulo 2^32
        self.hashed_key = hash_key(key, settings.site) if settings.p else 0
        self.scale = 1.0 / math.sqrt(self.q.shape[-1])
        queries, keys = self.q.shape[2], self.k.shape[2]
        # a fully masked query attends to all keys equally, so blocks skip no keys if there can be such a query
        self.uses_all_keys = not causal or mask is not None or queries > keys
        self.masked: Array | None = None
        if mask is not None or (causal and queries > keys):
            allowed = True if mask is None else mask
            if causal:
                allowed = numpy.logical_and(allowed, numpy.tri(queries, keys, keys - queries, dtype=bool))
            self.masked = numpy.broadcast_to(numpy.logical_not(allowed), (*self.q.shape[:3], keys))
        self.blocks = self._make_blocks()
        self.causal_mask = numpy.tri(self.blocks[0].shape[2], dtype=q.dtype)  # of a block's queries and its last keys
        self._workspaces: dict[str, Array] = {}

    def _make_blocks(self) -> list[_Block]:
        batch, heads, queries, _ = self.q.shape
        keys = self.k.shape[2]
        rows = min(queries, _ROWS)
        block_heads = min(heads, max(1, CHUNK // (rows * keys)))
        block_examples = min(batch, max(1, CHUNK // (rows * keys * heads)))
        blocks = []
        for b in range(0, batch, block_examples):
            examples = slice(b, min(b + block_examples, batch))
            for h in range(0, heads, block_heads):
                group = slice(h, min(h + block_heads, heads))
                for i in range(0, queries, rows):
                    j = min(i + rows, queries)
                    num_keys = keys if self.uses_all_keys else j + keys - queries  # the last query is at the position of the last key
                    shape = (examples.stop - examples.start, group.stop - group.start, j - i, num_keys)
                    blocks.append(_Block((examples, group, slice(i, j)), (examples, group, slice(0, num_keys)), shape))
        return blocks

    def workspace(self, name: str, block: _Block, dtype: Any) -> Array:
        """A buffer (examples, heads, queries, keys) for a block, valid until the next call with the same name."""
        if name not in self._workspaces:
            self._workspaces[name] = numpy.empty(max(math.prod(b.shape) for b in self.blocks), dtype)
        return self._workspaces[name][: math.prod(block.shape)].reshape(block.shape)

    def scaled_queries(self, block: _Block) -> Array:
        return self.q[block.queries] * self.scale

    def exponentials(self, queries: Array, block: _Block, out: Array, safe: bool | None = None) -> bool:
        """Fill ``out`` with the exponentials of the scores; returns whether they were computed without subtracting row maxima.

        The backward pass passes the forward pass's result as ``safe``, so that its exponentials match the stored sums.
        """
        numpy.matmul(queries, self.k[block.keys].swapaxes(-1, -2), out=out)
        rows, keys = block.shape[2:]
        recent = out[..., keys - rows :]
        if self.masked is None:
            if safe is None:
                safe = bool(out.min() > -_SAFE and out.max() < _SAFE)
            if safe:
                numpy.exp(out, out=out)
                if self.causal and rows > 1:
                    recent *= self.causal_mask[:rows, :rows]
                return True
            if self.causal and rows > 1:
                numpy.copyto(recent, _MASKED, where=self.causal_mask[:rows, :rows] == 0)
        else:
            numpy.copyto(out, _MASKED, where=self.masked[block.queries])
        out -= out.max(axis=-1, keepdims=True)
        numpy.exp(out, out=out)
        return False

    def keep_bits(self, block: _Block) -> Array:
        """The dropout mask of a block's weights; see `tinytorch_numpy.kernels.random_bits.keep_bits`."""
        _, heads, queries, _ = self.q.shape
        b, h, rows = (numpy.arange(part.start, part.stop) for part in block.queries)
        # flat index of each row's first weight
        first = ((b[:, None, None] * heads + h[:, None]) * queries + rows) * self.k.shape[2] + self.first
        index, spare = (self.workspace(name, block, numpy.uint32) for name in ("index", "spare"))
        numpy.add(first.astype(numpy.uint32)[..., None], numpy.arange(block.shape[3], dtype=numpy.uint32), out=index)
        return keep_bits(index, spare, self.hashed_key, self.p)

    def dropped(self, weights: Array, bits: Array, block: _Block) -> Array:
        out = self.workspace("dropped", block, weights.dtype)
        apply_bits(weights, bits, out)
        return out


@dataclass(frozen=True, slots=True)
class _Residuals:
    out: Array  # (B, H, T, e)
    sums: Array  # (B, H, T, 1), row sums of the exponentials, times (1 - p)
    safe: list[bool]  # per block, see `_Call.exponentials`
    weights: list[Array]  # the exponentials of each block; empty if they are recomputed


def _attend(call: _Call, dtype: Any) -> tuple[Array, _Residuals]:
    batch, heads, length, _ = call.q.shape
    out = numpy.empty((batch, length, heads * call.v.shape[-1]), dtype)
    residuals = _Residuals(_heads(out, heads), numpy.empty((batch, heads, length, 1), dtype), [], [])
    store = call.k.shape[2] <= _MAX_STORED_KEYS
    ones = numpy.ones(call.k.shape[2], dtype)
    for block in call.blocks:
        weights = numpy.empty(block.shape, dtype) if store else call.workspace("weights", block, dtype)
        residuals.safe.append(call.exponentials(call.scaled_queries(block), block, weights))
        if store:
            residuals.weights.append(weights)
        sums = residuals.sums[block.queries]
        numpy.vecdot(weights, ones[: block.shape[3]], out=sums[..., 0])
        if call.p:
            weights = call.dropped(weights, call.keep_bits(block), block)
            sums *= 1.0 - call.p
        result = numpy.matmul(weights, call.v[block.keys], out=residuals.out[block.queries])
        result /= sums
    return out, residuals


def _differentiate(call: _Call, g: Array, residuals: _Residuals, grads: Sequence[Array]) -> None:
    """Fill ``grads``, the gradients of queries (B, T, C), keys and values (B, S, C), given ``g (B, T, C)``."""
    g, g_q, g_k, g_v = (_heads(x, call.q.shape[1]) for x in (g, *grads))
    initialized: set[tuple[int, int]] = set()
    # in reverse: the last block of each group of heads attends to all keys, so it initializes the gradients that the others add to
    for n in range(len(call.blocks) - 1, -1, -1):
        block = call.blocks[n]
        queries = call.scaled_queries(block)
        if residuals.weights:
            weights = residuals.weights[n]
        else:
            weights = call.workspace("weights", block, g.dtype)
            call.exponentials(queries, block, weights, residuals.safe[n])
        g_out = g[block.queries] / residuals.sums[block.queries]
        weighted_sum = numpy.vecdot(g_out, residuals.out[block.queries])[..., None]
        g_scores = numpy.matmul(g_out, call.v[block.keys].swapaxes(-1, -2), out=call.workspace("g_scores", block, g.dtype))
        dropped = weights
        if call.p:
            bits = call.keep_bits(block)
            apply_bits(g_scores, bits, g_scores)
            dropped = call.dropped(weights, bits, block)
            weighted_sum *= 1.0 - call.p
        g_scores -= weighted_sum
        g_scores *= weights
        if call.masked is not None:
            numpy.copyto(g_scores, 0.0, where=call.masked[block.queries])
        result = numpy.matmul(g_scores, call.k[block.keys], out=g_q[block.queries])
        result *= call.scale
        group = (block.queries[0].start, block.queries[1].start)
        for target, left, right in ((g_k, g_scores, queries), (g_v, dropped, g_out)):
            if group in initialized:
                target[block.keys] += numpy.matmul(left.swapaxes(-1, -2), right)
            else:
                numpy.matmul(left.swapaxes(-1, -2), right, out=target[block.keys])
        initialized.add(group)


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
    """Multi-head attention of ``q (B, T, C)`` to ``k, v (B, S, C)``: (B, T, C).

    ``mask``, boolean and broadcast to (B, H, T, S), is true where attention is allowed. ``causal`` masks later keys. Dropout sets
    each weight to 0 with probability ``p``; its mask is a hash of ``key``, ``site`` and ``first``.
    """
    if not supports(q, k, v) or not (q.size and k.size and v.size) or (mask is not None and mask.dtype != bool):
        return NotImplemented
    if q.shape[1] == 1 and mask is None and not p:
        return _attend_single_query(q, k, v, num_heads), None
    return _attend(_Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first)), q.dtype)


def _attend_single_query(q: Array, k: Array, v: Array, num_heads: int) -> Array:
    """Attention of a single query to all keys, as in decoding: ``q (B, 1, C)`` -> (B, 1, C)."""
    queries, keys, values = (_heads(x, num_heads) for x in (q, k, v))
    weights = numpy.matmul(queries * (1.0 / math.sqrt(queries.shape[-1])), keys.swapaxes(-1, -2))  # (B, H, 1, S)
    weights -= numpy.maximum.reduce(weights, axis=-1, keepdims=True)
    numpy.exp(weights, out=weights)
    out = numpy.empty((len(q), 1, v.shape[-1]), q.dtype)
    result = numpy.matmul(weights, values, out=_heads(out, num_heads))
    result /= numpy.add.reduce(weights, axis=-1, keepdims=True)
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


def _split_qkv(qkv: Array) -> list[Array]:
    """(B, T, 3 C) -> three views of (B, T, C)."""
    width = qkv.shape[-1] // 3
    return [qkv[:, :, i * width : (i + 1) * width] for i in range(3)]


def _packed_forward(
    qkv: Array, mask: Array | None, key: Array | None, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> Any:
    """Self-attention of ``qkv (B, T, 3 C)``, which holds queries, keys and values: (B, T, C). See `_forward`."""
    q, k, v = _split_qkv(qkv)
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
    q, k, v = _split_qkv(qkv)
    grad = numpy.empty(qkv.shape, qkv.dtype)
    call = _Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first))
    _differentiate(call, g, residuals or _attend(call, q.dtype)[1], _split_qkv(grad))
    return [grad, None, None]


attention = Kernel(_forward, _backward)
packed_attention = Kernel(_packed_forward, _packed_backward)
