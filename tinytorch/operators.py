"""Python's operators on a Tensor: each is the function of the standard that it stands for, looked up in the Tensor's own namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinytorch.autograd.graph import Node, Owner, is_recording
from tinytorch.backend.errors import BackendMismatchError
from tinytorch.backend.host import is_host_scalar

if TYPE_CHECKING:
    from tinytorch.backend import Backend
    from tinytorch.tensor import Tensor


class Operators:
    """The arithmetic, comparison, in-place and indexing operators that `Tensor` inherits.

    In-place operators and ``x[i] = v`` give the Tensor a new value; the old array, which someone may hold, is not written.
    """

    __slots__ = ()

    if TYPE_CHECKING:  # what Tensor adds
        backend: Backend
        raw: Any
        node: Node | None
        dtype: Any

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def ndim(self) -> int: ...

    # numpy hands `ndarray * Tensor` over to __rmul__ below instead of looping over the elements
    __array_ufunc__ = None

    # the commonest operand is recognised before _known is asked: its call would be a tenth of what a small addition costs

    def __add__(self, other: Any) -> Tensor:
        return self.backend.namespace.add(self, other) if type(other) is type(self) or _known("+", self, other) else NotImplemented

    def __radd__(self, other: Any) -> Tensor:
        return self.backend.namespace.add(other, self) if type(other) is type(self) or _known("+", self, other) else NotImplemented

    def __iadd__(self, other: Any) -> Tensor:
        return _rebind(self, self + other, "+=")

    def __sub__(self, other: Any) -> Tensor:
        return self.backend.namespace.subtract(self, other) if type(other) is type(self) or _known("-", self, other) else NotImplemented

    def __rsub__(self, other: Any) -> Tensor:
        return self.backend.namespace.subtract(other, self) if type(other) is type(self) or _known("-", self, other) else NotImplemented

    def __isub__(self, other: Any) -> Tensor:
        return _rebind(self, self - other, "-=")

    def __mul__(self, other: Any) -> Tensor:
        return self.backend.namespace.multiply(self, other) if type(other) is type(self) or _known("*", self, other) else NotImplemented

    def __rmul__(self, other: Any) -> Tensor:
        return self.backend.namespace.multiply(other, self) if type(other) is type(self) or _known("*", self, other) else NotImplemented

    def __imul__(self, other: Any) -> Tensor:
        return _rebind(self, self * other, "*=")

    def __truediv__(self, other: Any) -> Tensor:
        return self.backend.namespace.divide(self, other) if type(other) is type(self) or _known("/", self, other) else NotImplemented

    def __rtruediv__(self, other: Any) -> Tensor:
        return self.backend.namespace.divide(other, self) if type(other) is type(self) or _known("/", self, other) else NotImplemented

    def __itruediv__(self, other: Any) -> Tensor:
        return _rebind(self, self / other, "/=")

    def __floordiv__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.floor_divide(self, other) if type(other) is type(self) or _known("//", self, other) else NotImplemented
        )

    def __rfloordiv__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.floor_divide(other, self) if type(other) is type(self) or _known("//", self, other) else NotImplemented
        )

    def __ifloordiv__(self, other: Any) -> Tensor:
        return _rebind(self, self // other, "//=")

    def __mod__(self, other: Any) -> Tensor:
        return self.backend.namespace.remainder(self, other) if type(other) is type(self) or _known("%", self, other) else NotImplemented

    def __rmod__(self, other: Any) -> Tensor:
        return self.backend.namespace.remainder(other, self) if type(other) is type(self) or _known("%", self, other) else NotImplemented

    def __imod__(self, other: Any) -> Tensor:
        return _rebind(self, self % other, "%=")

    def __pow__(self, other: Any) -> Tensor:
        return self.backend.namespace.pow(self, other) if type(other) is type(self) or _known("**", self, other) else NotImplemented

    def __rpow__(self, other: Any) -> Tensor:
        return self.backend.namespace.pow(other, self) if type(other) is type(self) or _known("**", self, other) else NotImplemented

    def __ipow__(self, other: Any) -> Tensor:
        return _rebind(self, self**other, "**=")

    def __matmul__(self, other: Any) -> Tensor:
        return self.backend.namespace.matmul(self, other) if type(other) is type(self) or _known("@", self, other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Tensor:
        return self.backend.namespace.matmul(other, self) if type(other) is type(self) or _known("@", self, other) else NotImplemented

    def __imatmul__(self, other: Any) -> Tensor:
        return _rebind(self, self @ other, "@=")

    def __and__(self, other: Any) -> Tensor:
        return self._logic("and", "&", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return self._logic("and", "&", other, self)

    def __iand__(self, other: Any) -> Tensor:
        return _rebind(self, self & other, "&=")

    def __or__(self, other: Any) -> Tensor:
        return self._logic("or", "|", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return self._logic("or", "|", other, self)

    def __ior__(self, other: Any) -> Tensor:
        return _rebind(self, self | other, "|=")

    def __xor__(self, other: Any) -> Tensor:
        return self._logic("xor", "^", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return self._logic("xor", "^", other, self)

    def __ixor__(self, other: Any) -> Tensor:
        return _rebind(self, self ^ other, "^=")

    def _logic(self, name: str, symbol: str, left: Any, right: Any) -> Tensor:
        known = _known(symbol, self, right if left is self else left)
        return getattr(self.backend.namespace, f"bitwise_{name}")(left, right) if known else NotImplemented

    def __lshift__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.bitwise_left_shift(self, other)
            if type(other) is type(self) or _known("<<", self, other)
            else NotImplemented
        )

    def __rlshift__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.bitwise_left_shift(other, self)
            if type(other) is type(self) or _known("<<", self, other)
            else NotImplemented
        )

    def __ilshift__(self, other: Any) -> Tensor:
        return _rebind(self, self << other, "<<=")

    def __rshift__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.bitwise_right_shift(self, other)
            if type(other) is type(self) or _known(">>", self, other)
            else NotImplemented
        )

    def __rrshift__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.bitwise_right_shift(other, self)
            if type(other) is type(self) or _known(">>", self, other)
            else NotImplemented
        )

    def __irshift__(self, other: Any) -> Tensor:
        return _rebind(self, self >> other, ">>=")

    def __neg__(self) -> Tensor:
        return self.backend.namespace.negative(self)

    def __pos__(self) -> Tensor:
        return self.backend.namespace.positive(self)

    def __abs__(self) -> Tensor:
        return self.backend.namespace.abs(self)

    def __invert__(self) -> Tensor:
        return self.backend.namespace.bitwise_invert(self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]  # the standard's == compares element by element
        return self.backend.namespace.equal(self, other) if type(other) is type(self) or _known("==", self, other) else NotImplemented

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.backend.namespace.not_equal(self, other) if type(other) is type(self) or _known("!=", self, other) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return self.backend.namespace.less(self, other) if type(other) is type(self) or _known("<", self, other) else NotImplemented

    def __le__(self, other: Any) -> Tensor:
        return self.backend.namespace.less_equal(self, other) if type(other) is type(self) or _known("<=", self, other) else NotImplemented

    def __gt__(self, other: Any) -> Tensor:
        return self.backend.namespace.greater(self, other) if type(other) is type(self) or _known(">", self, other) else NotImplemented

    def __ge__(self, other: Any) -> Tensor:
        return (
            self.backend.namespace.greater_equal(self, other) if type(other) is type(self) or _known(">=", self, other) else NotImplemented
        )

    __hash__ = object.__hash__  # by identity, since == is not a truth value

    def __getitem__(self, key: Any) -> Tensor:
        return self.backend.namespace.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _rebind(self, self.backend.namespace.setitem(self, key, value), "x[...] =")

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a Tensor of no dimensions cannot be iterated over; use .item() for its number")
        return (self[i, ...] for i in range(self.shape[0]))


_OPERANDS = (Operators, int, float, complex)  # bool is an int


def _known(symbol: str, tensor: Operators, other: object) -> bool:
    """Whether ``other`` can be the second operand; arrays that are not Tensors raise, since nothing crosses by itself."""
    if isinstance(other, _OPERANDS) or is_host_scalar(other):
        return True
    if hasattr(other, "__array__") or hasattr(other, "__array_namespace__"):
        raise BackendMismatchError(
            f"{symbol}: a Tensor on {tensor.backend.spec} cannot be combined with a {type(other).__module__}.{type(other).__name__}; "
            f"convert it first with tinytorch.asarray(x, device=tensor.device)"
        )
    return False


def _rebind(tensor: Any, new: Any, symbol: str) -> Tensor:
    """Give ``tensor`` the value and the node of ``new``."""
    if new.shape != tensor.shape or new.dtype is not tensor.dtype:
        raise TypeError(
            f"{symbol} would turn {tuple(tensor.shape)} {tensor.dtype.name} into {tuple(new.shape)} {new.dtype.name}; "
            f"in-place operators keep shape and type, so write x = x ... instead"
        )
    if isinstance(tensor.node, Owner):
        if is_recording():
            raise RuntimeError(
                f"{symbol} on a Tensor that requires a gradient would lose the place where the gradient belongs; "
                f"update it inside `with tinytorch.no_grad():`, or write x = x ... instead"
            )
        new.node = tensor.node  # an update by hand: the new value is where the next gradient ends
    tensor.raw, tensor.node = new.raw, new.node
    return tensor
