"""Adam and AdamW in one pass over a parameter, its gradient and its moments; numpy needs a dozen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import threads
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.support import supports
from tinytorch_numpy.kernels.updates import Arrays, norm_and_scale, shard_count, writable

#: A parameter of at least this many elements is itself split over the threads, if the update runs in several.
_LARGE = 1 << 16


def _forward(
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
    donate: bool = False,
) -> Any:
    """New parameters, first and second moments (both updated in place), and the gradient norm before clipping."""
    if not supports(*params, *grads, *first, *second):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    beta1, beta2 = betas
    lr, t = float(learning_rate), float(step)
    root2 = math.sqrt(1.0 - beta2**t)
    # lr / c1 * m / (sqrt(v / c2) + eps) = (lr / c1 * sqrt(c2)) * m / (sqrt(v) + eps * sqrt(c2)), as in numpy's kernel
    shared = (scale, beta1, beta2, eps * root2, -lr / (1.0 - beta1**t) * root2)
    decays = [(0.0, 1.0 - decay * lr) if decoupled else (decay, 1.0) for decay in weight_decays]
    firsts, seconds = [writable(m) for m in first], [writable(v) for v in second]
    new_params = [writable(param) if donate else numpy.array(param, order="C") for param in params]
    flat = [tuple(numpy.ravel(array) for array in row) for row in zip(new_params, grads, firsts, seconds, strict=True)]
    n = shard_count(params)

    def update(shard: int) -> None:
        for i, (arrays, decay) in enumerate(zip(flat, decays, strict=True)):
            size = arrays[0].size
            if n > 1 and size >= _LARGE:
                part = slice(size * shard // n, size * (shard + 1) // n)
                _update(*[array[part] for array in arrays], *decay, *shared)
            elif i % n == shard:
                _update(*arrays, *decay, *shared)

    threads.run([partial(update, shard) for shard in range(n)])
    return (new_params, firsts, seconds, norm), None


@loop("contract")
def _update(
    param: Array,
    g: Array,
    m: Array,
    v: Array,
    decay: float,
    keep: float,
    scale: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step_size: float,
) -> None:
    dtype = param.dtype.type
    decayed, zero = dtype(decay), dtype(0)
    kept, scaled, eps, step = dtype(keep), dtype(scale), dtype(epsilon), dtype(step_size)
    old1, new1, old2, new2 = dtype(beta1), dtype(1 - beta1), dtype(beta2), dtype(1 - beta2)
    for i in range(len(param)):
        grad = g[i] * scaled + (param[i] * decayed if decay else zero)
        first = m[i] * old1 + grad * new1
        second = v[i] * old2 + grad * grad * new2
        param[i] = param[i] * kept + first / (numpy.sqrt(second) + eps) * step
        m[i], v[i] = first, second


adam = Kernel(_forward)
