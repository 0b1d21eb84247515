"""Element-wise functions that are not in the table of calls."""

from __future__ import annotations

import numpy

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch.backend import Backend


def test_the_gradient_of_remainder_uses_the_exact_floor_of_the_quotient(backend: Backend) -> None:
    """1.0 / 0.1 is rounded up to 10, but floor_divide(1.0, 0.1) is 9."""
    x1, x2 = frozen(numpy.float64([1.0, -1.0, 1.0, 5.0])), frozen(numpy.float64([0.1, 0.1, -0.1, 2.0]))
    by_x1, by_x2 = tt.grad(lambda x1, x2: tt.sum(x1 % x2), (0, 1))(x1, x2)
    assert_close(by_x1, numpy.ones(4))
    assert_close(by_x2, numpy.float64([-9, 10, 10, -2]))
    assert_close((x1 % x2 - x1) / x2, numpy.float64([-9, 10, 10, -2]), rtol=1e-12)
