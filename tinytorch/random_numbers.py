"""Random Tensors under PyTorch's names. The numbers come from the host generator that `tinytorch.seed` seeds, the same on every backend.

They are drawn when the function is called. In a training step that is compiled and replayed, use dropout layers, or pass random numbers as
part of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinytorch.array_api.data_types import dtype_name, finfo
from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.dtypes import DTYPES
from tinytorch.tensor import Tensor, wrap

if TYPE_CHECKING:
    from numpy.random import Generator

Size = int | Sequence[int]


def _generator() -> Generator:
    from tinytorch.ops import random  # loads numpy.random, which array code does not need

    return random.generator()


def _shape(name: str, size: Sequence[Any]) -> tuple[int, ...]:
    """The shape given as several integers, or as one tuple or list."""
    lengths = tuple(size[0]) if len(size) == 1 and isinstance(size[0], tuple | list) else tuple(size)
    try:
        shape = tuple(length.__index__() for length in lengths)
    except AttributeError:
        raise TypeError(f"{name} expected the shape as integers or as one tuple, got {tuple(size)}") from None
    if any(length < 0 for length in shape):
        raise ValueError(f"{name}: sizes must be at least 0, got {shape}")
    return shape


def _backend(device: Any) -> Backend:
    return current_backend() if device is None else get_backend(device)


def _floating(name: str, dtype: Any) -> str:
    chosen = dtype_name(dtype or "float32")
    if DTYPES[chosen].kind != "real floating":
        raise TypeError(f"{name}: `dtype` must be real floating-point, got {chosen}; use randint for integers")
    return chosen


def _created(values: Any, dtype: str, backend: Backend, requires_grad: bool = False) -> Tensor:
    tensor = wrap(backend.from_host(values, dtype), backend)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def rand(*size: Size, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1), as ``torch.rand``.

    Args:
        size: the shape, as integers or as one tuple.
        dtype: real floating-point; defaults to float32.
        device: defaults to the current backend.
        requires_grad: whether operations on the Tensor are recorded.

    Example:
        >>> tt.rand(2, 3).shape
        (2, 3)
    """
    name = _floating("rand", dtype)
    steps = 2.0 / finfo(name).eps  # the numbers are multiples of 1 / steps, so that none is rounded to 1
    values = _generator().random(_shape("rand", size)) * steps // 1 / steps
    return _created(values, name, _backend(device), requires_grad)


def randn(*size: Size, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Random numbers from the standard normal distribution, as ``torch.randn``.

    Args:
        size, dtype, device, requires_grad: as for `rand`.

    Example:
        >>> tt.randn((2, 3), dtype=tt.float64).dtype
        tinytorch.float64
    """
    name = _floating("randn", dtype)
    return _created(_generator().standard_normal(_shape("randn", size)), name, _backend(device), requires_grad)


def randint(low: int, high: int | Size | None = None, size: Size | None = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Uniform random integers from ``low`` to ``high - 1``, as ``torch.randint``: ``randint(low, high, size)`` or ``randint(high, size)``.

    Args:
        low: the smallest integer; 0 if it is omitted.
        high: one more than the largest integer.
        size: the shape.
        dtype: defaults to the default integer dtype.
        device: defaults to the current backend.

    Raises:
        TypeError: ``size`` is missing.
        ValueError: ``high`` is not greater than ``low``, or the dtype cannot represent the integers.

    Example:
        >>> tt.randint(10, (2, 3)).shape
        (2, 3)
        >>> bool(tt.all(tt.randint(3, 5, (100,)) >= 3))
        True
    """
    if size is None and isinstance(high, tuple | list):
        high, size = None, high
    if size is None:
        raise TypeError("randint: `size` is missing; write randint(low, high, size) or randint(high, size), with the shape as a tuple")
    first, end = (0, low) if high is None else (low, high)
    if not isinstance(end, int) or end <= first:
        raise ValueError(f"randint: `high` must be an integer greater than `low`={first}, got {end!r}")
    backend = _backend(device)
    name = dtype_name(dtype or backend.default_int)
    values = _generator().integers(first, end, _shape("randint", (size,)))
    if values.size and (values.astype(name).astype("int64") != values).any():
        raise ValueError(f"randint: {name} cannot represent all integers from {first} to {end - 1}; choose another `dtype`")
    return _created(values, name, backend)


def randperm(n: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers from 0 to ``n - 1`` in random order, as ``torch.randperm``.

    Args:
        n: number of integers.
        dtype: defaults to the default integer dtype.
        device: defaults to the current backend.

    Example:
        >>> tt.sort(tt.randperm(4)).tolist()
        [0, 1, 2, 3]
    """
    if n < 0:
        raise ValueError(f"randperm: `n` must be at least 0, got {n}")
    backend = _backend(device)
    return _created(_generator().permutation(n), dtype_name(dtype or backend.default_int), backend)


def multinomial(input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """Indices drawn with the given probabilities, as ``torch.multinomial``.

    The probabilities are copied to the host, where all random numbers outside of training steps are drawn.

    Args:
        input: probabilities (V), or (N, V) with a distribution for each row; they need not add up to 1.
        num_samples: number S of indices to draw from each distribution.
        replacement: whether an index may be drawn more than once.

    Returns:
        Integers (S), or (N, S), on the device of ``input``.

    Raises:
        ValueError: the probabilities are negative, not finite or all 0, or there are fewer of them that are not 0 than samples.

    Example:
        >>> tt.multinomial(tt.asarray([0.0, 1.0, 0.0]), num_samples=1)
        Tensor([1], dtype=int64, device='numpy:cpu')
    """
    if input.ndim not in (1, 2) or input.dtype.kind != "real floating":
        raise ValueError(f"multinomial: `input` must be floating-point (V) or (N, V), got {input.dtype.name} of shape {input.shape}")
    weights = input.backend.to_host(input.raw).astype("float64")
    rows = weights.reshape(-1, weights.shape[-1])
    if not ((rows >= 0) & (rows < float("inf"))).all() or not (rows.sum(axis=1) > 0).all():
        raise ValueError("multinomial: the probabilities of each row must be finite, at least 0, and not all 0; use tinytorch.softmax(x)")
    if num_samples < 1 or (not replacement and num_samples > (rows > 0).sum(axis=1).min(initial=num_samples)):
        raise ValueError(
            f"multinomial: `num_samples` must be at least 1 and, without replacement, at most the number of probabilities that are not 0, "
            f"got {num_samples}"
        )
    generator, length = _generator(), rows.shape[1]
    indices = weights[..., :1].astype("int64").repeat(num_samples, axis=-1)  # the shape and dtype of the result
    for row, place in zip(rows, indices.reshape(-1, num_samples), strict=True):
        place[:] = generator.choice(length, num_samples, replacement, row / row.sum())
    return _created(indices, input.backend.default_int, input.backend)
