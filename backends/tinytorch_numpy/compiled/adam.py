"""Adam and AdamW in one pass over a parameter, its gradient and its moments, where numpy makes a dozen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import threads
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.support import takes
from tinytorch_numpy.kernels.updates import Arrays, norm_and_scale, own, shard_count

#: Elements of one parameter that is sharded itself, where all parameters together are worth it.
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
    """New parameters, first and second moments (these in the memory of the old), and the norm before clipping."""
    if not takes(*params, *grads, *first, *second):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    beta1, beta2 = betas
    rate, count = float(learning_rate), float(step)
    root2 = math.sqrt(1.0 - beta2**count)
    # lr / c1 * m / (sqrt(v / c2) + eps) = (lr / c1 * sqrt(c2)) * m / (sqrt(v) + eps * sqrt(c2)), as in numpy's kernel
    shared = (scale, beta1, beta2, eps * root2, -rate / (1.0 - beta1**count) * root2)
    decays = [(0.0, 1.0 - decay * rate) if decoupled else (decay, 1.0) for decay in weight_decays]
    firsts, seconds = [own(m) for m in first], [own(v) for v in second]
    new_params = [own(param) if donate else numpy.array(param, order="C") for param in params]
    flat = [tuple(numpy.ravel(array) for array in row) for row in zip(new_params, grads, firsts, seconds, strict=True)]
    n = shard_count(params)

    def update(shard: int) -> None:
        for i, (arrays, decay) in enumerate(zip(flat, decays, strict=True)):
            size = arrays[0].size
            if n > 1 and size >= _LARGE:
                some = slice(size * shard // n, size * (shard + 1) // n)
                _update(*[array[some] for array in arrays], *decay, *shared)
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
    floor: float,
    pace: float,
) -> None:
    number = param.dtype.type
    decayed, zero = number(decay), number(0)
    kept, scaled, above, pace_ = number(keep), number(scale), number(floor), number(pace)
    old1, new1, old2, new2 = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    for i in range(len(param)):
        slope = g[i] * scaled + (param[i] * decayed if decay else zero)
        first = m[i] * old1 + slope * new1
        second = v[i] * old2 + slope * slope * new2
        param[i] = param[i] * kept + first / (numpy.sqrt(second) + above) * pace_
        m[i], v[i] = first, second


adam = Kernel(_forward)
