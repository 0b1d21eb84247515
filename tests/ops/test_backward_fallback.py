"""A kernel may leave the backward pass to the portable version, although it ran forward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch import ops
from tinytorch.autograd import operation
from tinytorch.backend import Kernel


@pytest.fixture
def use_kernels() -> Iterator[None]:
    """These run even if kernels are disabled."""
    token = operation._use_kernels.set(True)
    yield
    operation._use_kernels.reset(token)


def gradients() -> list[tt.Tensor]:
    random = numpy.random.default_rng(0)
    x, weight, bias = (tt.asarray(random.normal(size=shape)) for shape in ((2, 3, 5), (5,), (5,)))
    for leaf in (x, weight, bias):
        leaf.requires_grad = True
    out = ops.layer_norm(x, weight, bias, eps=1e-5)
    tt.sum(out * out).backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert bias.grad is not None
    return [x.grad, weight.grad, bias.grad]


@pytest.mark.usefixtures("use_kernels")
def test_the_portable_version_computes_its_own_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = tt.get_backend("numpy")
    forward = backend.kernels["layer_norm"].forward
    kernel = Kernel(lambda *arrays, eps: (forward(*arrays, eps=eps)[0], "private"), lambda *args, eps: NotImplemented)
    with tt.use_backend(backend):
        with ops.portable_kernels():
            expected = gradients()
        monkeypatch.setattr(backend, "kernels", {"layer_norm": kernel})
        for gradient, right in zip(gradients(), expected, strict=True):
            assert_close(gradient, right.numpy(), rtol=1e-10)
