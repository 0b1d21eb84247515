"""Kernels compiled by numba: one pass over memory where numpy makes several, and Python's lock needed once a call, not at each pass.

They take the place of numpy's where `tinytorch.tune` finds numba, but for small arrays: decoding a token never loads numba, which takes
a third of a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache, wraps
from importlib import import_module
from typing import Any, Final

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import kernels

#: Elements below which a call is left to numpy.
_ENOUGH: Final = 1 << 15


def _compiled(name: str) -> Kernel:
    """The compiled kernel for what it takes, and numpy's for the rest; residuals go to the one that made them.

    Settings are passed on as they are: the signatures are those of numpy's kernel.
    """
    plain = kernels.KERNELS[name]

    @wraps(plain.forward)
    def forward(array: Array | Sequence[Array], /, *others: Any, **settings: Any) -> Any:
        size = sum(x.size for x in array) if isinstance(array, Sequence) else array.size
        own = _load(name) if size >= _ENOUGH else None
        for kernel in (own, plain):
            result = NotImplemented if kernel is None else kernel.forward(array, *others, **settings)
            if result is not NotImplemented:
                return result[0], (kernel, result[1])
        return NotImplemented

    if plain.backward is None:
        return Kernel(forward)

    @wraps(plain.backward)
    def backward(g: Array, residuals: Any, inputs: Sequence[Any], needs: Sequence[bool], **settings: Any) -> Any:
        kernel, own = residuals
        return kernel.backward(g, own, inputs, needs, **settings)

    return Kernel(forward, backward)


@cache
def _load(name: str) -> Kernel | None:
    """The kernel in the file of that name; ``None``, with a warning, where numba cannot be loaded after all."""
    try:
        kernel = getattr(import_module(f"tinytorch_numpy.compiled.{name}"), name)
    except (ImportError, OSError) as error:  # it may have been built for another numpy
        warnings.warn(f"numba cannot be loaded, so numpy's own kernels run: {error}", RuntimeWarning, stacklevel=4)
        return None
    assert isinstance(kernel, Kernel)
    return kernel


#: By the operation's name, each in a file of that name.
KERNELS: Final = {name: _compiled(name) for name in ("adam", "dropout", "gelu", "layer_norm", "max_pool2d", "packed_attention")}
