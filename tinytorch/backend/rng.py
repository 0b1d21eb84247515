"""Random numbers outside training steps: generated on the host and copied to the backend.

A host module. Weights, batches and samples come from numpy's PCG64, so that a run starts from the same numbers on every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy

Array: TypeAlias = Any


class Generator:
    """A seeded stream of random arrays on one backend (PCG64; O'Neill 2014, HMC-CS-2014-0905).

    Args:
        seed: an integer of 0 or more.
        from_host: copies a host array to the backend with the named dtype: `Backend.from_host`.
        default_int: name of the default integer dtype of the backend.
    """

    def __init__(self, seed: int, from_host: Callable[[Any, str], Array], default_int: str) -> None:
        self._host = numpy.random.default_rng(seed)
        self._from_host = from_host
        self._default_int = default_int

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, dtype: str = "float32") -> Array:
        """Uniform values in [low, high)."""
        return self._from_host(self._host.uniform(low, high, shape), dtype)

    def normal(self, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0, dtype: str = "float32") -> Array:
        """Normally distributed values."""
        return self._from_host(self._host.normal(mean, std, shape), dtype)

    def integers(self, low: int, high: int, shape: tuple[int, ...], dtype: str | None = None) -> Array:
        """Uniform integers in [low, high)."""
        return self._from_host(self._host.integers(low, high, shape), dtype or self._default_int)

    def permutation(self, n: int) -> Array:
        """The integers 0 to n - 1 in random order."""
        return self._from_host(self._host.permutation(n), self._default_int)

    def get_state(self) -> dict[str, Any]:
        """The state of the generator, serializable as JSON."""
        return dict(self._host.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `get_state`."""
        self._host.bit_generator.state = state
