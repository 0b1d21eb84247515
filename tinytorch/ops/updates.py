"""Optimizer updates of all parameters in one call, on raw arrays.

Parameters, gradients and moments are lists of arrays. The learning rate and step number are 0-d arrays, so that a compiled step can be
replayed with new values. Moment buffers are donated: an implementation may update them in place. Parameters are donated if ``donate`` is
true. Gradients are not donated, since one array can be the gradient of two parameters.

Each parameter and moment keeps its dtype. Updates of 16-bit arrays are computed in float32. The gradient norm has the widest of the dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation

Arrays = Sequence[Any]


def gradient_norm(xp: Any, grads: Arrays) -> Any:
    """The L2 norm of the concatenated gradients, a 0-d array."""
    squares = [xp.sum(wide * wide) for wide in (upcast(xp, grad) for grad in grads)]
    widest = xp.result_type(*squares)
    total = _as(xp, squares[0], widest)
    for square in squares[1:]:
        total = total + _as(xp, square, widest)
    return xp.sqrt(total)


def clip_by_norm(xp: Any, grads: Arrays, max_norm: float | None) -> tuple[list[Any], Any]:
    """Clip the gradients by their global norm (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1).

    Args:
        xp: the namespace of the gradients.
        grads: raw arrays.
        max_norm: the largest norm allowed; ``None`` does not clip.

    Returns:
        The gradients, scaled if their norm is larger than ``max_norm``, and the norm before clipping, a 0-d array.

    Example:
        >>> grads, norm = tt.ops.clip_by_norm(numpy, [numpy.asarray([3.0, 4.0])], 1.0)
        >>> round(float(norm), 3), grads[0].round(3)
        (5.0, array([0.6, 0.8]))
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
    """Convert a 0-d array to a dtype, since a wider dtype would upcast the arrays that it is combined with."""
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
    """An Adam step (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1), or an AdamW step (Loshchilov and Hutter 2019, arXiv:1711.05101,
    algorithm 2).

    Args:
        params, grads, first, second: lists of arrays: parameters, gradients, first and second moments. The moments are donated.
        learning_rate: 0-d array.
        step: number of the step, counted from 1; 0-d array.
        betas: decay rates of the first and second moments.
        eps: added to the denominator.
        weight_decays: weight decay of each parameter.
        decoupled: whether weight decay is decoupled (AdamW) or added to the gradient (Adam).
        max_norm: clip the gradients to this global norm; ``None`` does not clip.
        donate: whether the parameters are donated too.

    Returns:
        New parameters, first and second moments, and the gradient norm before clipping.

    Example:
        >>> x, m, v = ([numpy.zeros(2, "float32")] for _ in range(3))
        >>> settings = dict(betas=(0.9, 0.999), eps=1e-8, weight_decays=[0.0], decoupled=True, max_norm=None)
        >>> lr, g = numpy.asarray(0.1, "float32"), numpy.asarray([1, -1], "float32")
        >>> (x, m, v, norm), _ = tt.ops.adam.forward(numpy, x, [g], m, v, lr, numpy.asarray(1), **settings)
        >>> x[0].round(3)
        array([-0.1,  0.1], dtype=float32)
    """
    beta1, beta2 = betas
    grads, norm = clip_by_norm(xp, grads, max_norm)
    count = _as(xp, step, learning_rate.dtype)
    # 1 - beta^step; expm1, since exp in float32 loses half of the digits in the first steps
    correction1 = -xp.expm1(count * math.log(beta1)) if beta1 else xp.ones_like(learning_rate)
    correction2 = -xp.expm1(count * math.log(beta2)) if beta2 else xp.ones_like(learning_rate)
    step_size = learning_rate / correction1
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
        new = old - _as(xp, step_size, dtype) * wide_m / (xp.sqrt(wide_v / _as(xp, correction2, dtype)) + eps)
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
    """A step of gradient descent, with momentum if it is not 0 (Sutskever et al. 2013, ICML, section 2).

    Args:
        params, grads, velocities: lists of arrays. ``velocities`` is empty without momentum; it is donated.
        learning_rate: 0-d array.
        momentum: decay rate of the velocities.
        nesterov: whether to use Nesterov momentum.
        weight_decays: weight decay of each parameter, added to the gradient.
        max_norm: clip the gradients to this global norm; ``None`` does not clip.
        donate: whether the parameters are donated too.

    Returns:
        New parameters, velocities, and the gradient norm before clipping.

    Example:
        >>> settings = dict(momentum=0.0, nesterov=False, weight_decays=[0.0], max_norm=None)
        >>> lr, x = numpy.asarray(0.5, "float32"), numpy.ones(2, "float32")
        >>> (params, _, norm), _ = tt.ops.sgd.forward(numpy, [x], [x], [], lr, **settings)
        >>> params
        [array([0.5, 0.5], dtype=float32)]
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
