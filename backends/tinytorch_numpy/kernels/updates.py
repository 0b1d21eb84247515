"""One step of an optimizer, each array in pieces that stay in the cache for all the passes over them.

Learning rate and step number are read on the host, where they are, so what depends on them is worked out once and not for each array.
The moments are overwritten. Gradients are not: one array may be the gradient of two parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import CHUNK, chunks, takes

Arrays = Sequence[Array]


def _norm_and_scale(grads: Arrays, max_norm: float | None) -> tuple[Array, float]:
    """The length of all gradients taken as one vector, and the factor that clips it to ``max_norm``."""
    norm = numpy.sqrt(sum(numpy.vdot(grad, grad) for grad in grads))
    if max_norm is None:
        return norm, 1.0
    scale = max_norm / (float(norm) + 1e-6)
    return norm, 1.0 if scale > 1.0 else scale  # not min(), which would hide a NaN


def _own(array: Array) -> Array:
    """``array`` if its memory can be written from end to end, otherwise a copy."""
    return array if array.flags.c_contiguous and array.flags.writeable else numpy.array(array, order="C")


def _adam(
    params: Arrays,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
    learning_rate: Array,
    step: Array,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decays: Sequence[float],
    decoupled: bool,
    max_norm: float | None,
) -> Any:
    """Adam and AdamW: new parameters, first and second moments (these in the memory of the old), and the norm before clipping."""
    if not takes(*params, *grads, *first, *second):
        return NotImplemented
    norm, scale = _norm_and_scale(grads, max_norm)
    beta1, beta2 = betas
    rate, count = float(learning_rate), float(step)
    correction1 = 1.0 - beta1**count
    root2 = math.sqrt(1.0 - beta2**count)
    # lr / c1 * m / (sqrt(v / c2) + eps) = (lr / c1 * sqrt(c2)) * m / (sqrt(v) + eps * sqrt(c2)): a pass less
    pace, floor = -rate / correction1 * root2, eps * root2
    firsts, seconds = [_own(m) for m in first], [_own(v) for v in second]
    new_params = []
    spare = numpy.empty(min(CHUNK, max(param.size for param in params)), params[0].dtype)
    for param, grad, m, v, decay in zip(params, grads, firsts, seconds, weight_decays, strict=True):
        new_param = numpy.empty(param.shape, param.dtype)
        old, g, new, m, v = (array.reshape(-1) for array in (param, grad, new_param, m, v))
        for some in chunks(old.size):
            old_, g_, new_, m_, v_ = old[some], g[some], new[some], m[some], v[some]
            work = spare[: g_.size]
            if scale != 1.0:
                g_ = numpy.multiply(g_, scale, out=work)
            if decay and not decoupled:
                g_ = numpy.add(g_, numpy.multiply(old_, decay, out=new_), out=work)
            m_ *= beta1
            m_ += numpy.multiply(g_, 1.0 - beta1, out=new_)
            v_ *= beta2
            numpy.multiply(g_, g_, out=work)
            work *= 1.0 - beta2
            v_ += work
            numpy.sqrt(v_, out=work)
            work += floor
            numpy.divide(m_, work, out=work)
            work *= pace
            if decay and decoupled:
                numpy.multiply(old_, 1.0 - decay * rate, out=new_)
                new_ += work
            else:
                numpy.add(old_, work, out=new_)
        new_params.append(new_param)
    return (new_params, firsts, seconds, norm), None


def _sgd(
    params: Arrays,
    grads: Arrays,
    velocities: Arrays,
    learning_rate: Array,
    *,
    momentum: float,
    nesterov: bool,
    weight_decays: Sequence[float],
    max_norm: float | None,
) -> Any:
    """Gradient descent: new parameters, velocities (in the memory of the old; none without momentum), and the norm before clipping."""
    if not takes(*params, *grads, *velocities):
        return NotImplemented
    norm, scale = _norm_and_scale(grads, max_norm)
    rate = float(learning_rate)
    velocities = [_own(velocity) for velocity in velocities]
    new_params = []
    spare = numpy.empty(min(CHUNK, max(param.size for param in params)), params[0].dtype)
    for i, (param, grad, decay) in enumerate(zip(params, grads, weight_decays, strict=True)):
        new_param = numpy.empty(param.shape, param.dtype)
        old, g, new = (array.reshape(-1) for array in (param, grad, new_param))
        for some in chunks(old.size):
            old_, new_ = old[some], new[some]
            work = numpy.multiply(g[some], scale, out=spare[: new_.size])
            if decay:
                work += numpy.multiply(old_, decay, out=new_)
            direction = work
            if momentum:
                direction = velocities[i].reshape(-1)[some]
                direction *= momentum
                direction += work
                if nesterov:
                    work += numpy.multiply(direction, momentum, out=new_)
                    direction = work
            numpy.multiply(direction, -rate, out=new_)
            new_ += old_
        new_params.append(new_param)
    return (new_params, velocities, norm), None


adam = Kernel(_adam)
sgd = Kernel(_sgd)
