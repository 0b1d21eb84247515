"""What a model computes in, while its parameters stay float32 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1)."""

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

#: ``tf32`` is float32 of which products keep 10 bits of mantissa.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


class Precision:
    """A precision to compute in on one backend.

    Args:
        name: one of `PRECISIONS`.
        backend: where the model is.

    Attributes:
        casts: whether parameters are cast to a type of 16 bits.
        scaled: whether gradients need a loss scale: float16 loses the small ones.

    Raises:
        InputError: there is no such precision, or the backend cannot compute in it.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        check_precision(name)
        lacks = backend.lacks_precision(name)
        if lacks is not None:
            able = [other for other in PRECISIONS if backend.lacks_precision(other) is None]
            raise InputError(f"{backend.spec} cannot compute in {name}: {lacks}; choose `precision` {' or '.join(able)}")
        self.name = name
        self.backend = backend
        self.scaled = name == "float16"
        self.casts = name in ("bfloat16", "float16")

    def matmul_precision(self) -> AbstractContextManager[None]:
        """A ``with`` block in which products of float32 are computed as the precision says."""
        return self.backend.matmul_precision(self.name)

    def cast(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The float32 ones in the type to compute in; gradients find their way back as float32."""
        if not self.casts:
            return list(tensors)
        return [astype(tensor, self.name) if tensor.dtype.name == "float32" else tensor for tensor in tensors]

    @contextmanager
    def applied(self, model: Module) -> Iterator[None]:
        """Run ``model`` in this precision inside a ``with`` block, for use rather than training: nothing is recorded."""
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
        raise InputError(f"`precision` is {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {name!r}")
