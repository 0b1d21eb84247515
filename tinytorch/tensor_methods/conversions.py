"""Conversions of a Tensor to host data: numpy arrays, Python numbers, text, pickles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from tinytorch.autograd.graph import AccumulateGrad
from tinytorch.backend import get_backend
from tinytorch.tensor_methods.attributes import Attributes
from tinytorch.tensor_methods.numpy_functions import call_numpy_function, call_ufunc

if TYPE_CHECKING:
    from numpy import ndarray

N = TypeVar("N")


def _conversion(python_type: Callable[[Any], N]) -> Callable[[Any], N]:
    def convert(self: Any) -> N:
        return python_type(self._only_element(f"{python_type.__name__}()"))

    return convert


class Conversions(Attributes):
    """Methods that copy values to the host."""

    __slots__ = ()

    def numpy(self) -> ndarray:
        """Copy the values to a NumPy array; raises ``RuntimeError`` if the Tensor requires a gradient."""
        if self.node is not None:
            raise RuntimeError("x.numpy() would lose the gradient of x; write x.detach().numpy()")
        return self.backend.to_host(self.raw).copy()

    def item(self) -> Any:
        """The only element, as a Python number; raises ``ValueError`` if there is not exactly one."""
        if self.numel() != 1:
            raise ValueError(f".item() expected a Tensor with one element, got shape {self.shape}")
        return self.backend.to_host(self.raw).item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.backend.to_host(self.raw).tolist()

    # ---- Python numbers and text ----

    __bool__ = _conversion(bool)
    __int__ = _conversion(int)
    __float__ = _conversion(float)
    __complex__ = _conversion(complex)

    def __index__(self) -> int:
        if self.dtype.kind not in ("signed integer", "unsigned integer"):
            raise TypeError(f"an index must have an integer dtype, got {self.dtype.name}")
        return int(self._only_element("an index"))

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(self._only_element("round()", "; use x.round() for all elements"), ndigits)

    def __format__(self, spec: str) -> str:
        """Format a Tensor with one element as a number: ``f"{loss:.3f}"``."""
        if not spec and self.ndim > 0:
            return str(self)
        return format(self._only_element(f"the format {spec!r}", "; format x.tolist() or each element"), spec)

    def _only_element(self, reader: str, hint: str = "; reduce it, or use an index") -> Any:
        if self.numel() != 1:
            raise TypeError(f"{reader} expected a Tensor with one element, got shape {self.shape}{hint}")
        return self.item()

    def __repr__(self) -> str:
        values = repr(self.backend.to_host(self.raw)).removeprefix("array(").removesuffix(")")
        values = re.sub(r",\s+(shape=\([\d, ]*\),\s+)?dtype=\w+$", "", values).replace("\n      ", "\n       ")
        grad = ", requires_grad=True" if self.node is not None else ""
        return f"Tensor({values}, dtype={self.dtype.name}, device={self.backend.spec!r}{grad})"

    # ---- numpy and other array libraries ----

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        """Allow NumPy to read a Tensor on the host; raises if it is on another device or requires a gradient."""
        if self.node is not None:
            raise RuntimeError(
                "a Tensor that requires a gradient was passed to numpy, or to a library that uses numpy such as matplotlib, which would "
                "lose the gradient; pass x.detach() instead of x, as in plt.plot(x.detach())"
            )
        if not self.backend.capabilities.host:
            raise TypeError(f"a Tensor on {self.backend.spec} is not converted to NumPy implicitly; use .detach().numpy()")
        array = self.backend.to_host(self.raw)
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError(f"converting {array.dtype} to {dtype} needs a copy, which copy=False forbids")
        return array.copy().astype(dtype or array.dtype, copy=False) if copy or dtype is not None else array

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """``numpy.sum(x)``: runs on the values, if x is on the host and requires no gradient."""
        return call_numpy_function(function, args, kwargs)

    def __array_ufunc__(self, ufunc: Callable[..., Any], method: str, *inputs: Any, **kwargs: Any) -> Any:
        """``numpy.exp(x)``: as `__array_function__`; ``array * x`` calls the operator of the Tensor."""
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
        """Export to another library, which shares the memory and must not write into it. Raises if the Tensor requires a gradient."""
        if self.node is not None:
            raise RuntimeError("conversion to another library would lose the gradient of this Tensor; use x.detach()")
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.backend.xp.asarray(self.raw).__dlpack__(**{name: value for name, value in given.items() if value is not None})

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Device type and device id of the DLPack protocol."""
        return self.backend.xp.asarray(self.raw).__dlpack_device__()  # type: ignore[no-any-return]

    # ---- copies and pickles, with values, dtype, device and ``requires_grad``, without ``.grad`` ----

    def __copy__(self) -> Self:
        if self._is_computed():
            self._reject_copy("copy.copy(x)")
        return self._copied()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if self._is_computed():
            self._reject_copy("copy.deepcopy(x)")
        return self._copied()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._is_computed():
            raise RuntimeError("pickling x would lose its gradient, since x is the result of a recorded operation; pickle x.detach()")
        return _unpickle, (type(self), self.backend.to_host(self.raw), self.backend.spec, self.node is not None)

    def _copied(self) -> Self:
        rebuild, arguments = self.__reduce__()
        return rebuild(*arguments)  # type: ignore[no-any-return]

    def _is_computed(self) -> bool:
        """Whether x is the result of a recorded operation."""
        return self.node is not None and not isinstance(self.node, AccumulateGrad)

    def _reject_copy(self, call: str) -> NoReturn:
        detached = call.replace("(x)", "(x.detach())")
        raise RuntimeError(
            f"{call} would lose the gradient of x, which is the result of a recorded operation; write x.clone() to keep it, or {detached}"
        )


def _unpickle(cls: type[Any], array: ndarray, spec: str, requires_grad: bool) -> Any:
    """Reconstruct a pickled Tensor."""
    backend = get_backend(spec)
    tensor: Any = object.__new__(cls)
    tensor.raw, tensor.backend, tensor.node, tensor._grad = backend.from_host(array), backend, None, None
    tensor.requires_grad = requires_grad
    return tensor
