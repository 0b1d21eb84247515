"""One step of an optimizer, each array in chunks that stay in the cache for all the passes over them.

Learning rate and step number are read on the host, where they are, so what depends on them is worked out once and not for each array.
Moment buffers are donated, so they are updated in place, and so are parameters with ``donate``. Gradients are not: one array may be the
gradient of two parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import threads
from tinytorch_numpy.kernels.support import CHUNK, chunks, takes

Arrays = Sequence[Array]

#: Numbers that are worth a second thread.
_ENOUGH = 1 << 21


def norm_and_scale(grads: Arrays, max_norm: float | None) -> tuple[Array, float]:
    """The norm of all gradients taken as one vector, and the factor that clips it to ``max_norm``."""
    n = shard_count(grads)
    norm = numpy.sqrt(sum(threads.run([partial(_squares, grads[shard::n]) for shard in range(n)])))
    if max_norm is None:
        return norm, 1.0
    scale = max_norm / (float(norm) + 1e-6)
    return norm, 1.0 if scale > 1.0 else scale  # not min(), which would hide a NaN


def _squares(grads: Arrays) -> Array:
    return sum(numpy.vdot(grad, grad) for grad in grads)


#: A parameter's index, and some of its elements.
_Chunk = tuple[int, slice]


def _in_shards(params: Arrays, update: Callable[[Sequence[_Chunk], Array], None]) -> None:
    """Call ``update`` once per shard, with chunks that fit the cache and two arrays of a chunk's size to work in."""
    all_chunks = [(i, some) for i, param in enumerate(params) for some in chunks(param.size)]
    size, dtype = min(CHUNK, max(param.size for param in params)), params[0].dtype
    n = shard_count(params)
    threads.run([partial(update, all_chunks[shard::n], numpy.empty((2, size), dtype)) for shard in range(n)])


def shard_count(arrays: Arrays) -> int:
    """Number of shards of an update: one per thread, or 1 where there is little work."""
    return threads.count() if sum(array.size for array in arrays) >= _ENOUGH else 1


def own(array: Array) -> Array:
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
    donate: bool = False,
) -> Any:
    """Adam and AdamW: new parameters, first and second moments (these in the memory of the old), and the norm before clipping."""
    if not takes(*params, *grads, *first, *second):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    beta1, beta2 = betas
    rate, count = float(learning_rate), float(step)
    correction1 = 1.0 - beta1**count
    root2 = math.sqrt(1.0 - beta2**count)
    # lr / c1 * m / (sqrt(v / c2) + eps) = (lr / c1 * sqrt(c2)) * m / (sqrt(v) + eps * sqrt(c2)): a pass less
    pace, floor = -rate / correction1 * root2, eps * root2
    firsts, seconds = [own(m) for m in first], [own(v) for v in second]
    new_params = [own(param) if donate else numpy.empty(param.shape, param.dtype) for param in params]
    flat = [tuple(array.reshape(-1) for array in row) for row in zip(params, grads, new_params, firsts, seconds, strict=True)]

    def update(shard: Sequence[_Chunk], spare: Array) -> None:
        for i, some in shard:
            old, g, new, m, v = (array[some] for array in flat[i])
            (work, other), decay, share = spare[:, : g.size], weight_decays[i], scale
            if decay and not decoupled:
                g = numpy.multiply(g, scale, out=work)
                g += numpy.multiply(old, decay, out=other)
                share = 1.0
            m *= beta1
            m += numpy.multiply(g, (1.0 - beta1) * share, out=other)
            v *= beta2
            numpy.multiply(g, math.sqrt(1.0 - beta2) * share, out=work)
            work *= work
            v += work
            numpy.sqrt(v, out=work)
            work += floor
            numpy.divide(m, work, out=work)
            work *= pace
            if decay and decoupled:
                numpy.multiply(old, 1.0 - decay * rate, out=new)
                new += work
            else:
                numpy.add(old, work, out=new)

    _in_shards(params, update)
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
    """Gradient descent: new parameters, velocities (in the memory of the old; none without momentum), and the norm before clipping."""
    if not takes(*params, *grads, *velocities):
        return NotImplemented
    norm, scale = norm_and_scale(grads, max_norm)
    rate = float(learning_rate)
    velocities = [own(velocity) for velocity in velocities]
    new_params = [own(param) if donate else numpy.empty(param.shape, param.dtype) for param in params]
    flat = [tuple(array.reshape(-1) for array in row) for row in zip(params, grads, new_params, strict=True)]

    def update(shard: Sequence[_Chunk], spare: Array) -> None:
        for i, some in shard:
            old, g, new = (array[some] for array in flat[i])
            work, other = spare[:, : g.size]
            numpy.multiply(g, scale, out=work)
            if weight_decays[i]:
                work += numpy.multiply(old, weight_decays[i], out=other)
            direction = work
            if momentum:
                direction = velocities[i].reshape(-1)[some]
                direction *= momentum
                direction += work
                if nesterov:
                    work += numpy.multiply(direction, momentum, out=other)
                    direction = work
            numpy.add(old, numpy.multiply(direction, -rate, out=other), out=new)

    _in_shards(params, update)
    return (new_params, velocities, norm), None


adam = Kernel(_adam)
sgd = Kernel(_sgd)
