"""Host input of transformations: NumPy arrays, Python floats and complex numbers in place of Tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinytorch.autograd.arguments import from_host
from tinytorch.autograd.pytrees import list_leaves, map_leaves
from tinytorch.backend import Backend, current_backend
from tinytorch.backend.errors import reject_host_input
from tinytorch.backend.host import as_host_array, is_host_operand, is_host_scalar
from tinytorch.tensor import Tensor, wrap


def tensors_from_host(name: str, args: Sequence[Any], positions: Sequence[int]) -> list[Any]:
    """The arguments of a differentiated function, with host input at ``positions`` as Tensors.

    They are created on the backend of the first Tensor, or else on the current backend. A NumPy array keeps its dtype; a Python number gets
    the precision of the first floating-point argument, or else 32 bits.

    Raises:
        BackendMismatchError: there is host input, but the backend is not on the host.
    """
    converted = list(args)
    selected = [list_leaves(args[position]) for position in positions]
    if not any(_is_host_input(leaf) for leaves in selected for leaf in leaves):
        return converted
    every = list_leaves(tuple(args))
    backend = next((leaf.backend for leaf in every if isinstance(leaf, Tensor)), None) or current_backend()
    bits = next((_bits(leaf) for leaf in every if _bits(leaf)), 32)
    for position in positions:
        converted[position] = map_leaves(_converter(name, backend, bits), args[position])
    return converted


def tensor_from_host(name: str, value: Any, like: Tensor) -> Tensor:
    """Host input in place of a Tensor such as ``like``: a tangent or a cotangent."""
    tensor: Tensor = _converter(name, like.backend, 8 * like.dtype.itemsize // (2 if like.dtype.kind == "complex floating" else 1))(value)
    return tensor


def _converter(name: str, backend: Backend, bits: int) -> Callable[[Any], Any]:
    """A function that converts a leaf to a Tensor if it is host input."""

    def convert(leaf: Any) -> Any:
        if not _is_host_input(leaf):
            return leaf
        if is_host_operand(leaf):
            return wrap(from_host(name, backend, leaf), backend)
        if not backend.capabilities.host:
            reject_host_input(name, leaf, backend.spec)
        dtype = leaf.dtype.name if is_host_scalar(leaf) else f"complex{2 * max(bits, 32)}" if isinstance(leaf, complex) else f"float{bits}"
        return wrap(backend.from_host(as_host_array(leaf), dtype), backend)

    return convert


def _is_host_input(leaf: object) -> bool:
    """Whether a leaf is host input. Integers are not: they are often settings, and have no gradient."""
    return is_host_operand(leaf) or isinstance(leaf, float | complex) or (is_host_scalar(leaf) and _bits(leaf) > 0)


def _bits(leaf: Any) -> int:
    """Bits of the real and of the imaginary part of a floating-point Tensor or array; 0 for other values, bfloat16 included."""
    name = getattr(getattr(leaf, "dtype", None), "name", "")
    digits = name.removeprefix("float").removeprefix("complex")
    return int(digits) // (2 if name.startswith("complex") else 1) if digits != name and digits.isdigit() else 0
