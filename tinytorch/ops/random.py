"""Random numbers of the whole library, from one seed: weights, batches, samples and dropout. A host module.

Outside training steps, random numbers come from one host generator. A compiled step is replayed, so it cannot use a generator with state:
dropout in a step uses a hash of (key, step, call site, index), see `tinytorch.ops.random_bits`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy

from tinytorch.autograd.recompute import restore_on_recompute
from tinytorch.backend import Backend
from tinytorch.backend.shard import Shard
from tinytorch.tensor import Tensor, wrap


class RandomStream:
    """A key for random bits, and a counter of its uses, so that each call site gets other bits (as keys from ``jax.random.split`` do).

    Attributes:
        key: int32 of shape (2): the key of the run and the step number.
        shard: the shard of the batch that the random bits are for; ``None`` outside a training step.
    """

    def __init__(self, key: Tensor, used: int = 0, shard: Shard | None = None) -> None:
        self.key = key
        self.shard = shard
        self._used = used
        self._lock = threading.Lock()

    def next_site(self) -> int:
        """Return the index of the next call site that uses this key."""
        with self._lock:  # threads that share the stream must get different indices
            self._used += 1
            return self._used - 1

    def site_and_offset(self, size: int) -> dict[str, int]:
        """The settings ``site`` and ``first`` of an operation that uses ``size`` random numbers, equally many for each example.

        Returns:
            ``site``, the index of the call site, and ``first``, the offset of the shard among the numbers of the whole batch.
        """
        return {"site": self.next_site(), "first": self.shard.scale(size).offset if self.shard else 0}

    def copy(self) -> RandomStream:
        """A stream that continues with the same random bits."""
        return RandomStream(self.key, self._used, self.shard)


class _Streams(dict[Backend, RandomStream]):
    """Random streams by backend; a missing one is created with the key of the seed."""

    def __missing__(self, backend: Backend) -> RandomStream:
        key = wrap(backend.from_host(numpy.array([_key, 0]), "int32"), backend)
        return self.setdefault(backend, RandomStream(key))  # concurrent threads must get the same stream

    def copy(self) -> _Streams:
        """Streams that continue with the same random bits."""
        return _Streams({backend: stream.copy() for backend, stream in self.items()})


def run_key(n: int) -> int:
    """The 31-bit key for random bits in the steps of a run with seed ``n``."""
    return int(numpy.random.SeedSequence(n).generate_state(1)[0] >> 1)


_generator = numpy.random.default_rng(0)
_key = run_key(0)
_default_streams = _Streams()  # used outside steps
_step_streams: ContextVar[_Streams | None] = ContextVar("tinytorch_draws", default=None)


def seed(n: int) -> None:
    """Seed all random numbers with ``n``, a non-negative integer. Without a call the seed is 0."""
    global _generator, _key
    if n < 0:
        raise ValueError(f"the seed must be a non-negative integer, got {n}")
    _generator = numpy.random.default_rng(n)
    _key = run_key(n)
    _default_streams.clear()


def generator() -> numpy.random.Generator:
    """The host generator, seeded by `seed`."""
    return _generator


def key() -> int:
    """The key for random bits in steps, derived from the seed."""
    return _key


def get_state() -> dict[str, Any]:
    """The state of the host generator, serializable as JSON."""
    return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Restore a state returned by `get_state`."""
    _generator.bit_generator.state = state


@contextmanager
def step_draws(key: Tensor, shard: Shard | None = None) -> Iterator[None]:
    """Use ``key`` for random bits inside a ``with`` block, for a ``shard`` of the batch or the whole batch; call sites count from 0."""
    token = _step_streams.set(_Streams({key.backend: RandomStream(key, shard=shard)}))
    try:
        yield
    finally:
        _step_streams.reset(token)


def draws(backend: Backend) -> RandomStream:
    """The random stream for layers on ``backend``: that of the current step, or outside of steps the one that starts from the seed."""
    return _current_streams()[backend]


def _current_streams() -> _Streams:
    streams = _step_streams.get()
    return _default_streams if streams is None else streams


@restore_on_recompute
def _restore_streams() -> Iterator[Callable[[], object]]:
    """Use the same random bits when `checkpoint` runs a function again."""
    streams = _current_streams().copy()
    yield lambda: _step_streams.set(streams.copy())
