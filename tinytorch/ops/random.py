"""The one seed: where weights, batches, samples and dropout get their randomness. A host module.

Numbers drawn between steps come from one host generator. Within a step nothing may be drawn, since a compiled step is replayed; dropout
there takes its bits from a hash of (key, step, site, index), see `tinytorch.ops.random_bits`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy

from tinytorch.autograd.recompute import restored_on_replay
from tinytorch.backend import Backend
from tinytorch.backend.shard import Shard
from tinytorch.tensor import Tensor, wrap


class Draws:
    """Where uses of randomness take their key and their number from.

    Attributes:
        key: int32 of shape (2), the run's key and the step's number.
        shard: the examples of the batch that are drawn for; ``None`` outside a training step.
    """

    def __init__(self, key: Tensor, used: int = 0, shard: Shard | None = None) -> None:
        self.key = key
        self.shard = shard
        self._used = used
        self._lock = threading.Lock()

    def next_site(self) -> int:
        """The number of one more use of randomness under this key."""
        with self._lock:  # threads that share it must not share a number
            self._used += 1
            return self._used - 1

    def site_and_offset(self, size: int) -> dict[str, int]:
        """Settings of an operation that draws ``size`` numbers, the same number for each example of the batch.

        Returns:
            ``site``, and ``first``, the offset of these numbers among those that the whole batch draws at this site.
        """
        return {"site": self.next_site(), "first": self.shard.scale(size).offset if self.shard else 0}

    def copy(self) -> Draws:
        """The same uses from here on once more."""
        return Draws(self.key, self._used, self.shard)


class _Sources(dict[Backend, Draws]):
    """Draws by backend; one that is asked for first takes its key from the seed."""

    def __missing__(self, backend: Backend) -> Draws:
        key = wrap(backend.from_host(numpy.array([_key, 0]), "int32"), backend)
        return self.setdefault(backend, Draws(key))  # threads may meet here, and must end up with the same one

    def copy(self) -> _Sources:
        """The same uses from here on once more."""
        return _Sources({backend: draws.copy() for backend, draws in self.items()})


def run_key(n: int) -> int:
    """The key for random bits within steps that belongs to seed ``n``: 31 bits."""
    return int(numpy.random.SeedSequence(n).generate_state(1)[0] >> 1)


_generator = numpy.random.default_rng(0)
_key = run_key(0)
_outside = _Sources()  # for use outside any step
_scope: ContextVar[_Sources | None] = ContextVar("tinytorch_draws", default=None)


def seed(n: int) -> None:
    """Start all randomness afresh from ``n``, a whole number of 0 or more. Without a call the seed is 0."""
    global _generator, _key
    if n < 0:
        raise ValueError(f"the seed must be a whole number of 0 or more, got {n}")
    _generator = numpy.random.default_rng(n)
    _key = run_key(n)
    _outside.clear()


def generator() -> numpy.random.Generator:
    """The host generator that `seed` started."""
    return _generator


def key() -> int:
    """The key for random bits within steps that belongs to the seed."""
    return _key


def get_state() -> dict[str, Any]:
    """The host generator's position, as plain numbers that JSON can hold."""
    return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Continue from a position that `get_state` returned."""
    _generator.bit_generator.state = state


@contextmanager
def step_draws(key: Tensor, shard: Shard | None = None) -> Iterator[None]:
    """Take random bits from ``key`` inside a ``with`` block, for a ``shard`` of the batch or all of it; the first use is site 0."""
    token = _scope.set(_Sources({key.backend: Draws(key, shard=shard)}))
    try:
        yield
    finally:
        _scope.reset(token)


def draws(backend: Backend) -> Draws:
    """Where a layer on ``backend`` gets its random bits now: from the step it runs in, or else, use after use, from the seed."""
    return _sources()[backend]


def _sources() -> _Sources:
    inside = _scope.get()
    return _outside if inside is None else inside


@restored_on_replay
def _same_draws() -> Iterator[Callable[[], object]]:
    """What is run a second time draws as it did the first time."""
    now = _sources().copy()
    yield lambda: _scope.set(now.copy())
