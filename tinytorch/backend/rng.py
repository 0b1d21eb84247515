"""Random numbers outside training steps: drawn on the host, sent to the backend.

A host module. Weights, batches and samples all come from numpy's PCG64, so that a run starts from the same numbers on every backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from tinytorch.backend.contract import Array, Backend


class Generator:
    """A seeded stream of random arrays on one backend (PCG64; O'Neill 2014, HMC-CS-2014-0905)."""

    def __init__(self, backend: Backend, seed: int) -> None:
        self.backend = backend
        self._host = numpy.random.default_rng(seed)

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, dtype: str = "float32") -> Array:
        """Values in [low, high)."""
        return self.backend.from_host(self._host.uniform(low, high, shape), dtype)

    def normal(self, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0, dtype: str = "float32") -> Array:
        """Values of the normal distribution."""
        return self.backend.from_host(self._host.normal(mean, std, shape), dtype)

    def integers(self, low: int, high: int, shape: tuple[int, ...], dtype: str | None = None) -> Array:
        """Whole numbers in [low, high)."""
        return self.backend.from_host(self._host.integers(low, high, shape), dtype or self.backend.default_int)

    def permutation(self, n: int) -> Array:
        """The numbers 0 to n - 1 in random order."""
        return self.backend.from_host(self._host.permutation(n), self.backend.default_int)

    def get_state(self) -> dict[str, Any]:
        """The stream's position, as plain numbers that JSON can hold."""
        return dict(self._host.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a position that `get_state` returned."""
        self._host.bit_generator.state = state
