"""Attention that never holds the weights of all pairs; see ``attention.cu`` and, for a few queries, ``attention_decode.cu``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.dropout import share
from tinytorch_cupy.kernels.launch import FLOATS, Macros, Source, blocks, capability, contiguous, empty, int32s, takes, variants

_WIDTHS = (32, 64, 128)  # of a head, rounded up
_DECODED = 4  # up to so many queries the keys are split
_SPLIT = 128  # keys

_HALVES = FLOATS[1:]
_flash = Source(
    "attention",
    [*variants(ELEMENT=FLOATS, WIDTH=_WIDTHS, TENSOR=[0]), *variants(ELEMENT=_HALVES, WIDTH=_WIDTHS, TENSOR=[1])],
    serves=lambda macros, capability: macros["TENSOR"] == _by_tensor_cores(str(macros["ELEMENT"]), capability),
)
_decode = Source("attention_decode", variants(ELEMENT=FLOATS))

_STRIDES = numpy.dtype([("example", "i8"), ("row", "i8")])
_OPERANDS = ("q", "k", "v", "out", "g", "g_q", "g_k", "g_v")
_CALL = numpy.dtype(
    [
        *[(name, "i4") for name in ("heads", "queries", "keys", "width")],
        *[(name, _STRIDES) for name in _OPERANDS],
        ("mask", "i8", 4),
        *[(name, "f4") for name in ("scale", "root")],
        *[(name, "i4") for name in ("causal", "whole", "site", "threshold")],
        ("kept_scale", "f4"),
        ("first", "u4"),
    ]
)


def _by_tensor_cores(element: str, capability: int) -> bool:
    """Whether a GPU multiplies numbers of a type by tensor cores, here: those that multiply float32 round it first."""
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
    """The operands of one call, and how the kernels are told where they lie."""

    def __init__(self, q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, settings: _Settings) -> None:
        self.q, self.k, self.v = (_with_rows(x) for x in (q, k, v))
        self.key = key if key is None else contiguous(key)
        self.mask = mask
        self.p = settings.p
        self.batch, self.queries, width = q.shape
        self.keys, self.heads, self.width = k.shape[1], settings.num_heads, width // settings.num_heads
        packed = self._packed = numpy.zeros(1, _CALL)
        packed["heads"], packed["queries"], packed["keys"], packed["width"] = self.heads, self.queries, self.keys, self.width
        packed["root"] = 1.0 / math.sqrt(self.width)
        packed["scale"] = math.log2(math.e) / math.sqrt(self.width)
        packed["causal"] = settings.causal
        packed["whole"] = not settings.causal or mask is not None or self.queries > self.keys
        packed["site"], packed["first"] = settings.site, settings.first & 0xFFFFFFFF  # positions count modulo 2^32
        packed["threshold"], packed["kept_scale"] = share(settings.p)
        if mask is not None:
            shape = (self.batch, self.heads, self.queries, self.keys)
            strides = (0,) * (4 - mask.ndim) + mask.strides
            sizes = (1,) * (4 - mask.ndim) + mask.shape
            packed["mask"] = [0 if size == 1 < whole else stride for stride, size, whole in zip(strides, sizes, shape, strict=True)]
        for name, array in (("q", self.q), ("k", self.k), ("v", self.v)):
            self._place(name, array)

    def _place(self, name: str, array: Array) -> Array:
        size = array.dtype.itemsize
        self._packed[name] = (array.strides[0] // size, array.strides[1] // size)
        return array

    def _macros(self) -> Macros:
        element = self.q.dtype.name
        width = next(width for width in _WIDTHS if width >= self.width)
        return {"ELEMENT": element, "WIDTH": width, "TENSOR": int(_by_tensor_cores(element, capability(self.q)))}

    def _run(self, function: str, rows: int, *arrays: Array | None) -> None:
        """Run a kernel whose blocks take so many of ``rows`` each as `attention.cu` says."""
        macros = self._macros()
        warps = 4 if macros["TENSOR"] or self.width <= 32 else 2 if self.width <= 64 else 1
        grid = (blocks(rows, 16 * warps), self.heads, self.batch)
        _flash.launch(function, grid, (32 * warps,), *arrays, self._packed, **macros)

    def forward(self) -> tuple[Array, Any]:
        shape = (self.batch, self.heads, self.queries)
        out = self._place("out", empty((self.batch, self.queries, self.heads * self.width), self.q.dtype))
        tops, sums = empty(shape, "float32"), empty(shape, "float32")
        operands = (self.q, self.k, self.v, self.mask)
        if self.queries > _DECODED or self.p:
            self._run("attention_forward", self.queries, *operands, self.key, out, tops, sums)
            return out, (out, tops, sums)
        splits = blocks(self.keys, _SPLIT)
        parts = empty((*shape, splits, self.width), "float32")
        part_tops, part_sums = empty((*shape, splits), "float32"), empty((*shape, splits), "float32")
        macros: Macros = {"ELEMENT": out.dtype.name}
        grid = (splits, self.heads, self.batch)
        _decode.launch("attention_decode", grid, (_SPLIT,), *operands, parts, part_tops, part_sums, self._packed, **macros)
        grid, arrays = (self.queries, self.heads, self.batch), (parts, part_tops, part_sums, out, tops, sums)
        _decode.launch("attention_join", grid, (_SPLIT,), *arrays, *int32s(splits), self._packed, **macros)
        return out, (out, tops, sums)

    def backward(self, g: Array, residuals: Any, grads: Sequence[Array], keys_too: bool) -> None:
        """Fill the gradients of queries and, with ``keys_too``, of keys and values."""
        out, tops, sums = residuals
        g_q, g_k, g_v = grads
        g = _with_rows(contiguous(g, self.q.dtype) if g.dtype != self.q.dtype else g)
        for name, array in (("g", g), ("out", out), ("g_q", g_q), ("g_k", g_k), ("g_v", g_v)):
            self._place(name, array)
        along = empty(tops.shape, "float32")
        operands = (g, self.q, self.k, self.v, self.mask, self.key)
        self._run("attention_backward_queries", self.queries, *operands, out, tops, sums, along, g_q)
        if keys_too:
            self._run("attention_backward_keys", self.keys, *operands, tops, sums, along, g_k, g_v)


def _with_rows(x: Array) -> Array:
    """``x (B, T, C)``, or a copy where its last dimension has gaps."""
    return x if x.strides[-1] == x.dtype.itemsize and min(x.strides) >= 0 else contiguous(x)


def _can(q: Array, k: Array, v: Array, mask: Array | None, key: Array | None, num_heads: int, p: float) -> bool:
    if not takes(q, k, v) or k.shape != v.shape or q.shape[2] != k.shape[2] or q.size == 0 or k.size == 0:
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
    """``q (B, T, C)`` attends to ``k, v (B, S, C)`` in ``num_heads`` groups of columns: (B, T, C).

    ``mask``, boolean and broadcast to (B, H, T, S), is true where attention is allowed; ``causal`` forbids what comes later. A share
    ``p`` of the weights is dropped, drawn with ``key``, ``site`` and ``first``.

    Residuals: the result; each query's largest score and its sum of exponentials (B, H, T).
    """
    if not _can(q, k, v, mask, key, num_heads, p):
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
    _Call(q, k, v, mask, key, settings).backward(g, residuals, grads, keys_too=needs[1] or needs[2])
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
    q, k, v = _parts(qkv)
    settings = _Settings(num_heads, causal, p, site, first)
    _Call(q, k, v, mask, key, settings).backward(g, residuals, _parts(grad), keys_too=True)
    return [grad, None, None]


attention = Kernel(_forward, _backward)
packed_attention = Kernel(_packed_forward, _packed_backward)
