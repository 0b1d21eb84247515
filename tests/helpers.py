"""Assertions on Tensors, for tests on any backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor

#: Step of central differences. The error is about STEP^2 times the third derivative, plus the rounding error divided by STEP.
STEP = 1e-6


def frozen(values: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor on the current backend. If its array is a NumPy array it is read-only, since nothing may write into it."""
    tensor = tt.asarray(values, dtype=dtype)
    if isinstance(tensor.raw, numpy.ndarray):
        tensor.raw.setflags(write=False)
    tensor.requires_grad = requires_grad
    return tensor


def host(tensor: Tensor) -> numpy.ndarray[Any, Any]:
    """The values of a Tensor as a NumPy array."""
    return tensor.detach().numpy()


def moments(optimizer: Optimizer) -> list[numpy.ndarray[Any, Any]]:
    """The state arrays of an optimizer, as host arrays, parameter by parameter."""
    states = [(p, optimizer.state[p]) for p in optimizer.parameters if p in optimizer.state]
    return [parameter.backend.to_host(array) for parameter, state in states for array in state.arrays]


def assert_close(actual: Tensor, expected: Any, rtol: float = 1e-6, atol: float = 0.0, backend: Backend | None = None) -> None:
    """Assert that ``actual`` has the values, shape and dtype of ``expected`` and is on ``backend``, by default the current one."""
    assert isinstance(actual, Tensor), f"expected a Tensor, got {type(actual).__name__}"
    wanted = host(expected) if isinstance(expected, Tensor) else numpy.asarray(expected)
    where = expected.backend if isinstance(expected, Tensor) else backend or tt.current_backend()
    assert actual.backend is where, f"expected a Tensor on {where.spec}, got one on {actual.backend.spec}"
    assert where.owns(actual.raw), f"expected an array of {where.spec}, got {type(actual.raw).__name__}"
    assert actual.dtype.name == wanted.dtype.name, f"expected {wanted.dtype.name}, got {actual.dtype.name}"
    assert tuple(actual.shape) == wanted.shape, f"expected shape {wanted.shape}, got {tuple(actual.shape)}"
    numpy.testing.assert_allclose(host(actual), wanted, rtol=rtol, atol=atol)


def check_gradients(function: Callable[..., Any], *inputs: Any, order: int = 2, tolerance: float = 1e-5) -> None:
    """Compare derivatives of ``function`` with central differences in float64, along random directions.

    Args:
        function: takes Tensors and returns one or several Tensors of any shape.
        inputs: host arrays; the function is differentiated with respect to the float64 arrays.
        order: 1 for first derivatives only (at a kink), 2 for second derivatives too.
        tolerance: relative to the size of the derivatives.
    """
    arrays = [numpy.asarray(x) for x in inputs]
    argnums = tuple(i for i, x in enumerate(arrays) if x.dtype == numpy.float64)
    random = numpy.random.default_rng(0)
    weights: list[Tensor] = []

    def scalar(*tensors: Tensor) -> Tensor:
        """The weighted sum of all elements of all outputs, with random weights."""
        out = function(*tensors)
        outputs = list(out) if isinstance(out, tuple | list) else [out]
        if not weights:
            weights.extend(frozen(random.normal(size=o.shape)) for o in outputs)
        return _total([tt.sum(o * w) for o, w in zip(outputs, weights, strict=True)])

    def directional_derivative(direction: Sequence[Tensor]) -> Callable[..., Tensor]:
        """The derivative of `scalar` along a direction."""

        def derivative(*tensors: Tensor) -> Tensor:
            gradients = tt.grad(scalar, argnums)(*tensors)
            return _total([tt.sum(g * v) for g, v in zip(gradients, direction, strict=True)])

        return derivative

    first, second = [[random.normal(size=arrays[i].shape) for i in argnums] for _ in range(2)]
    tensors = [frozen(x) for x in arrays]
    scalar(*tensors)  # creates the weights
    gradients = tt.grad(scalar, argnums)(*tensors)
    for i, gradient in zip(argnums, gradients, strict=True):
        assert (gradient.backend, gradient.shape, gradient.dtype) == (tensors[i].backend, tensors[i].shape, tensors[i].dtype)
    directional = directional_derivative([frozen(v) for v in first])
    _agree("first", float(directional(*tensors)), _difference(scalar, arrays, argnums, first), tolerance)
    if order == 1:
        return
    value, gradients = tt.value_and_grad(directional, argnums)(*tensors)
    _agree("recorded first", float(value), float(directional(*tensors)), 1e-9)
    second_derivative = sum(float(numpy.sum(host(g) * u)) for g, u in zip(gradients, second, strict=True))
    _agree("second", second_derivative, _difference(directional, arrays, argnums, second), tolerance)


def _total(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _difference(
    function: Callable[..., Tensor], arrays: Sequence[Any], argnums: Sequence[int], direction: Sequence[numpy.ndarray[Any, Any]]
) -> float:
    """The derivative of ``function`` at ``arrays`` along ``direction``, by central differences."""
    sides = []
    for sign in (1, -1):
        moved = list(arrays)
        for i, v in zip(argnums, direction, strict=True):
            moved[i] = arrays[i] + sign * STEP * v
        sides.append(float(function(*[frozen(x) for x in moved]).detach()))
    return (sides[0] - sides[1]) / (2 * STEP)


def _agree(what: str, ours: float, theirs: float, tolerance: float) -> None:
    assert abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)), f"{what} derivative is {ours}, by differences {theirs}"
