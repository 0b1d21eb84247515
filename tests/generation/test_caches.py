"""Key-value caches: the dynamic cache grows, the static cache has fixed shapes, and both mask the same columns."""

from __future__ import annotations

import numpy
import pytest

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.generation import DynamicCache, StaticCache
from tinytorch.tensor import Tensor


def rows(count: int, first: int) -> Tensor:
    """Keys or values (2, count, 3), whose elements are their position, counted from ``first``."""
    return tt.zeros((2, count, 3)) + tt.reshape(tt.arange(first, first + count, dtype="float32"), (count, 1))


def test_a_dynamic_layer_returns_all_positions_so_far(backend: Backend) -> None:
    cache = DynamicCache(num_layers=1, capacity=4)
    cache.layers[0].append(rows(2, 0), rows(2, 10))
    keys, values = cache.layers[0].append(rows(1, 2), rows(1, 12))
    assert (cache.length, cache.offset(), cache.mask(1)) == (3, 3, None)
    assert keys[0, :, 0].tolist() == [0.0, 1.0, 2.0]
    assert values[1, :, 2].tolist() == [10.0, 11.0, 12.0]


def test_exceeding_the_capacity_or_losing_a_gradient_raises() -> None:
    layer = DynamicCache(num_layers=1, capacity=4).layers[0]
    layer.append(rows(3, 0), rows(3, 0))
    with pytest.raises(ValueError, match="holds 3 of 4 positions, and 2 more do not fit"):
        layer.append(rows(2, 3), rows(2, 3))
    with pytest.raises(RuntimeError, match="without gradients"):
        layer.append(rows(1, 3) * tt.nn.Parameter(1.0), rows(1, 3))


def test_a_static_cache_continues_a_dynamic_cache_with_the_same_offset_and_mask(backend: Backend) -> None:
    starts = tt.asarray([0, 2], dtype="int32")
    dynamic = DynamicCache(num_layers=1, capacity=4, starts=starts)
    dynamic.layers[0].append(rows(3, 0), rows(3, 0))
    buffers = [tt.asarray(buffer, copy=True) for buffer in dynamic.layers[0].buffers]
    static = StaticCache(buffers, tt.asarray(dynamic.length, dtype="int32"), starts)
    assert static.offset().tolist() == dynamic.offset().tolist() == [3, 1]  # type: ignore[union-attr]
    expected_mask = numpy.asarray([[True, True, True, True], [False, False, True, True]])[:, None, None, :]
    assert static.mask(1).tolist() == dynamic.mask(1).tolist() == expected_mask.tolist()  # type: ignore[union-attr]
    keys, _ = static.layers[0].append(rows(1, 3), rows(1, 3))
    expected, _ = dynamic.layers[0].append(rows(1, 3), rows(1, 3))
    assert keys.tolist() == expected.tolist()


def test_a_static_cache_masks_unused_columns(backend: Backend) -> None:
    buffers = [tt.zeros((1, 4, 3)), tt.zeros((1, 4, 3))]
    static = StaticCache(buffers, tt.asarray(1, dtype="int32"), tt.asarray([0], dtype="int32"))
    assert static.mask(1).tolist() == [[[[True, True, False, False]]]]
