"""Self-attention over short sequences, one head of one example at a time, so that all of its data stays in the cache.

BLAS has a fixed overhead per matmul, which dominates small ones. For long sequences BLAS is faster, and numpy's kernel is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.exponential import exponential
from tinytorch_numpy.compiled.support import loop

#: Largest sequence length and head size.
_MAX_SIZE: Final = 64

#: Row stride of the work arrays. Not a power of 2, which would cause cache set conflicts.
_ROW_STRIDE: Final = 80

#: Queries in a block. A causal block skips the keys after its last query.
_BLOCK: Final = 16

#: If all scores are within these bounds, the maximum need not be subtracted.
_SAFE: Final = numpy.float32(50)

_U: Final = numpy.uint64
_1, _2, _3, _4, _ROW = (numpy.uint64(n) for n in (1, 2, 3, 4, _ROW_STRIDE))


def _forward(
    qkv: Array, mask: Array | None, key: Array | None, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> Any:
    """Self-attention of ``qkv (B, T, 3 C)``, which holds queries, keys and values: (B, T, C). Residuals: weights (B, H, T, T)."""
    batch, length, width = qkv.shape
    head = width // 3 // num_heads
    if qkv.dtype != numpy.float32 or mask is not None or p or not 1 < length <= _MAX_SIZE or not 1 <= head <= _MAX_SIZE:
        return NotImplemented
    out = numpy.empty((batch, length, num_heads * head), qkv.dtype)
    weights = numpy.empty((batch, num_heads, length, length), qkv.dtype)
    _attend(numpy.ascontiguousarray(qkv), causal, numpy.float32(1 / math.sqrt(head)), weights, out)
    return out, weights


@loop()
def _zeros() -> Array:
    return numpy.zeros((_ROW_STRIDE, _ROW_STRIDE), numpy.float32)


@loop("contract", "reassoc", "nsz")
def _attend(qkv: Array, causal: bool, scale: Any, weights: Array, out: Array) -> None:
    batch, heads, length, _ = weights.shape
    head = out.shape[2] // heads
    rows, columns = length + -length % 4, head + -head % 4
    q, k_transposed, v, scores, result = _zeros(), _zeros(), _zeros(), _zeros(), _zeros()
    zero = numpy.float32(0)
    for b in range(batch):
        for h in range(heads):
            at = h * head
            max_norm2_q, max_norm2_k = zero, zero
            for t in range(length):
                norm2_q, norm2_k = zero, zero
                for d in range(head):
                    q[t, d] = qkv[b, t, at + d] * scale
                    norm2_q += q[t, d] * q[t, d]
                    v[t, d] = qkv[b, t, (2 * heads + h) * head + d]
                for d in range(head):
                    part = qkv[b, t, (heads + h) * head + d]
                    k_transposed[d, t] = part
                    norm2_k += part * part
                max_norm2_q = max(max_norm2_q, norm2_q)
                max_norm2_k = max(max_norm2_k, norm2_k)
            safe = max_norm2_q * max_norm2_k < _SAFE * _SAFE  # |q.k| <= |q| |k|; false for NaN
            scores[:rows] = 0
            result[:rows] = 0
            for first in range(0, rows, _BLOCK):
                last = min(first + _BLOCK, rows)
                num_keys = last if causal else rows
                _add_matmul(q, False, k_transposed, scores, first, last, 0, columns, num_keys)
                for i in range(first, min(last, length)):
                    last_key = i if causal else length - 1
                    row_max = zero if safe else scores[i, 0]
                    if not safe:
                        for j in range(1, last_key + 1):
                            row_max = max(row_max, scores[i, j])
                    row_sum = zero
                    for j in range(num_keys):
                        numerator = exponential(scores[i, j] - row_max)
                        numerator = numerator if j <= last_key else zero
                        scores[i, j] = numerator
                        row_sum += numerator
                    row_sum = numpy.float32(1) / row_sum
                    for j in range(num_keys):
                        scores[i, j] *= row_sum
                _add_matmul(scores, False, v, result, first, last, 0, num_keys, columns)
            for t in range(length):
                for j in range(length):
                    weights[b, h, t, j] = scores[t, j]
                for d in range(head):
                    out[b, t, at + d] = result[t, d]


@loop("contract", "reassoc", "nsz")
def _add_matmul(a: Array, transposed: bool, b: Array, c: Array, top: int, bottom: int, left: int, right: int, columns: int) -> None:
    """Add ``a[top:bottom, left:right] @ b[left:right, :columns]`` to the rows ``c[top:bottom]``; ``transposed`` uses ``a.T``.

    Computes four rows and four terms at a time. The row stride is constant and indices are unsigned, so that LLVM can rule out overlaps.
    """
    a, b, c = a.reshape(a.size), b.reshape(b.size), c.reshape(c.size)
    row_step, column_step = (_1, _ROW) if transposed else (_ROW, _1)
    for i in range(_U(top), _U(bottom), _4):
        for k in range(_U(left), _U(right), _4):
            at = i * row_step + k * column_step
            a00, a01, a02, a03 = a[at], a[at + column_step], a[at + _2 * column_step], a[at + _3 * column_step]
            at += row_step
            a10, a11, a12, a13 = a[at], a[at + column_step], a[at + _2 * column_step], a[at + _3 * column_step]
            at += row_step
            a20, a21, a22, a23 = a[at], a[at + column_step], a[at + _2 * column_step], a[at + _3 * column_step]
            at += row_step
            a30, a31, a32, a33 = a[at], a[at + column_step], a[at + _2 * column_step], a[at + _3 * column_step]
            for j in range(_U(columns)):
                b_at, c_at = k * _ROW + j, i * _ROW + j
                b0, b1, b2, b3 = b[b_at], b[b_at + _ROW], b[b_at + _2 * _ROW], b[b_at + _3 * _ROW]
                c[c_at] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                c[c_at + _ROW] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                c[c_at + _2 * _ROW] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                c[c_at + _3 * _ROW] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


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
    q, k, v_transposed, g_out, attention = _zeros(), _zeros(), _zeros(), _zeros(), _zeros()
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
                    v_transposed[d, t] = qkv[b, t, at_v + d]
                for j in range(length):
                    attention[t, j] = weights[b, h, t, j]
            g_scores[:rows] = 0
            g_q[:rows] = 0
            g_k[:rows] = 0
            g_v[:rows] = 0
            for first in range(0, rows, _BLOCK):
                last = min(first + _BLOCK, rows)
                num_keys = last if causal else rows
                _add_matmul(g_out, False, v_transposed, g_scores, first, last, 0, columns, num_keys)
                for i in range(first, last):
                    weighted_sum = numpy.float32(0)
                    for j in range(num_keys):
                        weighted_sum += g_scores[i, j] * attention[i, j]
                    for j in range(num_keys):
                        g_scores[i, j] = (g_scores[i, j] - weighted_sum) * attention[i, j]
                _add_matmul(g_scores, False, k, g_q, first, last, 0, num_keys, columns)
                _add_matmul(g_scores, True, q, g_k, 0, num_keys, first, last, columns)
                _add_matmul(attention, True, g_out, g_v, 0, num_keys, first, last, columns)
            for t in range(length):
                for d in range(head):
                    grad[b, t, h * head + d] = g_q[t, d] * scale
                    grad[b, t, at_k + d] = g_k[t, d]
                    grad[b, t, at_v + d] = g_v[t, d]


packed_attention = Kernel(_forward, _backward)
