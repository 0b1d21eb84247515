"""Mixed precision: the dtype of computation, while parameters stay float32 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tinytorch.array_api import astype
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.nn.binding import bind
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor

#: ``tf32`` is float32, but matmuls round their inputs to 10 bits of mantissa.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


class Precision:
    """The precision of computation on one backend.

    Args:
        name: one of `PRECISIONS`.
        backend: the backend of the model.

    Attributes:
        casts: whether parameters are cast to a 16-bit dtype.
        scaled: whether gradients need loss scaling, because small ones underflow in float16.

    Raises:
        InputError: ``name`` is unknown, or the backend does not support the precision.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> with nn.Precision("float32", model.weight.backend).applied(model):
        ...     print(model(tt.ones((1, 2))).dtype.name)
        float32
    """

    def __init__(self, name: str, backend: Backend) -> None:
        check_precision(name)
        lacks = backend.lacks_precision(name)
        if lacks is not None:
            supported = [other for other in PRECISIONS if backend.lacks_precision(other) is None]
            raise InputError(f"{backend.spec} cannot compute in {name}: {lacks}; choose `precision` {' or '.join(supported)}")
        self.name = name
        self.backend = backend
        self.scaled = name == "float16"
        self.casts = name in ("bfloat16", "float16")

    def matmul_precision(self) -> AbstractContextManager[None]:
        """Return a context manager that sets the precision of float32 matmuls."""
        return self.backend.matmul_precision(self.name)

    def cast(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Cast float32 Tensors to the dtype of computation. Their gradients are float32, because the cast is recorded."""
        if not self.casts:
            return list(tensors)
        return [astype(tensor, self.name) if tensor.dtype.name == "float32" else tensor for tensor in tensors]

    @contextmanager
    def applied(self, model: Module) -> Iterator[None]:
        """Run ``model`` in this precision inside a ``with`` block, without recording for gradients: for inference."""
        parameters = list(model.parameters())
        with no_grad(), self.matmul_precision():
            if not self.casts:
                yield
            else:
                with bind(parameters, self.cast(parameters)):
                    yield


def check_precision(name: str) -> None:
    """Raise `InputError` unless ``name`` is one of `PRECISIONS`."""
    if name not in PRECISIONS:
        raise InputError(f"`precision` must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {name!r}")
