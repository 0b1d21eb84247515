"""Functions on the gradients of parameters, for training loops written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinytorch.array_api.precision import upcast
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.tensor import Tensor


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the gradients of parameters so that their global norm is at most ``max_norm``.

    An optimizer does the same in `step` with its argument ``max_norm``, which is faster.

    Args:
        parameters: one or several Tensors; those without ``.grad`` are ignored. Their ``.grad`` is replaced.
        max_norm: maximum norm of all gradients together, as of one vector.
        norm_type: order of the norm; may be ``float("inf")``.
        error_if_nonfinite: whether a norm of NaN or infinity is an error.

    Returns:
        The norm before clipping, a 0-d Tensor.

    Raises:
        RuntimeError: if the norm is not finite and ``error_if_nonfinite`` is true.

    Source:
        Pascanu et al. 2013, *On the difficulty of training recurrent neural networks*, section 3.2.

    Example:
        >>> p = nn.Parameter(tt.asarray([1.0, 2.0]))
        >>> p.grad = tt.asarray([3.0, 4.0])
        >>> nn.utils.clip_grad_norm_([p], max_norm=1.0)
        Tensor(5., dtype=float32)
        >>> p.grad
        Tensor([0.6      , 0.8000001], dtype=float32)
    """
    given = _with_gradients(parameters)
    if not given:
        raise ValueError("no parameter has a gradient; call loss.backward() before clip_grad_norm_")
    xp = given[0][1].__array_namespace__()
    norms = [xp.linalg.vector_norm(upcast(xp, xp.reshape(gradient, (-1,))), ord=norm_type) for _, gradient in given]
    total: Tensor = xp.linalg.vector_norm(xp.stack(norms), ord=norm_type)
    if error_if_nonfinite and not xp.isfinite(total):
        raise RuntimeError(f"the norm of the gradients is {total.item()}; the gradients are not clipped")
    factor = xp.clip(max_norm / (total + 1e-6), None, 1.0)
    for parameter, gradient in given:
        parameter.grad = xp.astype(gradient * factor, gradient.dtype)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit each element of the gradients of parameters to the range from ``-clip_value`` to ``clip_value``.

    Args:
        parameters: one or several Tensors; those without ``.grad`` are ignored. Their ``.grad`` is replaced.
        clip_value: the limit.

    Example:
        >>> p = nn.Parameter(tt.asarray([1.0, 2.0]))
        >>> p.grad = tt.asarray([3.0, -0.5])
        >>> nn.utils.clip_grad_value_([p], clip_value=1.0)
        >>> p.grad
        Tensor([ 1. , -0.5], dtype=float32)
    """
    for parameter, gradient in _with_gradients(parameters):
        parameter.grad = gradient.__array_namespace__().clip(gradient, -clip_value, clip_value)


def _with_gradients(parameters: Any) -> list[tuple[Tensor, Tensor]]:
    """The parameters that have a gradient, with it."""
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [(parameter, parameter.grad) for parameter in listed if parameter.grad is not None]
