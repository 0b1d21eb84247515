"""Calls of every fused operation with a derivative, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from tinytorch.ops import (
    attention,
    avg_pool2d,
    conv2d,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layer_norm,
    linear,
    max_pool2d,
    packed_attention,
    relu,
    softmax,
)


@dataclass(frozen=True)
class Case:
    """``call(*inputs)`` calls the fused operation ``kernel``; it is differentiated with respect to the float64 inputs."""

    kernel: str
    call: Callable[..., Any]
    inputs: tuple[Any, ...]


CASES: list[Case] = []


def case(call: Callable[..., Any], *inputs: Any, kernel: str) -> None:
    CASES.append(Case(kernel, call, inputs))


_random = numpy.random.default_rng(11)
KEY = numpy.int32([1234, 5])


def normal(*shape: int) -> Any:
    return numpy.asarray(_random.normal(size=shape))


for _shape in [(2, 3, 4), (3, 4), (4,)]:
    case(linear, normal(*_shape), normal(5, 4), normal(5), kernel="linear")
    case(lambda x, weight: linear(x, weight, None), normal(*_shape), normal(5, 4), kernel="linear")
    case(partial(layer_norm, eps=1e-5), normal(*_shape), normal(4), normal(4), kernel="layer_norm")
case(partial(layer_norm, eps=0.1), normal(2, 4) * 100 + 300, normal(4), normal(4), kernel="layer_norm")

for _axis in (-1, 0, 1):
    case(partial(softmax, axis=_axis), normal(2, 3, 4), kernel="softmax")
case(partial(softmax, axis=-1), normal(2, 3) + 1000, kernel="softmax")

for _form in ("tanh", "none"):
    case(partial(gelu, approximate=_form), normal(3, 4), kernel="gelu")
    case(partial(gelu, approximate=_form), numpy.float64([0, -0.0, 1e-3, -6, 6, 30, -30]), kernel="gelu")

_TARGETS = numpy.array([0, 4, -100, 2, 2])
for _smoothing in (0.0, 0.1):
    _entropy = partial(cross_entropy, ignore_index=-100, label_smoothing=_smoothing)
    case(_entropy, normal(5, 5), _TARGETS, kernel="cross_entropy")
    case(_entropy, normal(5, 5) * 50 + 1000, _TARGETS, kernel="cross_entropy")
    case(_entropy, normal(2, 5), numpy.array([-100, -100]), kernel="cross_entropy")
case(partial(cross_entropy, ignore_index=2, label_smoothing=0.0), normal(5, 5), abs(_TARGETS) % 5, kernel="cross_entropy")

case(embedding, normal(5, 3), numpy.array([0, 4, 4, 2]), kernel="embedding")
case(embedding, normal(5, 3), numpy.array([[0, 1], [1, 1]]), kernel="embedding")
case(embedding, normal(5, 3), numpy.array(3), kernel="embedding")
case(embedding, normal(300, 2), numpy.array([[299, 17], [17, 0]]), kernel="embedding")  # a long table

for _p in (0.0, 0.1, 0.5):
    case(partial(dropout, p=_p, site=3), normal(4, 5), KEY, kernel="dropout")

_LOWER = numpy.tril(numpy.ones((3, 3), bool))
_PADDED = numpy.array([[True, True, False], [True, False, False]])[:, None, None, :]  # (B, 1, 1, S)
_FULLY_MASKED = numpy.array([[True, True, False], [False, False, False], [True, True, True]])  # the second row is fully masked
for _heads in (1, 2):
    for _causal in (False, True):
        for _p in (0.0, 0.4):
            _settings = {"num_heads": _heads, "causal": _causal, "p": _p, "site": 7}
            _plain = partial(lambda q, k, v, key, settings: attention(q, k, v, None, key, **settings), settings=_settings)
            case(_plain, normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 4), KEY, kernel="attention")
            case(_plain, normal(2, 2, 4), normal(2, 5, 4), normal(2, 5, 4), KEY, kernel="attention")  # more keys than queries
            for _mask in (_LOWER, _PADDED, _FULLY_MASKED):
                _masked = partial(attention, **_settings)
                case(_masked, normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 4), _mask, KEY, kernel="attention")
            _packed = partial(lambda qkv, key, settings: packed_attention(qkv, None, key, **settings), settings=_settings)
            case(_packed, normal(2, 3, 12), KEY, kernel="packed_attention")
            case(partial(packed_attention, **_settings), normal(2, 3, 12), _FULLY_MASKED, KEY, kernel="packed_attention")

# overlapping, adjacent and separated windows; incomplete windows at the border; non-square images and windows
for _size, _kernel, _stride, _padding in [
    ((5, 5), (3, 3), (1, 1), (0, 0)),
    ((6, 5), (2, 3), (2, 1), (1, 1)),
    ((4, 7), (2, 2), (2, 2), (0, 0)),
    ((7, 4), (1, 2), (3, 2), (0, 1)),
    ((3, 3), (3, 3), (1, 1), (0, 0)),
]:
    _moves: dict[str, Any] = {"stride": _stride, "padding": _padding}
    case(partial(conv2d, **_moves), normal(2, 3, *_size), normal(4, 3, *_kernel) / 3, normal(4), kernel="conv2d")
    _pools: dict[str, Any] = {"kernel_size": _kernel, "stride": _stride, "padding": _padding}
    case(partial(max_pool2d, **_pools), normal(2, 3, *_size), kernel="max_pool2d")
    case(partial(avg_pool2d, **_pools), normal(2, 3, *_size), kernel="avg_pool2d")
_unbiased = partial(lambda x, weight, moves: conv2d(x, weight, None, **moves), moves={"stride": (2, 2), "padding": (0, 1)})
case(_unbiased, normal(1, 2, 5, 4), normal(1, 2, 2, 2), kernel="conv2d")

case(relu, normal(3, 4), kernel="relu")

# Append new cases here, so that the numbers that the others draw do not change.
case(lambda x, weight: layer_norm(x, weight, None, eps=0.1), normal(2, 4), normal(4), kernel="layer_norm")
case(lambda x: layer_norm(x, None, None, eps=0.1), normal(2, 4), kernel="layer_norm")
_dilated: dict[str, Any] = {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)}
case(partial(conv2d, **_dilated), normal(1, 4, 5, 4), normal(2, 2, 2, 2), normal(2), kernel="conv2d")  # in two groups
