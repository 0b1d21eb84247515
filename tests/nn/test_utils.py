"""Clipping of gradients in a loop written by hand."""

from __future__ import annotations

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch import nn
from tinytorch.backend import Backend


def parameters(*gradients: list[float] | None, dtype: str = "float32") -> list[nn.Parameter]:
    """Parameters with these gradients."""
    made = []
    for gradient in gradients:
        p = nn.Parameter(tt.zeros(2, dtype=dtype))
        p.grad = None if gradient is None else tt.asarray(gradient, dtype=dtype)
        made.append(p)
    return made


def test_gradients_are_scaled_to_the_maximum_norm(backend: Backend) -> None:
    a, b, c = parameters([3.0, 0.0], [0.0, 4.0], None)
    assert_close(nn.utils.clip_grad_norm_([a, b, c], 1.0), numpy.float32(5.0))
    assert_close(a.grad, numpy.float32([0.6, 0.0]), rtol=1e-5)
    assert_close(b.grad, numpy.float32([0.0, 0.8]), rtol=1e-5)
    assert c.grad is None
    assert not a.grad.requires_grad


def test_smaller_gradients_keep_their_bits(backend: Backend) -> None:
    (a,) = parameters([0.3, 0.1])
    nn.utils.clip_grad_norm_(a, 1.0)
    assert_close(a.grad, numpy.float32([0.3, 0.1]), rtol=0)


@pytest.mark.parametrize(("order", "norm"), [(1.0, 7.0), (float("inf"), 4.0)])
def test_other_norms(backend: Backend, order: float, norm: float) -> None:
    made = parameters([3.0, 0.0], [0.0, -4.0])
    assert_close(nn.utils.clip_grad_norm_(made, 2.0, norm_type=order), numpy.float32(norm))
    assert_close(made[1].grad, numpy.float32([0.0, -8.0 / norm]), rtol=1e-5)


def test_a_norm_that_is_not_finite(backend: Backend) -> None:
    made = parameters([float("inf"), 0.0], [1.0, 1.0])
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf; the gradients are not clipped"):
        nn.utils.clip_grad_norm_(made, 1.0, error_if_nonfinite=True)
    assert_close(made[1].grad, numpy.float32([1.0, 1.0]))


def test_without_gradients_the_error_names_backward(backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"no parameter has a gradient; call loss.backward\(\)"):
        nn.utils.clip_grad_norm_(parameters(None), 1.0)


def test_values_are_clipped(backend: Backend) -> None:
    a, b = parameters([3.0, -0.5], None)
    nn.utils.clip_grad_value_([a, b], 1.0)
    assert_close(a.grad, numpy.float32([1.0, -0.5]))


@pytest.mark.parametrize("order", [1.0, 2.0, float("inf")])
def test_matches_pytorch(order: float) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    gradients = numpy.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    made, theirs = parameters(*gradients.tolist()), [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    for p, gradient in zip(theirs, gradients, strict=True):
        p.grad = torch.tensor(gradient)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type=order)
    assert nn.utils.clip_grad_norm_(made, 0.5, norm_type=order).item() == pytest.approx(expected.item(), rel=1e-6)
    for p, q in zip(made, theirs, strict=True):
        assert p.grad is not None
        numpy.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)
