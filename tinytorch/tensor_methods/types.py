"""Conversions to another dtype, device or Tensor."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Self

from tinytorch.backend import DType
from tinytorch.tensor_methods.attributes import Attributes

if TYPE_CHECKING:
    from tinytorch.tensor import Tensor


class Types(Attributes):
    """Methods that convert the dtype, or move or copy a Tensor. All are differentiable."""

    __slots__ = ()

    def astype(self, dtype: Any, /, *, copy: builtins.bool = True) -> Tensor:
        """x converted to ``dtype``; ``copy=False`` returns x itself if the dtype does not change."""
        return self.backend.namespace.astype(self, dtype, copy=copy)  # type: ignore[no-any-return]

    def type_as(self, other: Tensor) -> Tensor:
        """x converted to the dtype of ``other``."""
        return self._convert(other.dtype)

    def float(self) -> Tensor:
        """x as float32."""
        return self._convert("float32")

    def double(self) -> Tensor:
        """x as float64."""
        return self._convert("float64")

    def half(self) -> Tensor:
        """x as float16."""
        return self._convert("float16")

    def bfloat16(self) -> Tensor:
        """x as bfloat16."""
        return self._convert("bfloat16")

    def long(self) -> Tensor:
        """x as int64."""
        return self._convert("int64")

    def int(self) -> Tensor:
        """x as int32."""
        return self._convert("int32")

    def bool(self) -> Tensor:
        """x as bool: whether each element is not 0."""
        return self._convert("bool")

    def _convert(self, dtype: Any) -> Tensor:
        return self.backend.namespace.astype(self, dtype, copy=False)  # type: ignore[no-any-return]

    def to(self, target: Any = None, dtype: Any = None, *, device: Any = None) -> Tensor:
        """Move to another backend or device, or convert the dtype, or both; returns x itself if nothing changes. Differentiable.

        Args:
            target: a dtype, the name of a backend (``"cupy"``), a `Device`, a Tensor whose device and dtype to take, or ``"cpu"``: a Tensor
                that is on the host already is returned.
            dtype: dtype.
            device: may be passed by name instead of ``target``.

        Raises:
            BackendError: the backend is unknown or cannot run, or ``target`` is ``"cpu"`` and x is not on the host.
        """
        if target is None:
            target = device
        elif device is not None:
            raise TypeError("to: `target` and `device` are the same argument; pass one of them")
        if isinstance(target, Attributes):
            target, dtype = target.device, target.dtype if dtype is None else dtype
        elif isinstance(target, DType):
            target, dtype = None, target
        x: Any = self._convert(dtype) if dtype is not None else self
        if target is None or (target == "cpu" and self.backend.capabilities.host):
            return x  # type: ignore[no-any-return]
        return self.backend.namespace.to_device(x, target)  # type: ignore[no-any-return]

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """`to` under the name that the standard gives it."""
        if stream is not None:
            raise ValueError("`stream` is not supported; leave stream=None")
        return self.to(device)

    def cpu(self) -> Tensor:
        """x itself if it is on the host. Raises on another device; write ``x.to("numpy")`` there."""
        return self.to("cpu")

    def clone(self) -> Tensor:
        """A copy, which keeps the gradient."""
        return self.backend.namespace.asarray(self, copy=True)  # type: ignore[no-any-return]

    copy = clone

    def contiguous(self) -> Self:
        """x itself: the layout in memory has no meaning here."""
        return self
