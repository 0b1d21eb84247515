"""Functions that create Tensors.

``device`` is the name of a backend, a `Device` or ``None``. ``None`` selects the current backend; in a namespace from
``x.__array_namespace__()``, the device of x. Floating-point numbers default to float32, integers to the backend's default integer dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytorch.array_api.data_types import astype, dtype_name
from tinytorch.array_api.joining import stack
from tinytorch.array_api.manipulation import broadcast_to
from tinytorch.autograd.arguments import NotDifferentiableError, as_tensors, to_python_numbers
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import FunctionNode
from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.host import as_host_array, copied_dtype, has_own_dtype, is_host_array, is_host_scalar
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
    """Name of the default dtype of a number: numpy scalars keep their dtype, Python numbers get the default of their kind."""
    if is_host_scalar(value):
        return dtype_name(value.dtype)
    if isinstance(value, bool):
        return "bool"
    return backend.default_int if isinstance(value, int) else "complex64" if isinstance(value, complex) else "float32"


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor with the values of ``obj``.

    Args:
        obj: a number, nested lists of numbers or Tensors, a numpy array, an array of the backend's library, or a Tensor.
        dtype: defaults to the dtype of ``obj``. Lists of Python numbers get the default dtype of their kind; lists that contain numpy
            scalars or arrays get the dtype that numpy gives them.
        device: defaults to the current backend; for a Tensor, or a list that contains Tensors, to the device of the Tensor.
        copy: ``False`` forbids copying. Host arrays are always copied.

    Raises:
        ValueError: ``copy=False``, but a copy is needed.
        TypeError: ``obj`` is an array of another array library than the backend's.

    Example:
        >>> tt.asarray([[1, 2], [3, 4]], dtype=tt.float32).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    if isinstance(obj, Tensor):
        transferred = obj if device is None else to_device(obj, device)
        converted = transferred if dtype is None else astype(transferred, dtype, copy=False)
        if copy is False and converted is not obj:
            raise ValueError("asarray: a change of dtype or device requires a copy; use copy=None")
        return astype(converted, converted.dtype, copy=True) if copy and converted is obj else converted
    tensor = _find_tensor(obj)
    if tensor is not None and copy is not False:
        target = tensor.device if device is None else device
        return stack([asarray(part, dtype=dtype, device=target if _find_tensor(part) is None else device) for part in obj])
    backend = _backend(device)
    name = None if dtype is None else dtype_name(dtype)
    if not is_host_array(obj) and not is_host_scalar(obj) and hasattr(obj, "__dlpack__"):  # an array of some array library
        if not backend.owns(obj):
            kind = f"{type(obj).__module__}.{type(obj).__name__}"
            raise TypeError(f"asarray: {kind} is not an array of the backend {backend.spec}; pass the backend of this array as `device`")
        own = wrap(obj, backend)
        return astype(own, name or own.dtype, copy=copy is not False)
    if copy is False:
        raise ValueError("asarray: host data must be copied; use copy=None")
    host = as_host_array(obj)
    if name is None:
        python = {} if has_own_dtype(obj) else {"i": backend.default_int, "f": "float32", "c": "complex64"}
        name = python.get(host.dtype.kind) or copied_dtype(host, backend.capabilities.dtypes)
    return wrap(backend.from_host(host, name), backend)


def _find_tensor(obj: Any) -> Tensor | None:
    """The first Tensor in nested lists and tuples, or None."""
    if not isinstance(obj, list | tuple):
        return obj if isinstance(obj, Tensor) else None
    if not any(issubclass(kind, Tensor | list | tuple) for kind in set(map(type, obj))):  # fast path: lists of numbers may be long
        return None
    return next((found for found in map(_find_tensor, obj) if found is not None), None)


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Evenly spaced numbers from ``start`` (included) to ``stop`` (excluded); ``arange(n)`` starts at 0.

    The default dtype is the default integer dtype for integer arguments, otherwise float32.

    Example:
        >>> tt.arange(1, 7, 2)
        Tensor([1, 3, 5], dtype=int64, device='numpy:cpu')
    """
    backend = _backend(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = _to_python_numbers("arange", start, stop, step)
    all_integers = all(isinstance(value, int) for value in (start, stop, step))
    name = dtype_name(dtype) if dtype is not None else backend.default_int if all_integers else "float32"
    return wrap(backend.xp.arange(start, stop, step, dtype=backend.dtype(name)), backend)


def _to_python_numbers(name: str, *numbers: Any) -> list[Any]:
    """Convert 0-d Tensors and numpy scalars to Python numbers. Raises if a Tensor requires a gradient, which would be lost."""
    if is_grad_enabled() and any(isinstance(number, Tensor) and number.node is not None for number in numbers):
        raise NotDifferentiableError(f"{name} has no derivative; use .detach() on the Tensor, or pass Python numbers")
    return [number.item() if isinstance(number, Tensor) else to_python_numbers(number) for number in numbers]


def linspace(start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is included if ``endpoint`` is true.

    Example:
        >>> tt.linspace(0, 1, 5)
        Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32, device='numpy:cpu')
    """
    backend = _backend(device)
    start, stop = _to_python_numbers("linspace", start, stop)
    is_complex = isinstance(start, complex) or isinstance(stop, complex)
    name = dtype_name(dtype) if dtype is not None else "complex64" if is_complex else "float32"
    return wrap(backend.xp.linspace(start, stop, num, dtype=backend.dtype(name), endpoint=endpoint), backend)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor that shares the memory of another library's array, unless ``copy`` is true.

    Do not write to the other array afterwards. To import a Tensor that requires a gradient, pass ``x.detach()``.

    Raises:
        TypeError: ``x`` has no ``__dlpack__`` method.
        RuntimeError: ``x`` is a Tensor that requires a gradient.
        BufferError: the memory of ``x`` cannot be accessed by the backend.

    Example:
        >>> tt.from_dlpack(numpy.ones(2, numpy.float32))
        Tensor([1., 1.], dtype=float32, device='numpy:cpu')
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack requires an array with a __dlpack__ method, got {type(x).__name__}; use tinytorch.asarray")
    backend = _backend(device)
    source = _Exported(x.__dlpack__, x.__dlpack_device__)
    shared = wrap(backend.xp.from_dlpack(source), backend)
    return astype(shared, shared.dtype, copy=True) if copy else shared


@dataclass(frozen=True)
class _Exported:
    """The part of an array that ``from_dlpack`` functions use."""

    __dlpack__: Any
    __dlpack_device__: Any


def full(shape: Shape, fill_value: complex | Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor filled with ``fill_value``, which may be a 0-d Tensor.

    Example:
        >>> tt.full((2, 2), 7.0).tolist()
        [[7.0, 7.0], [7.0, 7.0]]
    """
    if isinstance(fill_value, Tensor):
        if fill_value.shape != ():
            raise TypeError(f"full: `fill_value` must be a number or a 0-d Tensor, got shape {fill_value.shape}; use broadcast_to")
        one = asarray(fill_value, dtype=dtype, device=device)
        shape = to_python_numbers(shape)
        return asarray(broadcast_to(one, (shape,) if isinstance(shape, int) else shape), copy=True)
    backend = _backend(device)
    name = _default(fill_value, backend) if dtype is None else dtype_name(dtype)
    return wrap(backend.xp.full(shape, to_python_numbers(fill_value), dtype=backend.dtype(name)), backend)


def _joined(name: str, shape: Shape, lengths: tuple[int, ...]) -> Shape:
    """The shape of ``zeros((2, 3))`` or ``zeros(2, 3)``."""
    if not lengths:
        return shape
    joined: tuple[Any, ...] = to_python_numbers((shape, *lengths))
    if not all(isinstance(n, int) for n in joined):
        raise TypeError(f"{name} expected a tuple or lengths, got {shape!r} and {lengths!r}; pass the dtype by name, as in dtype='float64'")
    return joined


def zeros(shape: Shape, *lengths: int, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of zeros; the dtype defaults to float32. The shape may also be passed one length at a time: ``zeros(2, 3)``.

    Example:
        >>> tt.zeros((2, 2)).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    backend = _backend(device)
    return wrap(backend.xp.zeros(_joined("zeros", shape, lengths), dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def ones(shape: Shape, *lengths: int, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of ones; the dtype defaults to float32. The shape may also be passed one length at a time: ``ones(2, 3)``.

    Example:
        >>> tt.ones((2, 2)).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    backend = _backend(device)
    return wrap(backend.xp.ones(_joined("ones", shape, lengths), dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def empty(shape: Shape, *lengths: int, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor with arbitrary values; the dtype defaults to float32. The shape may also be passed one length at a time: ``empty(2, 3)``.

    Example:
        >>> tt.empty((2, 3)).shape
        (2, 3)
    """
    backend = _backend(device)
    return wrap(backend.xp.empty(_joined("empty", shape, lengths), dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """A matrix with ones on diagonal ``k`` and zeros elsewhere.

    Example:
        >>> tt.eye(2, 3, k=1).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    backend = _backend(device)
    return wrap(backend.xp.eye(n_rows, n_cols, k=k, dtype=backend.dtype(dtype_name(dtype or "float32"))), backend)


def full_like(x: Tensor, /, fill_value: complex, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor filled with ``fill_value``; shape, dtype and device default to those of x.

    Example:
        >>> tt.full_like(tt.asarray([1.0, 2.0]), 7.0)
        Tensor([7., 7.], dtype=float32, device='numpy:cpu')
    """
    (x,) = as_tensors("full_like", x)
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of zeros; shape, dtype and device default to those of x.

    Example:
        >>> tt.zeros_like(tt.asarray([1.0, 2.0]))
        Tensor([0., 0.], dtype=float32, device='numpy:cpu')
    """
    (x,) = as_tensors("zeros_like", x)
    return zeros(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor of ones; shape, dtype and device default to those of x.

    Example:
        >>> tt.ones_like(tt.asarray([1.0, 2.0]))
        Tensor([1., 1.], dtype=float32, device='numpy:cpu')
    """
    (x,) = as_tensors("ones_like", x)
    return ones(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A Tensor with arbitrary values; shape, dtype and device default to those of x.

    Example:
        >>> tt.empty_like(tt.asarray([1.0, 2.0])).shape
        (2,)
    """
    (x,) = as_tensors("empty_like", x)
    return empty(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def to_device(x: Tensor, device: Any) -> Tensor:
    """x copied to another backend or device through host memory, as ``jax.device_put``; differentiable.

    Example:
        >>> tt.to_device(tt.asarray([1.0]), "numpy").device
        Device('numpy:cpu')
    """
    (x,) = as_tensors("to_device", x)
    target = get_backend(device)
    if target is x.backend:
        return x
    source, node = x.backend, None
    if x.node is not None and is_grad_enabled():
        # the gradient is transferred in the opposite direction
        node = FunctionNode(
            (x.node,), lambda g, needs, create_graph: (to_device(g, source) if create_graph else _transfer(g, target, source),)
        )
    return wrap(_transfer(x.raw, source, target), target, node)


def _transfer(raw: Any, source: Backend, target: Backend) -> Any:
    """Copy a raw array to another backend. The dtype is kept, also if the host has no such dtype (bfloat16)."""
    name = source.dtype_of(raw).name
    return target.from_host(source.to_host(raw), name if name in target.capabilities.dtypes else None)


#: The functions whose ``device`` a bound namespace sets by default; it wraps `asarray` separately.
CREATORS = (arange, empty, eye, from_dlpack, full, linspace, ones, zeros)
