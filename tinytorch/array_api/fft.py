"""The standard's Fourier transforms on Tensors.

``norm`` says which direction is divided by the number of points: ``"backward"`` the inverse, ``"forward"`` the other one, ``"ortho"`` both,
by its root. The matrix of a transform is symmetric, so that the gradient of a transform is the transform of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tinytorch.array_api.arithmetic import conj
from tinytorch.array_api.creation import arange
from tinytorch.array_api.manipulation import roll
from tinytorch.array_api.searching import where
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]

Norm = Literal["backward", "ortho", "forward"]
_SWAPPED: dict[str, Norm] = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _fitted(xp: Any, g: Any, axis: int, length: int) -> Any:
    """``g`` cut, or filled with zeros, to ``length`` along ``axis``: the reverse of what a transform of n points does to its input."""
    axis %= g.ndim
    key = tuple(slice(0, length) if i == axis else slice(None) for i in range(g.ndim))
    missing = length - g.shape[axis]
    if missing <= 0:
        return g[key]
    zeros = xp.zeros(tuple(missing if i == axis else n for i, n in enumerate(g.shape)), dtype=g.dtype)
    return xp.concat([g, zeros], axis=axis)


# ---- one dimension ----


@operation(saves=Saves.NOTHING)
def fft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """Discrete Fourier transform along ``axis``, of x cut or filled with zeros to ``n`` points."""
    return xp.fft.fft(x, n=n, axis=axis, norm=norm)


@operation(saves=Saves.NOTHING)
def ifft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """The inverse of `fft`."""
    return xp.fft.ifft(x, n=n, axis=axis, norm=norm)


fft.derivatives(
    x=lambda xp, g, out, x, n=None, axis=-1, norm="backward": _fitted(xp, xp.fft.fft(g, axis=axis, norm=norm), axis, x.shape[axis])
)
ifft.derivatives(
    x=lambda xp, g, out, x, n=None, axis=-1, norm="backward": _fitted(xp, xp.fft.ifft(g, axis=axis, norm=norm), axis, x.shape[axis])
)


@operation(saves=Saves.NOTHING)
def rfft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """`fft` of real numbers: its first ``n // 2 + 1`` values, which determine the others."""
    return xp.fft.rfft(x, n=n, axis=axis, norm=norm)


def _rfft_rule(xp: Any, g: Any, out: Any, x: Any, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Any:
    points = x.shape[axis] if n is None else n
    return _fitted(xp, xp.real(xp.fft.fft(g, n=points, axis=axis, norm=norm)), axis, x.shape[axis])


@operation(saves=Saves.NOTHING)
def irfft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """The inverse of `rfft`; ``n`` is the number of real points, ``2 * (m - 1)`` for m values of x where left out."""
    return xp.fft.irfft(x, n=n, axis=axis, norm=norm)


def _irfft_rule(xp: Any, g: Any, out: Any, x: Any, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Any:
    """Values that stand for their mirror image too count twice: all but the first, and the last of an even number of points."""
    points, axis = g.shape[axis], axis % g.ndim
    known = points // 2 + 1
    place = xp.reshape(xp.arange(known), tuple(-1 if i == axis else 1 for i in range(g.ndim)))
    once = (place == 0) | (2 * place == points)
    values = _fitted(xp, xp.fft.ifft(xp.astype(g, x.dtype), axis=axis, norm=norm), axis, known)
    return _fitted(xp, xp.where(once, values, 2 * values), axis, x.shape[axis])


rfft.derivatives(x=_rfft_rule)
irfft.derivatives(x=_irfft_rule)


def hfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """`fft` of values that mirror each other's conjugates, of which x holds the first half: real numbers, ``n`` of them."""
    return irfft(conj(x), n=n, axis=axis, norm=_swapped(norm))


def ihfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """The inverse of `hfft`, of real numbers."""
    return conj(rfft(x, n=n, axis=axis, norm=_swapped(norm)))


def _swapped(norm: Norm) -> Norm:
    if norm not in _SWAPPED:
        raise ValueError(f"norm must be 'backward', 'ortho' or 'forward', got {norm!r}")
    return _SWAPPED[norm]


# ---- several dimensions ----

Lengths = Sequence[int] | None
Axes = Sequence[int] | None


def _plan(x: Tensor, s: Lengths, axes: Axes) -> tuple[list[int], list[int]]:
    """Points along each axis that is transformed, and these axes; all of them, or the last that ``s`` names lengths for."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    lengths = [x.shape[axis] for axis in axes] if s is None else list(s)
    if len(lengths) != len(axes):
        raise ValueError(f"s and axes must be of one length, got {len(lengths)} and {len(axes)}")
    return lengths, list(axes)


def fftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """`fft` along several dimensions; ``s`` gives the points along each."""
    for n, axis in zip(*_plan(x, s, axes), strict=True):
        x = fft(x, n=n, axis=axis, norm=norm)
    return x


def ifftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """The inverse of `fftn`."""
    for n, axis in zip(*_plan(x, s, axes), strict=True):
        x = ifft(x, n=n, axis=axis, norm=norm)
    return x


def rfftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """`fftn` of real numbers: `rfft` along the last of the axes, `fft` along the others."""
    lengths, places = _plan(x, s, axes)
    x = rfft(x, n=lengths[-1], axis=places[-1], norm=norm)
    return fftn(x, s=lengths[:-1], axes=places[:-1], norm=norm)


def irfftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """The inverse of `rfftn`."""
    lengths, places = _plan(x, s, axes)
    x = ifftn(x, s=lengths[:-1], axes=places[:-1], norm=norm)
    return irfft(x, n=None if s is None else lengths[-1], axis=places[-1], norm=norm)


# ---- frequencies, and their order ----


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the n values of `fft`, in cycles for each unit of the spacing ``d``: 0 and up, then the negative ones."""
    k = arange(n, dtype=dtype or "float32", device=device)
    return where(k < (n + 1) // 2, k, k - n) / (n * d)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the values of `rfft` of n points."""
    return arange(n // 2 + 1, dtype=dtype or "float32", device=device) / (n * d)


def fftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 moved to the middle of each of ``axes``."""
    for axis in _places(x, axes):
        x = roll(x, x.shape[axis] // 2, axis=axis)
    return x


def ifftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of `fftshift`."""
    for axis in _places(x, axes):
        x = roll(x, -(x.shape[axis] // 2), axis=axis)
    return x


def _places(x: Tensor, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)


#: The functions that take ``device``.
CREATORS = (fftfreq, rfftfreq)
