"""Functions that make Tensors.

``device`` is a backend's name, a `Device` or ``None``: the chosen backend here, and the backend of the Tensor in a namespace that came
from ``x.__array_namespace__()``. Real numbers default to float32, whole ones to the backend's default integer type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytorch.array_api.data_types import astype, dtype_name
from tinytorch.array_api.manipulation import broadcast_to, stack
from tinytorch.autograd.arguments import NotDifferentiableError, to_python_numbers
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import FunctionNode
from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.host import as_host_array, has_own_dtype, is_host_array, is_host_scalar
from tinytorch.tensor import Tensor, wrap

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "to_device",
    "zeros",
    "zeros_like",
]

Shape = int | tuple[int, ...]


def _backend(device: Any) -> Backend:
    return current_backend() if device is None else get_backend(device)


def _default(value: Any, backend: Backend) -> str:
    """Name of the type that a number gets: numpy's have one of their own, Python's the default of their kind."""
    if is_host_scalar(value):
        return dtype_name(value.dtype)
    if isinstance(value, bool):
        return "bool"
    return backend.default_int if isinstance(value, int) else "complex64" if isinstance(value, complex) else "float32"


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor with the values of ``obj``: a number, nested lists of numbers, a numpy array, an array of some backend, or a Tensor.

    Lists of Python numbers get the default type of their kind, and those with scalars or arrays of numpy in them the type that numpy gives.
    A Tensor stays on its own device unless ``device`` names another, and Tensors in lists are stacked there. Host arrays are copied, so
    later changes to them do not show. Raises ``ValueError`` where ``copy=False`` forbids a copy that is needed.
    """
    if isinstance(obj, Tensor):
        moved = obj if device is None else to_device(obj, device)
        wanted = moved if dtype is None else astype(moved, dtype, copy=False)
        if copy is False and wanted is not obj:
            raise ValueError("asarray: a change of type or device needs a copy, and copy=False forbids one")
        return astype(wanted, wanted.dtype, copy=True) if copy and wanted is obj else wanted
    beside = _a_tensor_in(obj)
    if beside is not None and copy is not False:
        where = beside.device if device is None else device
        return stack([asarray(part, dtype=dtype, device=where if _a_tensor_in(part) is None else device) for part in obj])
    backend = _backend(device)
    name = None if dtype is None else dtype_name(dtype)
    if not is_host_array(obj) and not is_host_scalar(obj) and hasattr(obj, "__dlpack__"):  # what all array libraries have
        if not backend.owns(obj):
            raise TypeError(f"asarray: a {type(obj).__module__}.{type(obj).__name__} is not on {backend.spec}; pass its own device=")
        own = wrap(obj, backend)
        return astype(own, name or own.dtype, copy=copy is not False)
    if copy is False:
        raise ValueError("asarray: values from the host have to be copied, and copy=False forbids it")
    host = as_host_array(obj)
    if name is None and not has_own_dtype(obj):  # Python's numbers
        name = {"i": backend.default_int, "f": "float32", "c": "complex64"}.get(host.dtype.kind)
    return wrap(backend.from_host(host, name), backend)


def _a_tensor_in(obj: Any) -> Tensor | None:
    """Some Tensor among what lists and tuples hold."""
    if not isinstance(obj, list | tuple):
        return obj if isinstance(obj, Tensor) else None
    if not any(issubclass(kind, Tensor | list | tuple) for kind in set(map(type, obj))):  # quick, as lists of numbers are long
        return None
    return next((found for found in map(_a_tensor_in, obj) if found is not None), None)


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Numbers from ``start`` up to, not including, ``stop``; with one argument from 0 up to it."""
    backend = _backend(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = _python_numbers("arange", start, stop, step)
    whole = all(isinstance(value, int) for value in (start, stop, step))
    name = dtype_name(dtype) if dtype is not None else backend.default_int if whole else "float32"
    return wrap(backend.xp.arange(start, stop, step, dtype=backend.dtype(name)), backend)


def _python_numbers(name: str, *numbers: Any) -> list[Any]:
    """Python's numbers, read from 0-d Tensors and numpy's scalars; a Tensor that carries a gradient would lose it."""
    if is_grad_enabled() and any(isinstance(number, Tensor) and number.node is not None for number in numbers):
        raise NotDifferentiableError(f"{name} has no derivative; use .detach() on the number, or compute with {name} of plain numbers")
    return [number.item() if isinstance(number, Tensor) else to_python_numbers(number) for number in numbers]


def linspace(start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True) -> Tensor:
    """``num`` numbers in equal steps from ``start`` to ``stop``, the last left out unless ``endpoint``."""
    backend = _backend(device)
    start, stop = _python_numbers("linspace", start, stop)
    is_complex = isinstance(start, complex) or isinstance(stop, complex)
    name = dtype_name(dtype) if dtype is not None else "complex64" if is_complex else "float32"
    return wrap(backend.xp.linspace(start, stop, num, dtype=backend.dtype(name), endpoint=endpoint), backend)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor around another library's array, whose memory it shares unless ``copy`` is true: do not write into that array afterwards.

    A Tensor, as ``x``, gives up its gradient only by ``x.detach()``.

    Raises:
        TypeError: ``x`` does not speak the DLPack protocol.
        RuntimeError: ``x`` is a Tensor that carries a gradient.
        BufferError: the array does not lie where the backend's arrays do.
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack takes an array with __dlpack__, got {type(x).__name__}; use tinytorch.asarray")
    backend = _backend(device)
    source = _Exported(x.__dlpack__, x.__dlpack_device__)
    shared = wrap(backend.xp.from_dlpack(source), backend)
    return astype(shared, shared.dtype, copy=True) if copy else shared


@dataclass(frozen=True)
class _Exported:
    """What array libraries look at when they import an array."""

    __dlpack__: Any
    __dlpack_device__: Any


def full(shape: Shape, fill_value: complex | Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of one repeated value, which may be that of a Tensor of no dimensions."""
    if isinstance(fill_value, Tensor):
        if fill_value.shape != ():
            raise TypeError(f"full repeats one value, got a Tensor of shape {fill_value.shape}; use broadcast_to")
        one = asarray(fill_value, dtype=dtype, device=device)
        shape = to_python_numbers(shape)
        return asarray(broadcast_to(one, (shape,) if isinstance(shape, int) else shape), copy=True)
    backend = _backend(device)
    name = _default(fill_value, backend) if dtype is None else dtype_name(dtype)
    return wrap(backend.xp.full(shape, to_python_numbers(fill_value), dtype=backend.dtype(name)), backend)


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of zeros."""
    backend = _backend(device)
    return wrap(backend.xp.zeros(shape, dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of ones."""
    backend = _backend(device)
    return wrap(backend.xp.ones(shape, dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of arbitrary values."""
    backend = _backend(device)
    return wrap(backend.xp.empty(shape, dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """A matrix with ones on diagonal ``k`` and zeros elsewhere."""
    backend = _backend(device)
    return wrap(backend.xp.eye(n_rows, n_cols, k=k, dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def full_like(x: Tensor, /, fill_value: complex, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of one repeated value, by default with the shape, type and device of x."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros, by default with the shape, type and device of x."""
    return zeros(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones, by default with the shape, type and device of x."""
    return ones(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Arbitrary values, by default with the shape, type and device of x."""
    return empty(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def to_device(x: Tensor, device: Any) -> Tensor:
    """The same values on another backend or device; the one way from here to there, through host memory."""
    target = get_backend(device)
    if target is x.backend:
        return x
    source, node = x.backend, None
    if x.node is not None and is_grad_enabled():
        # the gradient is moved the other way
        node = FunctionNode(
            (x.node,), lambda g, needs, create_graph: (to_device(g, source) if create_graph else _carried(g, target, source),)
        )
    return wrap(_carried(x.raw, source, target), target, node)


def _carried(raw: Any, source: Backend, target: Backend) -> Any:
    """An array of one backend on another, of the same type also where the host lacks it (bfloat16)."""
    name = source.dtype_of(raw).name
    return target.from_host(source.to_host(raw), name if name in target.capabilities.dtypes else None)


#: The functions that take ``device`` and that a bound namespace gives its own, as it does with `asarray` in a way of its own.
CREATORS = (arange, empty, eye, from_dlpack, full, linspace, ones, zeros)
