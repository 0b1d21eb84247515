"""One step of an optimizer over all parameters at once, on raw arrays.

Parameters come and go as lists of arrays. Learning rate and step number are 0-d arrays, so that a compiled step can be replayed with
others. Moments are donated: an implementation may overwrite them. So are parameters where ``donate`` says so. Gradients are not: one
array can be the gradient of two parameters.

Every parameter and every moment keeps its own type. Those of 16 bits are computed in float32, and the norm of the gradient in the widest
of the types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation

Arrays = Sequence[Any]


def gradient_norm(xp: Any, grads: Arrays) -> Any:
    """The norm of all gradients taken as one vector, a 0-d array."""
    squares = [xp.sum(wide * wide) for wide in (upcast(xp, grad) for grad in grads)]
    widest = xp.result_type(*squares)
    total = _as(xp, squares[0], widest)
    for square in squares[1:]:
        total = total + _as(xp, square, widest)
    return xp.sqrt(total)


def clip_by_norm(xp: Any, grads: Arrays, max_norm: float | None) -> tuple[list[Any], Any]:
    """The gradients, scaled down together to ``max_norm`` where their norm is larger, and that norm.

    The method of Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    norm = gradient_norm(xp, grads)
    if max_norm is None:
        return list(grads), norm
    scale = xp.minimum(max_norm / (norm + 1e-6), xp.ones_like(norm))
    return [_scaled(xp, grad, scale) for grad in grads], norm


def _scaled(xp: Any, grad: Any, scale: Any) -> Any:
    wide = upcast(xp, grad)
    return downcast(xp, wide * _as(xp, scale, wide.dtype), grad)


def _as(xp: Any, value: Any, dtype: Any) -> Any:
    """A 0-d array in a type, since one of a wider type would upcast the arrays that it is combined with."""
    return value if value.dtype == dtype else xp.astype(xp.asarray(value), dtype)


@fused_operation
def adam(
    xp: Any,
    params: Arrays,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
    learning_rate: Any,
    step: Any,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decays: Sequence[float],
    decoupled: bool,
    max_norm: float | None,
    donate: bool = False,
) -> tuple[tuple[list[Any], list[Any], list[Any], Any], None]:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1), with decoupled weight decay AdamW (Loshchilov and Hutter 2019,
    arXiv:1711.05101, algorithm 2).

    ``step`` counts from 1. Returns new parameters, first and second moments, and the norm of the gradient before clipping.
    """
    beta1, beta2 = betas
    grads, norm = clip_by_norm(xp, grads, max_norm)
    count = _as(xp, step, learning_rate.dtype)
    # 1 - beta^step; not by exp, which in float32 loses half its digits in the first steps
    correction1 = -xp.expm1(count * math.log(beta1)) if beta1 else xp.ones_like(learning_rate)
    correction2 = -xp.expm1(count * math.log(beta2)) if beta2 else xp.ones_like(learning_rate)
    pace = learning_rate / correction1
    new_params, new_first, new_second = [], [], []
    for param, grad, m, v, decay in zip(params, grads, first, second, weight_decays, strict=True):
        old, wide_grad = upcast(xp, param), upcast(xp, grad)
        dtype = old.dtype
        if decay and not decoupled:
            wide_grad = wide_grad + decay * old
        wide_m = beta1 * upcast(xp, m) + (1.0 - beta1) * wide_grad
        wide_v = beta2 * upcast(xp, v) + (1.0 - beta2) * (wide_grad * wide_grad)
        if decay and decoupled:
            old = old * (1.0 - decay * _as(xp, learning_rate, dtype))
        new = old - _as(xp, pace, dtype) * wide_m / (xp.sqrt(wide_v / _as(xp, correction2, dtype)) + eps)
        new_params.append(downcast(xp, new, param))
        new_first.append(downcast(xp, wide_m, m))
        new_second.append(downcast(xp, wide_v, v))
    return (new_params, new_first, new_second, norm), None


@fused_operation
def sgd(
    xp: Any,
    params: Arrays,
    grads: Arrays,
    velocities: Arrays,
    learning_rate: Any,
    *,
    momentum: float,
    nesterov: bool,
    weight_decays: Sequence[float],
    max_norm: float | None,
    donate: bool = False,
) -> tuple[tuple[list[Any], list[Any], Any], None]:
    """Gradient descent, with momentum where it is not 0 (Sutskever et al. 2013, ICML, section 2).

    ``velocities`` is empty without momentum. Returns new parameters, velocities, and the norm of the gradient before clipping.
    """
    grads, norm = clip_by_norm(xp, grads, max_norm)
    new_params, new_velocities = [], []
    for i, (param, grad, decay) in enumerate(zip(params, grads, weight_decays, strict=True)):
        old, direction = upcast(xp, param), upcast(xp, grad)
        if decay:
            direction = direction + decay * old
        if momentum:
            velocity = momentum * upcast(xp, velocities[i]) + direction
            new_velocities.append(downcast(xp, velocity, velocities[i]))
            direction = direction + momentum * velocity if nesterov else velocity
        new_params.append(downcast(xp, old - _as(xp, learning_rate, old.dtype) * direction, param))
    return (new_params, new_velocities, norm), None


adam.no_derivative("it updates parameters")
sgd.no_derivative("it updates parameters")
