"""Attention that never stores the full matrix of weights; see ``attention.cu`` and, for few queries, ``attention_decode.cu``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.dropout import drop_parameters
from tinytorch_cupy.kernels.launch import FLOATS, Macros, Source, blocks, capability, contiguous, empty, int32s, supports, variants

_WIDTHS = (32, 64, 128)  # head dimensions that kernels are compiled for; others are rounded up
_MAX_DECODE_QUERIES = 4  # up to this many queries, attention_decode splits the keys
_KEYS_PER_SPLIT = 128  # keys per block of attention_decode

_16_BIT_FLOATS = FLOATS[1:]
_flash = Source(
    "attention",
    [*variants(ELEMENT=FLOATS, WIDTH=_WIDTHS, TENSOR=[0]), *variants(ELEMENT=_16_BIT_FLOATS, WIDTH=_WIDTHS, TENSOR=[1])],
    runs_on=lambda macros, capability: macros["TENSOR"] == _by_tensor_cores(str(macros["ELEMENT"]), capability),
)
_decode = Source("attention_decode", variants(ELEMENT=FLOATS))

_STRIDES = numpy.dtype([("example", "i8"), ("row", "i8")])
_OPERANDS = ("q", "k", "v", "out", "g", "g_q", "g_k", "g_v")
_CALL = numpy.dtype(
    [
        *[(name, "i4") for name in ("heads", "queries", "keys", "width")],
        *[(name, _STRIDES) for name in _OPERANDS],
        ("mask", "i8", 4),
        *[(name, "f4") for name in ("scale", "rsqrt_width")],
        *[(name, "i4") for name in ("causal", "all_keys", "site", "threshold")],
        ("keep_scale", "f4"),
        ("first", "u4"),
    ]
)


def _by_tensor_cores(element: str, capability: int) -> bool:
    """Whether the kernels use tensor cores for a dtype on this GPU. Never for float32, which tensor cores would round."""
    return capability >= {"float16": 75, "bfloat16": 80}.get(element, 1000)


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of one call; see `_forward`."""

    num_heads: int
    causal: bool
    p: float
    site: int
    first: int


class _Call:
    """The operands of one call, and the struct that describes their layout to the kernels."""

    def __init__(self, q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, settings: _Settings) -> None:
        self.q, self.k, self.v = (_with_contiguous_rows(x) for x in (q, k, v))
        self.key = key if key is None else contiguous(key)
        self.mask = mask
        self.p = settings.p
        self.batch, self.queries, width = q.shape
        self.keys, self.heads, self.width = k.shape[1], settings.num_heads, width // settings.num_heads
        struct = self._struct = numpy.zeros(1, _CALL)
        struct["heads"], struct["queries"], struct["keys"], struct["width"] = self.heads, self.queries, self.keys, self.width
        struct["rsqrt_width"] = 1.0 / math.sqrt(self.width)
        struct["scale"] = math.log2(math.e) / math.sqrt(self.width)
        struct["causal"] = settings.causal
        struct["all_keys"] = not settings.causal or mask is not None or self.queries > self.keys
        struct["site"], struct["first"] = settings.site, settings.first & 0xFFFFFFFF  # indices are modulo 2^32
        struct["threshold"], struct["keep_scale"] = drop_parameters(settings.p)
        if mask is not None:
            shape = (self.batch, self.heads, self.queries, self.keys)
            strides = (0,) * (4 - mask.ndim) + mask.strides
            sizes = (1,) * (4 - mask.ndim) + mask.shape
            struct["mask"] = [0 if size == 1 < full_size else stride for stride, size, full_size in zip(strides, sizes, shape, strict=True)]
        for name, array in (("q", self.q), ("k", self.k), ("v", self.v)):
            self._set_strides(name, array)

    def _set_strides(self, name: str, array: Array) -> Array:
        size = array.dtype.itemsize
        self._struct[name] = (array.strides[0] // size, array.strides[1] // size)
        return array

    def _macros(self) -> Macros:
        element = self.q.dtype.name
        width = next(width for width in _WIDTHS if width >= self.width)
        return {"ELEMENT": element, "WIDTH": width, "TENSOR": int(_by_tensor_cores(element, capability(self.q)))}

    def _run(self, function: str, rows: int, *arrays: Array | None) -> None:
        """Launch a kernel with thread blocks of 16 rows per warp, as in ``attention.cu``."""
        macros = self._macros()
        warps = 4 if macros["TENSOR"] or self.width <= 32 else 2 if self.width <= 64 else 1
        grid = (blocks(rows, 16 * warps), self.heads, self.batch)
        _flash.launch(function, grid, (32 * warps,), *arrays, self._struct, **macros)

    def forward(self) -> tuple[Array, Any]:
        shape = (self.batch, self.heads, self.queries)
        out = self._set_strides("out", empty((self.batch, self.queries, self.heads * self.width), self.q.dtype))
        row_max, row_sum = empty(shape, "float32"), empty(shape, "float32")
        operands = (self.q, self.k, self.v, self.mask)
        if self.queries > _MAX_DECODE_QUERIES or self.p:
            self._run("attention_forward", self.queries, *operands, self.key, out, row_max, row_sum)
            return out, (out, row_max, row_sum)
        splits = blocks(self.keys, _KEYS_PER_SPLIT)
        partial_out = empty((*shape, splits, self.width), "float32")
        partial_max, partial_sum = empty((*shape, splits), "float32"), empty((*shape, splits), "float32")
        macros: Macros = {"ELEMENT": out.dtype.name}
        grid = (splits, self.heads, self.batch)
        partials = (partial_out, partial_max, partial_sum)
        _decode.launch("attention_decode", grid, (_KEYS_PER_SPLIT,), *operands, *partials, self._struct, **macros)
        grid, arrays = (self.queries, self.heads, self.batch), (*partials, out, row_max, row_sum)
        _decode.launch("attention_join", grid, (_KEYS_PER_SPLIT,), *arrays, *int32s(splits), self._struct, **macros)
        return out, (out, row_max, row_sum)

    def backward(self, g: Array, residuals: Any, grads: Sequence[Array], with_keys: bool) -> None:
        """Fill the gradient of queries and, with ``with_keys``, those of keys and values."""
        out, row_max, row_sum = residuals
        g_q, g_k, g_v = grads
        g = _with_contiguous_rows(contiguous(g, self.q.dtype) if g.dtype != self.q.dtype else g)
        for name, array in (("g", g), ("out", out), ("g_q", g_q), ("g_k", g_k), ("g_v", g_v)):
            self._set_strides(name, array)
        g_dot_out = empty(row_max.shape, "float32")
        operands = (g, self.q, self.k, self.v, self.mask, self.key)
        self._run("attention_backward_queries", self.queries, *operands, out, row_max, row_sum, g_dot_out, g_q)
        if with_keys:
            self._run("attention_backward_keys", self.keys, *operands, row_max, row_sum, g_dot_out, g_k, g_v)


def _with_contiguous_rows(x: Array) -> Array:
    """``x (B, T, C)``, copied if its last axis is not contiguous."""
    return x if x.strides[-1] == x.dtype.itemsize and min(x.strides) >= 0 else contiguous(x)


def _is_supported(q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, num_heads: int, p: float) -> bool:
    if not supports(q, k, v) or k.shape != v.shape or q.shape[2] != k.shape[2] or q.size == 0 or k.size == 0:
        return False
    if mask is not None and (mask.dtype != numpy.dtype(bool) or mask.ndim > 4):
        return False
    if p and (key is None or key.dtype.name != "int32" or p >= 1.0):
        return False
    return bool(q.shape[2] // num_heads <= _WIDTHS[-1] and max(q.shape[0], num_heads) < 2**16)


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

    Residuals: the output; the maximum score of each query and its sum of exponentials, (B, H, T) each.
    """
    if not _is_supported(q, k, v, mask, key, num_heads, p):
        return NotImplemented
    return _Call(q, k, v, mask, key, _Settings(num_heads, causal, p, site, first)).forward()


def _backward(
    g: Array,
    residuals: Any,
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
    grads = [empty(x.shape, x.dtype) for x in (q, k, v)]
    settings = _Settings(num_heads, causal, p, site, first)
    _Call(q, k, v, mask, key, settings).backward(g, residuals, grads, with_keys=needs[1] or needs[2])
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
    residuals: Any,
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
    grad = empty(qkv.shape, qkv.dtype)
    q, k, v = _split_qkv(qkv)
    settings = _Settings(num_heads, causal, p, site, first)
    _Call(q, k, v, mask, key, settings).backward(g, residuals, _split_qkv(grad), with_keys=True)
    return [grad, None, None]


attention = Kernel(_forward, _backward)
packed_attention = Kernel(_packed_forward, _packed_backward)
