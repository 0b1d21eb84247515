"""Optimizer updates, in chunks that stay in the cache over all passes.

Learning rate and step number are host values, so factors that depend on them are computed once per step, not once per array. Moment
buffers are donated and updated in place, and so are parameters with ``donate``. Gradients are not donated: one array may be the gradient of
two parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import threads
from tinytorch_numpy.kernels.support import CHUNK, chunks, supports

Arrays = Sequence[Array]

#: An update of at least this many elements, over all arrays, runs in several threads.
_MIN_PARALLEL_SIZE = 1 << 21


def norm_and_scale(grads: Arrays, max_norm: float | None) -> tuple[Array, float]:
    """The global norm of the gradients, and the factor that clips it to ``max_norm``."""
    n = shard_count(grads)
    norm = numpy.sqrt(sum(threads.run([partial(_sum_of_squares, grads[shard::n]) for shard in range(n)])))
    if max_norm is None:
        return norm, 1.0
    scale = max_norm / (float(norm) + 1e-6)
    return norm, 1.0 if scale > 1.0 else scale  # not min(), which would hide a NaN


def _sum_of_squares(grads: Arrays) -> Array:
    return sum(numpy.vdot(grad, grad) for grad in grads)


#: A parameter's index, and a slice of its flattened elements.
_Chunk = tuple[int, slice]


def _run_shards(params: Arrays, update: Callable[[Sequence[_Chunk], Array], None]) -> None:
    """Call ``update`` once per shard, with its chunks and a workspace ``(2, chunk size)``."""
    all_chunks = [(i, chunk) for i, param in enumerate(params) for chunk in chunks(param.size)]
    size, dtype = min(CHUNK, max(param.size for param in params)), params[0].dtype
    n = shard_count(params)
    threads.run([partial(update, all_chunks[shard::n], numpy.empty((2, size), dtype)) for shard in range(n)])


def shard_count(arrays: Arrays) -> int:
    """Number of shards of an update: one per thread, or 1 if the arrays are small."""
    return threads.count() if sum(array.size for array in arrays) >= _MIN_PARALLEL_SIZE else 1


def writable(array: Array) -> Array:
    """``array`` if it is contiguous and writable, otherwise a copy."""
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
    donate: bool = False,
) -> Any:
    """Adam and AdamW: new parameters, first and second moments (both updated in place), and the gradient norm before clipping."""
    if not supports(*params, *grads, *first, *second):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    beta1, beta2 = betas
    lr, t = float(learning_rate), float(step)
    correction1 = 1.0 - beta1**t
    root2 = math.sqrt(1.0 - beta2**t)
    # lr / c1 * m / (sqrt(v / c2) + eps) = (lr / c1 * sqrt(c2)) * m / (sqrt(v) + eps * sqrt(c2)), which saves a pass
    step_size, epsilon = -lr / correction1 * root2, eps * root2
    firsts, seconds = [writable(m) for m in first], [writable(v) for v in second]
    new_params = [writable(param) if donate else numpy.empty(param.shape, param.dtype) for param in params]
    flat = [tuple(array.reshape(-1) for array in row) for row in zip(params, grads, new_params, firsts, seconds, strict=True)]

    def update(shard: Sequence[_Chunk], workspace: Array) -> None:
        for i, chunk in shard:
            old, g, new, m, v = (array[chunk] for array in flat[i])
            (work, other), decay, g_scale = workspace[:, : g.size], weight_decays[i], scale
            if decay and not decoupled:
                g = numpy.multiply(g, scale, out=work)
                g += numpy.multiply(old, decay, out=other)
                g_scale = 1.0
            m *= beta1
            m += numpy.multiply(g, (1.0 - beta1) * g_scale, out=other)
            v *= beta2
            numpy.multiply(g, math.sqrt(1.0 - beta2) * g_scale, out=work)
            work *= work
            v += work
            numpy.sqrt(v, out=work)
            work += epsilon
            numpy.divide(m, work, out=work)
            work *= step_size
            if decay and decoupled:
                numpy.multiply(old, 1.0 - decay * lr, out=new)
                new += work
            else:
                numpy.add(old, work, out=new)

    _run_shards(params, update)
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
    donate: bool = False,
) -> Any:
    """SGD: new parameters, velocities (updated in place; empty without momentum), and the gradient norm before clipping."""
    if not supports(*params, *grads, *velocities):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    lr = float(learning_rate)
    velocities = [writable(velocity) for velocity in velocities]
    new_params = [writable(param) if donate else numpy.empty(param.shape, param.dtype) for param in params]
    flat = [tuple(array.reshape(-1) for array in row) for row in zip(params, grads, new_params, strict=True)]

    def update(shard: Sequence[_Chunk], workspace: Array) -> None:
        for i, chunk in shard:
            old, g, new = (array[chunk] for array in flat[i])
            work, other = workspace[:, : g.size]
            numpy.multiply(g, scale, out=work)
            if weight_decays[i]:
                work += numpy.multiply(old, weight_decays[i], out=other)
            direction = work
            if momentum:
                direction = velocities[i].reshape(-1)[chunk]
                direction *= momentum
                direction += work
                if nesterov:
                    work += numpy.multiply(direction, momentum, out=other)
                    direction = work
            numpy.add(old, numpy.multiply(direction, -lr, out=other), out=new)

    _run_shards(params, update)
    return (new_params, velocities, norm), None


adam = Kernel(_adam)
sgd = Kernel(_sgd)
