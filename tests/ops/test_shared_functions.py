"""Functions that fused operations share: random bits, and conversion of 16-bit dtypes."""

from __future__ import annotations

import math

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch.array_api.precision import downcast, upcast
from tinytorch.backend import Backend
from tinytorch.ops.random_bits import keep_mask, random_bits
from tinytorch.tensor import wrap


def bits(backend: Backend, key: tuple[int, int], site: int, n: int) -> list[int]:
    array = random_bits(backend.xp, backend.from_host(numpy.int32(key)), site, (n,))
    return [int(v) for v in backend.to_host(array)]


def mixed(x: int) -> int:
    """The hash lowbias32 of C. Wellons, in Python integers."""
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


@pytest.mark.parametrize(("run", "step", "site"), [(1, 2, 3), (2**31 - 1, 10**6, 0), (0, 0, 0)])
def test_random_bits_are_the_documented_hash_on_every_backend(backend: Backend, run: int, step: int, site: int) -> None:
    stream = mixed(run ^ mixed(step ^ mixed(site)))
    assert bits(backend, (run, step), site, 5) == [mixed(i ^ stream) % 2**31 for i in range(5)]


def test_random_bits_depend_on_run_step_call_site_and_index(backend: Backend) -> None:
    drawn = [bits(backend, key, site, 50) for key, site in [((1, 2), 3), ((7, 2), 3), ((1, 7), 3), ((1, 2), 7), ((2, 1), 3)]]
    assert len({v for values in drawn for v in values}) == 250


def test_random_bits_do_not_depend_on_the_shape(backend: Backend) -> None:
    key = backend.from_host(numpy.int32([1, 2]))
    square = random_bits(backend.xp, key, 3, (2, 2))
    assert backend.to_host(square).ravel().tolist() == bits(backend, (1, 2), 3, 4)


def test_first_is_the_offset_of_a_shard(backend: Backend) -> None:
    key = backend.from_host(numpy.int32([1, 2]))
    shard = random_bits(backend.xp, key, 3, (4,), first=6)
    assert backend.to_host(shard).tolist() == bits(backend, (1, 2), 3, 10)[6:]


@pytest.mark.parametrize("first", [2**31 - 2, 2**31, 2**32 - 2, 2**32 + 6, 5 * 2**31 + 1])
def test_positions_of_random_bits_wrap_around_at_32_bits(backend: Backend, first: int) -> None:
    """As in the CUDA and numba kernels."""
    drawn = random_bits(backend.xp, backend.from_host(numpy.int32([1, 2])), 3, (2, 3), first)
    stream = mixed(1 ^ mixed(2 ^ mixed(3)))
    assert backend.to_host(drawn).ravel().tolist() == [mixed((first + i) % 2**32 ^ stream) % 2**31 for i in range(6)]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_dropout_rate_is_p(backend: Backend, p: float) -> None:
    key = backend.from_host(numpy.int32([1, 2]))
    kept = backend.to_host(keep_mask(backend.xp, key, 0, (100, 1000), p))
    assert abs(1 - kept.mean() - p) < 5 * math.sqrt(p * (1 - p) / kept.size)
    assert abs(1 - kept[:, ::2].mean() - p) < 5 * math.sqrt(2 * p * (1 - p) / kept.size)


def test_float16_is_upcast_and_downcast() -> None:
    backend = tt.get_backend("numpy")
    x = tt.ones(2, dtype="float16", device=backend)
    with tt.use_backend("strict"):  # has no float16: the current backend must not be used
        wide = upcast(x.__array_namespace__(), x)
        assert_close(wide, numpy.float32([1, 1]), backend=backend)
        assert_close(downcast(x.__array_namespace__(), wide, x), numpy.float16([1, 1]), backend=backend)
    y = wrap(x.raw.astype("float64"), backend)
    assert upcast(backend.namespace, y) is y
