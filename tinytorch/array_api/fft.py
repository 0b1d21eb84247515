"""The standard's Fourier transforms on Tensors.

``norm`` selects the normalization for n points: ``"backward"`` divides the inverse transform by n, ``"forward"`` divides the forward
transform by n, and ``"ortho"`` divides both by sqrt(n). The matrix of a transform is symmetric, so the gradient of a transform is the
transform of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tinytorch.array_api.complex_numbers import conj
from tinytorch.array_api.creation import arange
from tinytorch.array_api.manipulation import roll
from tinytorch.array_api.searching import where
from tinytorch.autograd.keywords import accept_dim
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
_OPPOSITE: dict[str, Norm] = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _crop_or_pad(xp: Any, g: Any, axis: int, length: int) -> Any:
    """``g`` cropped or zero-padded to ``length`` along ``axis``: the adjoint of cropping or padding the input to n points."""
    axis %= g.ndim
    key = tuple(slice(0, length) if i == axis else slice(None) for i in range(g.ndim))
    padding = length - g.shape[axis]
    if padding <= 0:
        return g[key]
    zeros = xp.zeros(tuple(padding if i == axis else n for i, n in enumerate(g.shape)), dtype=g.dtype)
    return xp.concat([g, zeros], axis=axis)


# ---- one axis ----


@operation(saves=Saves.NOTHING)
def fft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """Discrete Fourier transform along ``axis``; x is first cropped or zero-padded to ``n`` points.

    Example:
        >>> tt.fft.fft(tt.asarray([1 + 0j, 0, 0, 0]))
        Tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64, device='numpy:cpu')
    """
    return xp.fft.fft(x, n=n, axis=axis, norm=norm)


@operation(saves=Saves.NOTHING)
def ifft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """Inverse of `fft`.

    Example:
        >>> tt.fft.ifft(tt.asarray([4 + 0j, 0, 0, 0]))
        Tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64, device='numpy:cpu')
    """
    return xp.fft.ifft(x, n=n, axis=axis, norm=norm)


fft.derivatives(
    x=lambda xp, g, out, x, n=None, axis=-1, norm="backward": _crop_or_pad(xp, xp.fft.fft(g, axis=axis, norm=norm), axis, x.shape[axis])
)
ifft.derivatives(
    x=lambda xp, g, out, x, n=None, axis=-1, norm="backward": _crop_or_pad(xp, xp.fft.ifft(g, axis=axis, norm=norm), axis, x.shape[axis])
)


@operation(saves=Saves.NOTHING)
def rfft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """`fft` of real input: the first ``n // 2 + 1`` values, which determine the others by symmetry.

    Example:
        >>> tt.fft.rfft(tt.asarray([1.0, 0.0, 0.0, 0.0]))
        Tensor([1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64, device='numpy:cpu')
    """
    return xp.fft.rfft(x, n=n, axis=axis, norm=norm)


def _rfft_rule(xp: Any, g: Any, out: Any, x: Any, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Any:
    points = x.shape[axis] if n is None else n
    return _crop_or_pad(xp, xp.real(xp.fft.fft(g, n=points, axis=axis, norm=norm)), axis, x.shape[axis])


@operation(saves=Saves.NOTHING)
def irfft(xp: Any, x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """Inverse of `rfft`. ``n`` is the number of real output points and defaults to ``2 * (m - 1)`` for m input values.

    Example:
        >>> tt.fft.irfft(tt.asarray([4 + 0j, 0, 0]))
        Tensor([1., 1., 1., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.fft.irfft(x, n=n, axis=axis, norm=norm)


def _irfft_rule(xp: Any, g: Any, out: Any, x: Any, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Any:
    """The first value, and the last one if n is even, count once. All others also stand for their complex conjugate: they count twice."""
    points, axis = g.shape[axis], axis % g.ndim
    count = points // 2 + 1
    position = xp.reshape(xp.arange(count), tuple(-1 if i == axis else 1 for i in range(g.ndim)))
    once = (position == 0) | (2 * position == points)
    values = _crop_or_pad(xp, xp.fft.ifft(xp.astype(g, x.dtype), axis=axis, norm=norm), axis, count)
    return _crop_or_pad(xp, xp.where(once, values, 2 * values), axis, x.shape[axis])


rfft.derivatives(x=_rfft_rule)
irfft.derivatives(x=_irfft_rule)


def hfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """`fft` of a signal with Hermitian symmetry, given by its first half; the ``n`` output values are real.

    Example:
        >>> tt.fft.hfft(tt.asarray([1 + 0j, 0, 0]))
        Tensor([1., 1., 1., 1.], dtype=float32, device='numpy:cpu')
    """
    return irfft(conj(x), n=n, axis=axis, norm=_opposite(norm))


def ihfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
    """Inverse of `hfft`; the input is real.

    Example:
        >>> tt.fft.ihfft(tt.asarray([4.0, 0.0, 0.0, 0.0]))
        Tensor([1.-0.j, 1.-0.j, 1.-0.j], dtype=complex64, device='numpy:cpu')
    """
    return conj(rfft(x, n=n, axis=axis, norm=_opposite(norm)))


def _opposite(norm: Norm) -> Norm:
    if norm not in _OPPOSITE:
        raise ValueError(f"`norm` must be 'backward', 'ortho' or 'forward', got {norm!r}")
    return _OPPOSITE[norm]


# ---- several axes ----

Lengths = Sequence[int] | None
Axes = Sequence[int] | None


def _plan(x: Tensor, s: Lengths, axes: Axes) -> tuple[list[int], list[int]]:
    """The number of points and the index of each transformed axis: all axes, or the last ``len(s)``, if ``axes`` is None."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    lengths = [x.shape[axis] for axis in axes] if s is None else list(s)
    if len(lengths) != len(axes):
        raise ValueError(f"`s` and `axes` must have the same length, got {len(lengths)} and {len(axes)}")
    return lengths, list(axes)


def fftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """`fft` over several axes; ``s`` is the number of points along each.

    Example:
        >>> tt.real(tt.fft.fftn(tt.ones((2, 2), dtype=tt.complex64))).tolist()
        [[4.0, 0.0], [0.0, 0.0]]
    """
    for n, axis in zip(*_plan(x, s, axes), strict=True):
        x = fft(x, n=n, axis=axis, norm=norm)
    return x


def ifftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """Inverse of `fftn`.

    Example:
        >>> tt.real(tt.fft.ifftn(tt.ones((2, 2), dtype=tt.complex64))).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    for n, axis in zip(*_plan(x, s, axes), strict=True):
        x = ifft(x, n=n, axis=axis, norm=norm)
    return x


def rfftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """`fftn` of real input: `rfft` over the last of the axes, `fft` over the others.

    Example:
        >>> tt.fft.rfftn(tt.ones((4, 4))).shape
        (4, 3)
    """
    lengths, axes_list = _plan(x, s, axes)
    x = rfft(x, n=lengths[-1], axis=axes_list[-1], norm=norm)
    return fftn(x, s=lengths[:-1], axes=axes_list[:-1], norm=norm)


def irfftn(x: Tensor, /, *, s: Lengths = None, axes: Axes = None, norm: Norm = "backward") -> Tensor:
    """Inverse of `rfftn`.

    Example:
        >>> tt.fft.irfftn(tt.fft.rfftn(tt.ones((4, 4)))).shape
        (4, 4)
    """
    lengths, axes_list = _plan(x, s, axes)
    x = ifftn(x, s=lengths[:-1], axes=axes_list[:-1], norm=norm)
    return irfft(x, n=None if s is None else lengths[-1], axis=axes_list[-1], norm=norm)


# ---- frequencies ----


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """Frequencies of the n values of `fft` for the sample spacing ``d``: 0, the positive ones, then the negative ones.

    Example:
        >>> tt.fft.fftfreq(4)
        Tensor([ 0.  ,  0.25, -0.5 , -0.25], dtype=float32, device='numpy:cpu')
    """
    k = arange(n, dtype=dtype or "float32", device=device)
    return where(k < (n + 1) // 2, k, k - n) / (n * d)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """Frequencies of the values of `rfft` of n points for the sample spacing ``d``.

    Example:
        >>> tt.fft.rfftfreq(4)
        Tensor([0.  , 0.25, 0.5 ], dtype=float32, device='numpy:cpu')
    """
    return arange(n // 2 + 1, dtype=dtype or "float32", device=device) / (n * d)


def fftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """x with the zero frequency moved to the center of ``axes`` (default: all axes).

    Example:
        >>> tt.fft.fftshift(tt.fft.fftfreq(4))
        Tensor([-0.5 , -0.25,  0.  ,  0.25], dtype=float32, device='numpy:cpu')
    """
    for axis in _axes_or_all(x, axes):
        x = roll(x, x.shape[axis] // 2, axis=axis)
    return x


def ifftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """Inverse of `fftshift`.

    Example:
        >>> tt.fft.ifftshift(tt.asarray([-2, -1, 0, 1]))
        Tensor([ 0,  1, -2, -1], dtype=int64, device='numpy:cpu')
    """
    for axis in _axes_or_all(x, axes):
        x = roll(x, -(x.shape[axis] // 2), axis=axis)
    return x


def _axes_or_all(x: Tensor, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)


#: The functions with a ``device`` argument.
CREATORS = (fftfreq, rfftfreq)


accept_dim(globals(), __all__)
