"""The dtypes of the standard as objects that are the same on every backend.

Array libraries represent dtypes differently (``numpy.dtype``, ``torch.float32``, a class of array-api-strict). A Tensor reports one of
the objects below, and a backend translates it by name (`Backend.dtype`).
"""

from __future__ import annotations

from typing import Any, Final


class DType:
    """A dtype of the Array API standard. There is one object for each name, so dtypes can be compared with ``is``.

    Attributes:
        name: the standard's name, such as ``"float32"``.
        kind: ``"bool"``, ``"signed integer"``, ``"unsigned integer"``, ``"real floating"`` or ``"complex floating"``, as in `isdtype`.
        itemsize: bytes per element.

    Example:
        >>> tt.float32, tt.float32.kind, tt.float32.itemsize
        (tinytorch.float32, 'real floating', 4)
    """

    __slots__ = ("itemsize", "kind", "name")

    def __init__(self, name: str, kind: str, itemsize: int) -> None:
        self.name: Final = name
        self.kind: Final = kind
        self.itemsize: Final = itemsize

    def __repr__(self) -> str:
        return f"tinytorch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype_named, (self.name,)  # copying or unpickling returns the same object

    @property
    def is_floating(self) -> bool:
        """Whether a Tensor of this dtype can require a gradient: real or complex floating-point."""
        return self.kind.endswith("floating")


_TABLE: Final = {
    "bool": ("bool", 1),
    "int8": ("signed integer", 1),
    "int16": ("signed integer", 2),
    "int32": ("signed integer", 4),
    "int64": ("signed integer", 8),
    "uint8": ("unsigned integer", 1),
    "uint16": ("unsigned integer", 2),
    "uint32": ("unsigned integer", 4),
    "uint64": ("unsigned integer", 8),
    "float16": ("real floating", 2),  # float16 and bfloat16 are common extensions, not part of the standard
    "bfloat16": ("real floating", 2),
    "float32": ("real floating", 4),
    "float64": ("real floating", 8),
    "complex64": ("complex floating", 8),
    "complex128": ("complex floating", 16),
}

DTYPES: Final[dict[str, DType]] = {name: DType(name, kind, size) for name, (kind, size) in _TABLE.items()}


def dtype_named(name: str) -> DType:
    """The `DType` with this name; raises ``TypeError`` with the list of valid names if there is none.

    Example:
        >>> from tinytorch.backend import dtype_named
        >>> dtype_named("int8")
        tinytorch.int8
    """
    try:
        return DTYPES[name]
    except KeyError:
        raise TypeError(f"unknown dtype {name!r}; expected one of {', '.join(DTYPES)}") from None
