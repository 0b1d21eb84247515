"""Constants of a differentiated function, which the standard does not have."""

from __future__ import annotations

from tinytorch.tensor import Tensor

__all__ = ["stop_gradient"]


def stop_gradient(x: Tensor, /) -> Tensor:
    """x as a constant: no gradient flows to what it was computed from, as ``jax.lax.stop_gradient``, and as ``x.detach()``.

    Example:
        >>> tt.grad(lambda x: x * tt.stop_gradient(x))(tt.asarray(3.0))
        Tensor(3., dtype=float32, device='numpy:cpu')
    """
    return x.detach()
