"""Kernels compiled by numba. They pass over memory once where numpy passes several times, and take the GIL once per call.

`tinytorch.tune` installs them if numba is available. Small arrays still use numpy's kernels, so that decoding tokens never imports numba,
which takes a third of a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache, wraps
from importlib import import_module
from typing import Any, Final

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import kernels

#: Calls with fewer elements use numpy's kernel.
_MIN_SIZE: Final = 1 << 15


def _dispatch(name: str) -> Kernel:
    """A kernel that uses the compiled one for large calls that it supports, and numpy's for all others.

    The backward pass uses the same kernel as the forward pass. Both have the signatures of numpy's kernel.
    """
    plain = kernels.KERNELS[name]

    @wraps(plain.forward)
    def forward(array: Array | Sequence[Array], /, *others: Any, **settings: Any) -> Any:
        size = sum(x.size for x in array) if isinstance(array, Sequence) else array.size
        fast = _load(name) if size >= _MIN_SIZE else None
        for kernel in (fast, plain):
            result = NotImplemented if kernel is None else kernel.forward(array, *others, **settings)
            if result is not NotImplemented:
                return result[0], (kernel, result[1])
        return NotImplemented

    if plain.backward is None:
        return Kernel(forward)

    @wraps(plain.backward)
    def backward(g: Array, residuals: Any, inputs: Sequence[Any], needs: Sequence[bool], **settings: Any) -> Any:
        kernel, its_residuals = residuals
        return kernel.backward(g, its_residuals, inputs, needs, **settings)

    return Kernel(forward, backward)


@cache
def _load(name: str) -> Kernel | None:
    """Import the kernel from the module of that name; returns ``None``, with a warning, if numba cannot be imported."""
    try:
        kernel = getattr(import_module(f"tinytorch_numpy.compiled.{name}"), name)
    except (ImportError, OSError) as error:  # for example, if numba was built for another numpy
        warnings.warn(f"numba cannot be loaded, so numpy's own kernels run: {error}", RuntimeWarning, stacklevel=4)
        return None
    assert isinstance(kernel, Kernel)
    return kernel


#: Kernels by the operation's name. Each is in the module of that name.
KERNELS: Final = {name: _dispatch(name) for name in ("adam", "dropout", "gelu", "layer_norm", "max_pool2d", "packed_attention")}
