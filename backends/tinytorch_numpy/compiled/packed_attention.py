"""Self-attention over few positions, a head of an example of the batch at a time, so that all that belongs to it stays in the cache.

BLAS takes small matmuls one by one, each with a start of its own. Over many positions it is faster, and they are left to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.exponential import exponential
from tinytorch_numpy.compiled.support import loop

#: The most positions, and numbers in a head's vectors.
_MOST: Final = 64

#: How far apart rows lie in the arrays that are worked in: not by a power of 2, whose multiples share few places in the cache.
_PITCH: Final = 80

#: Queries that are worked on together. A causal block skips the keys after its last query.
_ROWS: Final = 16

#: Scores within these bounds need no maximum subtracted.
_SAFE: Final = numpy.float32(50)

_U: Final = numpy.uint64
_1, _2, _3, _4, _ROW = (numpy.uint64(n) for n in (1, 2, 3, 4, _PITCH))


def _forward(
    qkv: Array, mask: Array | None, key: Array | None, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> Any:
    """Queries, keys and values side by side in ``qkv (B, T, 3 C)``: (B, T, C). Residuals: all weights, (B, H, T, T)."""
    batch, length, width = qkv.shape
    head = width // 3 // num_heads
    if qkv.dtype != numpy.float32 or mask is not None or p or not 1 < length <= _MOST or not 1 <= head <= _MOST:
        return NotImplemented
    out = numpy.empty((batch, length, num_heads * head), qkv.dtype)
    weights = numpy.empty((batch, num_heads, length, length), qkv.dtype)
    _attend(numpy.ascontiguousarray(qkv), causal, numpy.float32(1 / math.sqrt(head)), weights, out)
    return out, weights


@loop()
def _zeros() -> Array:
    return numpy.zeros((_PITCH, _PITCH), numpy.float32)


@loop("contract", "reassoc", "nsz")
def _attend(qkv: Array, causal: bool, scale: Any, weights: Array, out: Array) -> None:
    batch, heads, length, _ = weights.shape
    head = out.shape[2] // heads
    rows, columns = length + -length % 4, head + -head % 4
    q, k_turned, v, scores, result = _zeros(), _zeros(), _zeros(), _zeros(), _zeros()
    zero = numpy.float32(0)
    for b in range(batch):
        for h in range(heads):
            at = h * head
            longest_q, longest_k = zero, zero
            for t in range(length):
                square_q, square_k = zero, zero
                for d in range(head):
                    q[t, d] = qkv[b, t, at + d] * scale
                    square_q += q[t, d] * q[t, d]
                    v[t, d] = qkv[b, t, (2 * heads + h) * head + d]
                for d in range(head):
                    part = qkv[b, t, (heads + h) * head + d]
                    k_turned[d, t] = part
                    square_k += part * part
                longest_q = max(longest_q, square_q)
                longest_k = max(longest_k, square_k)
            safe = longest_q * longest_k < _SAFE * _SAFE  # no score is larger than the product of the norms; false for NaN
            scores[:rows] = 0
            result[:rows] = 0
            for first in range(0, rows, _ROWS):
                last = min(first + _ROWS, rows)
                seen = last if causal else rows
                _add_matmul(q, False, k_turned, scores, first, last, 0, columns, seen)
                for i in range(first, min(last, length)):
                    most = i if causal else length - 1
                    top = zero if safe else scores[i, 0]
                    if not safe:
                        for j in range(1, most + 1):
                            top = max(top, scores[i, j])
                    total = zero
                    for j in range(seen):
                        power = exponential(scores[i, j] - top)
                        power = power if j <= most else zero
                        scores[i, j] = power
                        total += power
                    total = numpy.float32(1) / total
                    for j in range(seen):
                        scores[i, j] *= total
                _add_matmul(scores, False, v, result, first, last, 0, seen, columns)
            for t in range(length):
                for j in range(length):
                    weights[b, h, t, j] = scores[t, j]
                for d in range(head):
                    out[b, t, at + d] = result[t, d]


@loop("contract", "reassoc", "nsz")
def _add_matmul(a: Array, turned: bool, b: Array, c: Array, top: int, bottom: int, left: int, right: int, columns: int) -> None:
    """Add ``a[top:bottom, left:right] @ b[left:right, :columns]`` to the rows ``c[top:bottom]``, with ``a`` turned or not.

    Four rows and four terms at once. Rows lie a constant apart and places are counted without a sign, so LLVM sees what may overlap.
    """
    a, b, c = a.reshape(a.size), b.reshape(b.size), c.reshape(c.size)
    down, along = (_1, _ROW) if turned else (_ROW, _1)
    for i in range(_U(top), _U(bottom), _4):
        for k in range(_U(left), _U(right), _4):
            at = i * down + k * along
            a00, a01, a02, a03 = a[at], a[at + along], a[at + _2 * along], a[at + _3 * along]
            at += down
            a10, a11, a12, a13 = a[at], a[at + along], a[at + _2 * along], a[at + _3 * along]
            at += down
            a20, a21, a22, a23 = a[at], a[at + along], a[at + _2 * along], a[at + _3 * along]
            at += down
            a30, a31, a32, a33 = a[at], a[at + along], a[at + _2 * along], a[at + _3 * along]
            for j in range(_U(columns)):
                term, place = k * _ROW + j, i * _ROW + j
                b0, b1, b2, b3 = b[term], b[term + _ROW], b[term + _2 * _ROW], b[term + _3 * _ROW]
                c[place] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                c[place + _ROW] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                c[place + _2 * _ROW] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                c[place + _3 * _ROW] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


def _backward(
    g: Array,
    weights: Array,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> list[Array | None]:
    qkv = numpy.ascontiguousarray(inputs[0])
    grad = numpy.empty_like(qkv)
    scale = numpy.float32(1 / math.sqrt(g.shape[2] // num_heads))
    _differentiate(numpy.ascontiguousarray(g), weights, qkv, causal, scale, grad)
    return [grad, None, None]


@loop("contract", "reassoc", "nsz")
def _differentiate(g: Array, weights: Array, qkv: Array, causal: bool, scale: Any, grad: Array) -> None:
    batch, heads, length, _ = weights.shape
    head = g.shape[2] // heads
    rows, columns = length + -length % 4, head + -head % 4
    q, k, v_turned, g_out, share = _zeros(), _zeros(), _zeros(), _zeros(), _zeros()
    g_scores, g_q, g_k, g_v = _zeros(), _zeros(), _zeros(), _zeros()
    for b in range(batch):
        for h in range(heads):
            at_k, at_v = (heads + h) * head, (2 * heads + h) * head
            for t in range(length):
                for d in range(head):
                    q[t, d] = qkv[b, t, h * head + d] * scale
                    k[t, d] = qkv[b, t, at_k + d]
                    g_out[t, d] = g[b, t, h * head + d]
                for d in range(head):
                    v_turned[d, t] = qkv[b, t, at_v + d]
                for j in range(length):
                    share[t, j] = weights[b, h, t, j]
            g_scores[:rows] = 0
            g_q[:rows] = 0
            g_k[:rows] = 0
            g_v[:rows] = 0
            for first in range(0, rows, _ROWS):
                last = min(first + _ROWS, rows)
                seen = last if causal else rows
                _add_matmul(g_out, False, v_turned, g_scores, first, last, 0, columns, seen)
                for i in range(first, last):
                    along = numpy.float32(0)
                    for j in range(seen):
                        along += g_scores[i, j] * share[i, j]
                    for j in range(seen):
                        g_scores[i, j] = (g_scores[i, j] - along) * share[i, j]
                _add_matmul(g_scores, False, k, g_q, first, last, 0, seen, columns)
                _add_matmul(g_scores, True, q, g_k, 0, seen, first, last, columns)
                _add_matmul(share, True, g_out, g_v, 0, seen, first, last, columns)
            for t in range(length):
                for d in range(head):
                    grad[b, t, h * head + d] = g_q[t, d] * scale
                    grad[b, t, at_k + d] = g_k[t, d]
                    grad[b, t, at_v + d] = g_v[t, d]


packed_attention = Kernel(_forward, _backward)
