"""Optimizer updates of all parameters in few launches; see ``updates.cu``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import Source, blocks, contiguous, empty, int32s

Arrays = Sequence[Array]

_TENSORS, _CHUNK = 72, 4096
_THREADS = 256

_ADDRESSES = ("results", "params", "grads", "first", "second")
_TABLE = numpy.dtype(
    [
        *[(name, numpy.uintp, _TENSORS) for name in _ADDRESSES],
        ("sizes", "i4", _TENSORS),
        ("decays", "f4", _TENSORS),
        ("ends", "i4", _TENSORS),
    ]
)

_source = Source("updates", [{"ELEMENT": "float32"}])


def _supports(*arrays: Array) -> bool:
    return all(array.dtype.name == "float32" and array.size < 2**31 for array in arrays)


class _Call:
    """The arrays of one step, and tables of their addresses for the kernels."""

    def __init__(self, params: Arrays, grads: Arrays, first: Arrays, second: Arrays, decays: Sequence[float], donate: bool) -> None:
        self.params = [contiguous(param) for param in params]
        self.grads = [contiguous(grad) for grad in grads]
        self.first = [contiguous(m) for m in first]  # updated in place, or copied if not contiguous
        self.second = [contiguous(v) for v in second]
        self.results = self.params if donate else [empty(param.shape, param.dtype) for param in params]
        self.tables = list(self._tables(decays))

    def _tables(self, decays: Sequence[float]) -> Iterator[tuple[numpy.ndarray[Any, Any], int]]:
        """Yield each table with its number of thread blocks."""
        nonempty = [i for i, param in enumerate(self.params) if param.size]
        for start in range(0, len(nonempty), _TENSORS):
            group = nonempty[start : start + _TENSORS]
            table = numpy.zeros(1, _TABLE)
            for name in _ADDRESSES:
                arrays = getattr(self, name)
                if arrays:
                    table[name][0, : len(group)] = [arrays[i].data.ptr for i in group]
            sizes = [self.params[i].size for i in group]
            ends = list(accumulate(blocks(size, _CHUNK) for size in sizes))
            for name, values in (("sizes", sizes), ("decays", [decays[i] for i in group]), ("ends", ends)):
                table[name][0, : len(group)] = values
            yield table, ends[-1]

    def norm(self) -> Array:
        """The global norm of the gradients, a 0-d array."""
        counts = [count for _, count in self.tables]
        partial_sums, out = empty((sum(counts),), "float32"), empty((), "float32")
        for i, (table, count) in enumerate(self.tables):
            self._launch("square_sums", count, table, partial_sums[sum(counts[:i]) :])
        _source.launch("root_of_sum", (1,), (1024,), partial_sums, out, *int32s(sum(counts)), ELEMENT="float32")
        return out

    def update(self, function: str, *args: Any) -> None:
        for table, count in self.tables:
            self._launch(function, count, table, *args)

    @staticmethod
    def _launch(function: str, count: int, *args: Any) -> None:
        _source.launch(function, (count,), (_THREADS,), *args, ELEMENT="float32")


def _floats(*numbers: float) -> list[numpy.float32]:
    return [numpy.float32(number) for number in numbers]


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
    if not _supports(*params, *grads, *first, *second, learning_rate) or step.dtype.name != "int32":
        return NotImplemented
    call = _Call(params, grads, first, second, weight_decays, donate)
    norm = call.norm()
    factors = [x for beta in betas for x in (beta, 1.0 - beta, math.log(beta) if beta else 0.0)]
    call.update("adam", learning_rate, step, norm, *_floats(max_norm or 0.0, *factors, eps), *int32s(decoupled))
    return (call.results, call.first, call.second, norm), None


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
    if not _supports(*params, *grads, *velocities, learning_rate):
        return NotImplemented
    call = _Call(params, grads, velocities, (), weight_decays, donate)
    norm = call.norm()
    call.update("sgd", learning_rate, norm, *_floats(max_norm or 0.0, momentum), *int32s(nesterov))
    return (call.results, call.first, norm), None


adam = Kernel(_adam)
sgd = Kernel(_sgd)
