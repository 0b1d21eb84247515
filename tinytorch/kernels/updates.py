"""One step of an optimizer over all parameters at once, on raw arrays.

Parameters come and go as lists of arrays. Learning rate and step number are arrays of no dimensions, so that a compiled step can be
replayed with others. The moments are given for good: an implementation may overwrite them. So are parameters, where ``donate`` says so.
Gradients are not: one array can be the gradient of two parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.kernels.fused import Fused

Arrays = Sequence[Any]


def gradient_norm(xp: Any, grads: Arrays) -> Any:
    """The length of all gradients taken as one vector, an array of no dimensions."""
    total = xp.sum(grads[0] * grads[0])
    for grad in grads[1:]:
        total = total + xp.sum(grad * grad)
    return xp.sqrt(total)


def _clipped(xp: Any, grads: Arrays, max_norm: float | None) -> tuple[list[Any], Any]:
    """The gradients, scaled down together to length ``max_norm`` where they are longer, and their norm.

    The method of Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    norm = gradient_norm(xp, grads)
    if max_norm is None:
        return list(grads), norm
    scale = xp.minimum(max_norm / (norm + 1e-6), xp.ones_like(norm))
    return [grad * scale for grad in grads], norm


def _adam(
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
    grads, norm = _clipped(xp, grads, max_norm)
    count = xp.astype(step, learning_rate.dtype)
    # 1 - beta^step; not by exp, which in float32 loses half its digits in the first steps
    correction1 = -xp.expm1(count * math.log(beta1)) if beta1 else xp.ones_like(learning_rate)
    correction2 = -xp.expm1(count * math.log(beta2)) if beta2 else xp.ones_like(learning_rate)
    new_params, new_first, new_second = [], [], []
    for param, grad, m, v, decay in zip(params, grads, first, second, weight_decays, strict=True):
        if decay and not decoupled:
            grad = grad + decay * param
        m = beta1 * m + (1.0 - beta1) * grad
        v = beta2 * v + (1.0 - beta2) * (grad * grad)
        if decay and decoupled:
            param = param * (1.0 - decay * learning_rate)
        new_params.append(param - (learning_rate / correction1) * m / (xp.sqrt(v / correction2) + eps))
        new_first.append(m)
        new_second.append(v)
    return (new_params, new_first, new_second, norm), None


def _sgd(
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
    grads, norm = _clipped(xp, grads, max_norm)
    grads = [grad + decay * param if decay else grad for param, grad, decay in zip(params, grads, weight_decays, strict=True)]
    directions = grads
    if momentum:
        velocities = [momentum * velocity + grad for velocity, grad in zip(velocities, grads, strict=True)]
        directions = (
            [grad + momentum * velocity for velocity, grad in zip(velocities, grads, strict=True)] if nesterov else list(velocities)
        )
    return ([param - learning_rate * direction for param, direction in zip(params, directions, strict=True)], list(velocities), norm), None


adam = Fused("adam", _adam)
sgd = Fused("sgd", _sgd)
